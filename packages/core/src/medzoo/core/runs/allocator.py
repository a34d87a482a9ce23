"""How a process on a CPU holds on to memory between steps."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
"""Parameters of glibc's `mallopt`."""
_BLOCK, _KEPT = 32 * 2**20, 512 * 2**20
"""Bytes of a block up to which it can come from the heap, and of the heap's end that are kept when they are free."""


def keep_freed_memory(*, large_blocks: bool) -> bool:
    """Let glibc keep what tensors give back for the next step's: whatever lies between others, and up to 512 MiB more.

    By default it returns blocks to the system and gets them anew, as fresh pages of zeros, in every step: a fifth of
    the time of UOD's first stage on a CPU (docs/benchmarks/uod.md). Values do not depend on it.

    Args:
        large_blocks: Keep blocks above 32 MiB too, a fifth of the time of finding landmarks with CC2D at full size
            (docs/benchmarks/landmark.md). The process then stays near its peak, which grows where sizes differ from
            step to step: by a half with a volume of 150 × 512 × 512 (docs/benchmarks/anomaly.md).

    Returns:
        Whether the C library is one that can be set so (glibc).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl and macOS have none, Windows no library without a name
        return False
    blocks = (_MMAP_MAX, 0) if large_blocks else (_MMAP_THRESHOLD, _BLOCK)
    return bool(mallopt(*blocks) and mallopt(_TRIM_THRESHOLD, _KEPT))
