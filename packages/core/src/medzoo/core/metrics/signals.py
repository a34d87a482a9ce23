"""Ranking of the points of signals, pooled and record by record, in memory that does not grow with the records."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medzoo.core.metrics.anomaly import auroc
from medzoo.core.metrics.base import DataSetMetric

_BITS = 20
"""Leading bits of a float32 that tell scores apart: steps of 1 / 2048 of a score."""


class PointAnomalyMetrics(DataSetMetric):
    """Ranking of all points (samples of all leads) of a data set.

    `compute` returns `point_auroc` and `point_ap` over the points of all records pooled, and `point_auroc_macro`, the
    mean over those records that have both normal and abnormal points; the first two also rank records against each
    other, the last does not. Scores are counted in bins, which tie where they differ by less than 0.05 %; the figure
    of a record is exact.
    """

    normal: Tensor
    abnormal: Tensor
    total: Tensor
    records: Tensor

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        for name in ("normal", "abnormal"):
            self.add_state(name, default=torch.zeros(2**_BITS, dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("total", "records"):
            self.add_state(name, default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, scores: Tensor, mask: Tensor) -> None:
        """Add a record.

        Args:
            scores: `(L, T)`, larger is more abnormal, finite.
            mask: `(L, T)`, non-zero where abnormal; all zero for a normal record.

        Raises:
            ValueError: Shapes differ or a score is not finite.
        """
        if scores.shape != mask.shape:
            raise ValueError(f"scores and mask must have one shape, got {tuple(scores.shape)} and {tuple(mask.shape)}")
        if not torch.isfinite(scores).all():
            raise ValueError("scores must be finite")
        bins, marked = bin_of(scores.detach().reshape(-1)), (mask != 0).reshape(-1)
        for state, chosen in ((self.normal, ~marked), (self.abnormal, marked)):
            state += torch.bincount(bins[chosen], minlength=2**_BITS).to(state)
        own = auroc(scores, mask)
        if not math.isnan(own):
            self.total += own
            self.records += 1

    def compute(self) -> dict[str, Tensor]:
        """Return the scalars."""
        normal, abnormal = (state.cpu().numpy()[::-1] for state in (self.normal, self.abnormal))
        macro = float(self.total / self.records) if self.records else math.nan
        area, precision = _curve_of(normal, abnormal)
        found = {"point_auroc": area, "point_ap": precision, "point_auroc_macro": macro}
        return {name: torch.tensor(value) for name, value in found.items()}


def bin_of(scores: Tensor) -> Tensor:
    """Return the bin of each score, int64, which grows with the score.

    Args:
        scores: Finite, of any shape.
    """
    bits = scores.float().view(torch.int32).long() & 0xFFFFFFFF
    ordered = torch.where(bits >= 2**31, 2**32 - 1 - bits, bits + 2**31)  # negative floats count downwards
    return ordered >> (32 - _BITS)


def _curve_of(normal: NDArray[np.float64], abnormal: NDArray[np.float64]) -> tuple[float, float]:
    """Return AUROC and average precision of counts a bin, the highest scores first."""
    positives, negatives = abnormal.sum(), normal.sum()
    if not positives:
        return math.nan, math.nan
    hits, alarms = abnormal.cumsum(), normal.cumsum()
    seen = np.maximum(hits + alarms, 1)
    precision = float((abnormal * hits / seen).sum() / positives)
    if not negatives:
        return math.nan, precision
    below = negatives - alarms + 0.5 * normal  # a tie counts half
    return float((abnormal * below).sum() / positives / negatives), precision
