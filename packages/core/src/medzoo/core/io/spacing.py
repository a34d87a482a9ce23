"""Which pixel spacings can be those of a medical image."""

from __future__ import annotations

import math
from collections.abc import Sequence

SMALLEST_MM, LARGEST_MM = 0.001, 20.0
"""From a micrometre of a microscope to the thick slices of a survey; most images lie within 0.05 … 10."""


def spacing_fault(spacing: Sequence[float]) -> str | None:
    """Return what is wrong with a spacing, as a clause for `DataError`, or None where it can be one.

    A spacing that was saved in micrometres or metres would make every distance in millimetres wrong by a factor of
    1000 without any other sign.

    Args:
        spacing: Millimetres per pixel along x, y[, z]; NaN stands for unknown and is no fault.
    """
    known = [float(value) for value in spacing if not math.isnan(value)]
    if all(SMALLEST_MM <= value <= LARGEST_MM for value in known):
        return None
    shown = " x ".join(f"{value:g}" for value in known)
    if not all(math.isfinite(value) and value > 0 for value in known):
        return f"has the impossible spacing {shown} mm"
    unit = "micrometres" if max(known) > LARGEST_MM else "metres"
    return f"has {shown} mm a pixel, which cannot be ({SMALLEST_MM:g} to {LARGEST_MM:g} mm): perhaps it is in {unit}"
