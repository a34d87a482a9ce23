"""Figures of measurements of the left ventricle: errors of lengths and of their ends, over what is known only.

The public code of EnLVAM counts a segment without truth as an error of 0; here it is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medzoo.landmark.echo.scan_line import lengths_mm

POINTS = ("ivs_rv", "ivs_lv", "pw_lv", "pw_outer")
"""The four points of a scan line, from the right ventricle downwards."""
SEGMENTS = ("IVS", "LVID", "LVPW")
"""Septum, cavity and posterior wall: the lengths between neighbours of `POINTS`."""
PHASES = ("d", "s")
"""Ends of diastole and systole."""
MEASURES = tuple(segment + phase for phase in PHASES for segment in SEGMENTS)


def segment_errors(predicted: Tensor, truth: Tensor, spacing: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compare the segments of a key frame.

    Args:
        predicted: `(…, 4, 2)` in pixels.
        truth: `(…, 4, 2)`, NaN where unknown.
        spacing: `(2,)` or `(…, 1, 2)`, mm per pixel along x, y.

    Returns:
        Predicted and true lengths and the mean distance of the two ends from the true ones, each `(…, 3)` in mm; NaN
        where an end is unknown.
    """
    distance = torch.linalg.vector_norm((predicted - truth) * spacing, dim=-1)
    ends = (distance[..., 1:] + distance[..., :-1]) / 2
    return lengths_mm(predicted, spacing), lengths_mm(truth, spacing), ends


def line_errors(lines: Tensor, points: Tensor, spacing: Tensor) -> dict[str, Tensor]:
    """Compare scan lines with those through the first and the last annotated point.

    Args:
        lines: `(N, 2, 2)` two points of each line in pixels.
        points: `(N, 4, 2)` in pixels.
        spacing: `(2,)` mm per pixel along x, y.

    Returns:
        Each `(N,)`, NaN where a line or point is unknown: `angle_deg` between the two, 0 to 90, and `level_mm`, the
        distance from the middle of the true cavity to the line.
    """
    start, end = (lines * spacing).unbind(dim=1)
    mm = points * spacing
    along, true = end - start, mm[:, -1] - mm[:, 0]
    cross = along[:, 0] * true[:, 1] - along[:, 1] * true[:, 0]
    angle = torch.rad2deg(torch.atan2(cross.abs(), (along * true).sum(dim=-1).abs()))
    off = mm[:, 1:3].mean(dim=1) - start
    level = (along[:, 0] * off[:, 1] - along[:, 1] * off[:, 0]).abs() / torch.linalg.vector_norm(along, dim=-1)
    return {"angle_deg": angle, "level_mm": level}


def agreement(predicted: Tensor, truth: Tensor) -> dict[str, float]:
    """Return figures of one measure over the clips in which both values are known.

    `n`; `mae`; `mape`, the mean of |error| / truth in percent; `bias`, the mean of predicted − true; `loa`, 1.96 of its
    standard deviations (Bland and Altman 1986). All but `n` are NaN where nothing is known, `loa` of a single value.

    Args:
        predicted: `(N,)` in mm.
        truth: `(N,)` in mm.
    """
    known = torch.isfinite(predicted) & torch.isfinite(truth)
    error, true = (predicted - truth)[known].double(), truth[known].double()
    return {
        "n": float(known.sum()),
        "mae": float(error.abs().mean()),
        "mape": 100 * float((error.abs() / true).mean()),
        "bias": float(error.mean()),
        "loa": 1.96 * float(error.std()) if len(error) > 1 else float("nan"),
    }


def measured(lengths: Tensor, phases: Sequence[str]) -> dict[str, float]:
    """Name the lengths `(N, 3)` of a clip's key frames, such as `LVIDd`; of several of a phase the first counts."""
    values: dict[str, float] = {}
    for row, phase in zip(lengths.tolist(), phases, strict=True):
        for segment, value in zip(SEGMENTS, row, strict=True):
            values.setdefault(segment + phase, value)
    return values
