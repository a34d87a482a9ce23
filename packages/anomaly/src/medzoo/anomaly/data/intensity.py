"""What the numbers in a CT file mean: Hounsfield units, or one of the windows that public data sets were stored in."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medzoo.core.errors import DataError

Convention = Literal["hu", "window", "unit"]
Intensity = Literal["hu", "auto"]

_PADDING = -1024.0
_CURE = "convert it to Hounsfield units, or set --data.intensity auto if it was windowed as the COVID-19 data sets were"


def convention(values: NDArray[np.float32]) -> Convention:
    """Distinguish Hounsfield units from a window of [−1250, 250] in 0…255 and from one of [−1400, 100] in 0…1.

    The first window is that of the Radiopaedia half of COVID-19-CT-Seg, the second that of UESTC-COVID-19. Air makes
    every chest in Hounsfield units reach far below 0.
    """
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 255:
        return "hu"
    return "unit" if high <= 1 else "window"


def to_hu(values: NDArray[np.float32], path: str, intensity: Intensity) -> NDArray[np.float32]:
    """Return Hounsfield units; padding below −1024 is raised to −1024.

    Args:
        values: Voxels as stored, finite.
        path: For messages.
        intensity: "hu" refuses what is not in Hounsfield units, "auto" undoes the windows of `convention`.

    Raises:
        DataError: The values cannot be Hounsfield units of a CT.
    """
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise DataError(path, f"holds the one value {low:g}", "export it again")
    if low >= 0 and high > 32767:
        raise DataError(
            path, f"has values up to {high:g}: negative HU stored as unsigned", "convert it to signed int16"
        )
    if high >= 32767 and low <= -32768:
        raise DataError(path, "has values at both ends of int16: it overflowed", "export it again with a rescale slope")
    kind = convention(values)
    if kind == "hu":
        if low > -200:
            raise DataError(path, f"has no voxel below {low:g}, so no air: not a CT of the chest in HU", _CURE)
        return np.maximum(values, _PADDING)
    if intensity == "hu":
        stored = "0…1" if kind == "unit" else "0…255"
        raise DataError(path, f"holds {low:g} to {high:g}, a window stored as {stored}, not Hounsfield units", _CURE)
    if kind == "unit":
        return values * np.float32(1500) - np.float32(1400)
    return values * np.float32(1500 / 255) - np.float32(1250)
