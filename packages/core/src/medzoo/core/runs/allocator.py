"""How a process on a CPU holds on to memory between steps."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt`."""
_BLOCK, _KEPT = 32 * 2**20, 512 * 2**20
"""Bytes of a block up to which it comes from the heap (glibc takes no larger value), and of the heap that is kept."""


def keep_freed_memory() -> bool:
    """Let glibc keep up to 512 MiB of what tensors give back, for the next step's tensors.

    By default it returns such blocks to the system and gets them anew, as fresh pages of zeros, in every step: a fifth
    of the time of UOD's first stage on a CPU (docs/benchmarks/uod.md). Values do not depend on it, and blocks of more
    than 32 MiB are returned as before.

    Returns:
        Whether the C library is one that can be told so (glibc).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl and macOS have none, Windows no library without a name
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _BLOCK) and mallopt(_TRIM_THRESHOLD, _KEPT))
