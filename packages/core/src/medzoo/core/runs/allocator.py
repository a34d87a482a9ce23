"""How a process on a CPU holds on to memory between steps."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Parameters of glibc's `mallopt`."""
_KEPT = 512 * 2**20
"""Bytes at the end of the heap that are kept when they are free."""


def keep_freed_memory() -> bool:
    """Let glibc keep what tensors give back for the next step's: whatever lies between others, and up to 512 MiB more.

    By default it returns large blocks to the system and gets them anew, as fresh pages of zeros, in every step: a fifth
    of the time of UOD's first stage on a CPU (docs/benchmarks/uod.md), and of finding landmarks with CC2D at full
    size (docs/benchmarks/landmark.md). Values do not depend on it. All blocks come from the heap, since those that
    glibc maps on their own, which are all above 32 MiB, can only be returned; the process then stays near its peak.

    Returns:
        Whether the C library is one that can be told so (glibc).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl and macOS have none, Windows no library without a name
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, _KEPT))
