"""Whether a map over an image lies where a finding is; all in pixels of the original image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Of MS-CXR's overlap."""


def points_at(peak: tuple[float, float], boxes: Sequence[Sequence[float]]) -> bool:
    """Return whether the highest point of a map lies in any of the boxes (the pointing game).

    Args:
        peak: x and y. Of a coarse map take the middle of its cell, not a corner.
        boxes: Each x, y of its first and of its last pixel, both within.
    """
    x, y = peak
    return any(left - 0.5 <= x <= right + 0.5 and top - 0.5 <= y <= bottom + 0.5 for left, top, right, bottom in boxes)


def contrast_to_noise(found: Floats, inside: NDArray[np.bool_]) -> float:
    """Return `|μ_in − μ_out| / sqrt(σ²_in + σ²_out)` of a map (BioViL); NaN where either side is empty or all is flat.

    Args:
        found: `(H, W)`.
        inside: `(H, W)`, where the finding is.
    """
    if inside.all() or not inside.any():
        return math.nan
    within, without = found[inside], found[~inside]
    noise = math.sqrt(within.var() + without.var())
    return abs(float(within.mean() - without.mean())) / noise if noise > 0 else math.nan


def mean_iou(
    found: Floats, inside: NDArray[np.bool_], thresholds: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5)
) -> float:
    """Return the overlap of what a map exceeds with a region, intersection over union, averaged over thresholds.

    Args:
        found: `(H, W)` in [0, 1].
        inside: `(H, W)`, where the finding is.
        thresholds: Levels, fixed beforehand.
    """
    values = []
    for threshold in thresholds:
        called = found >= threshold
        union = int((called | inside).sum())
        values.append(int((called & inside).sum()) / union if union else math.nan)
    return float(np.mean(values))
