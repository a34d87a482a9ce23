"""The part of a volume that matters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def box_of(mask: NDArray[np.bool_], margin: int = 0) -> tuple[slice, slice, slice]:
    """Return the box around a `(D, H, W)` mask with a margin, within the volume; the whole volume where it is empty."""
    found = []
    for axis, extent in enumerate(mask.shape):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        low, high = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, extent)
        found.append(slice(max(0, low - margin), min(extent, high + margin)))
    return found[0], found[1], found[2]
