"""Metrics of groups over a data set: counts that are summed, and scores where a ranking or a calibration needs them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from medzoo.core.metrics.base import DataSetMetric
from medzoo.core.metrics.fairness import NEEDS, Floats, ScoreCounts, enough, group_gaps, group_metrics, rates_of


class GroupRates(DataSetMetric):
    """Rates of each group at a threshold, and the gaps between groups.

    `compute` returns `METRIC/GROUP` of each group and of `unknown`, `positives/GROUP` and `negatives/GROUP`, and the
    gaps of `medzoo.core.metrics.fairness.GAPS`. The keys depend on no data. What has no denominator is NaN; a group
    with too few cases has its values and takes part in no gap.

    Args:
        groups: Names of the groups, whose places are the numbers that `update` is given.
        threshold: Smallest score that is called positive.
        minimum: Positives, negatives or cases that a metric needs for a group to take part in its gap.
        no_finding: Whether label 1 means «no finding», so that underdiagnosis is its false-positive rate.
    """

    confusion: Tensor

    def __init__(
        self,
        groups: Sequence[str],
        threshold: float = 0.5,
        minimum: int = 10,
        no_finding: bool = False,
        **options: object,
    ) -> None:
        super().__init__(**options)
        if len(set(groups)) != len(groups) or "unknown" in groups:
            raise ValueError(f"groups must be distinct names other than 'unknown', got {list(groups)}")
        self.groups, self.threshold, self.minimum, self.no_finding = tuple(groups), threshold, minimum, no_finding
        size = (len(groups) + 1, 2, 2)
        self.add_state("confusion", default=torch.zeros(size, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, scores: Tensor, labels: Tensor, groups: Tensor) -> None:
        """Add a batch.

        Args:
            scores: `(B,)`, finite.
            labels: `(B,)`, 0 or 1.
            groups: `(B,)` number of each case's group, −1 where unknown.

        Raises:
            ValueError: Shapes differ, or a value is another.
        """
        if scores.ndim != 1 or not scores.shape == labels.shape == groups.shape:
            shapes = ", ".join(str(tuple(given.shape)) for given in (scores, labels, groups))
            raise ValueError(f"scores, labels and groups must be (B,), got {shapes}")
        if not bool(torch.isfinite(scores).all()):
            raise ValueError("scores must be finite")
        if not bool(((labels == 0) | (labels == 1)).all()):
            raise ValueError("labels must be 0 or 1")
        if not bool(((groups >= -1) & (groups < len(self.groups))).all()):
            raise ValueError(f"groups must be from -1 to {len(self.groups) - 1}")
        called = (scores.detach() >= self.threshold).long()
        row = torch.where(groups < 0, len(self.groups), groups.long())
        place = (row * 2 + labels.long()) * 2 + called
        counts = torch.bincount(place, minlength=self.confusion.numel())
        self.confusion += counts.reshape(self.confusion.shape).to(self.confusion.device)

    def compute(self) -> dict[str, Tensor]:
        """Return the scalars."""
        return self._scalars(self._values())

    def _values(self) -> dict[str, Floats]:
        """Return each metric of all groups and, last, of the unknown cases."""
        counts = self.confusion.cpu().numpy()
        return rates_of(counts[:, 1, 1], counts[:, 0, 1], counts[:, 1].sum(-1), counts[:, 0].sum(-1), self.no_finding)

    def _scalars(self, values: dict[str, Floats]) -> dict[str, Tensor]:
        sizes = self.confusion.cpu().numpy().sum(-1)
        found: dict[str, float] = {}
        for g, name in enumerate((*self.groups, "unknown")):
            found |= {f"negatives/{name}": float(sizes[g, 0]), f"positives/{name}": float(sizes[g, 1])}
            found |= {f"{metric}/{name}": float(value[g]) for metric, value in values.items()}
        compared = {}
        for metric, value in values.items():
            kept = [enough(metric, int(pos), int(neg), self.minimum, self.no_finding) for neg, pos in sizes[:-1]]
            compared[metric] = np.where(np.array(kept, dtype=bool), value[:-1], np.nan)
        found |= {name: float(value) for name, value in group_gaps(compared).items()}
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in found.items()}


class GroupMetrics(GroupRates):
    """All metrics of groups that `medzoo audit` shows: those of `GroupRates`, AUC and calibration.

    Args:
        groups: Names of the groups.
        threshold: Smallest score that is called positive.
        minimum: Positives, negatives or cases that a metric needs for a group to take part in its gap.
        no_finding: Whether label 1 means «no finding».
        tnr: True-negative rate of `tpr_at_tnr`.
        bins: Of the calibration error.
    """

    scores: list[Tensor]
    labels: list[Tensor]
    rows: list[Tensor]

    def __init__(
        self,
        groups: Sequence[str],
        threshold: float = 0.5,
        minimum: int = 10,
        no_finding: bool = False,
        tnr: float = 0.8,
        bins: int = 10,
        **options: object,
    ) -> None:
        super().__init__(groups, threshold, minimum, no_finding, **options)
        self.tnr, self.bins = tnr, bins
        for name in ("scores", "labels", "rows"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, labels: Tensor, groups: Tensor) -> None:
        """Add a batch, as `GroupRates.update`; the scores are probabilities of label 1.

        Raises:
            ValueError: As there, or a score is no probability.
        """
        super().update(scores, labels, groups)
        if not bool(((scores >= 0) & (scores <= 1)).all()):
            raise ValueError("scores must be probabilities, from 0 to 1")
        self.scores.append(scores.detach().to(self.dtype))
        self.labels.append(labels.to(self.dtype))
        self.rows.append(groups.to(self.dtype))

    def _values(self) -> dict[str, Floats]:
        empty = torch.empty(0)
        scores, labels, rows = (
            (dim_zero_cat(state) if len(state) else empty).double().cpu().numpy()
            for state in (self.scores, self.labels, self.rows)
        )
        each = []
        for number in (*range(len(self.groups)), -1):
            own = rows == number
            counts = ScoreCounts.of(scores[own], labels[own])
            each.append(group_metrics(counts, self.threshold, tnr=self.tnr, bins=self.bins, no_finding=self.no_finding))
        # The counts called each case at full precision; the scores that were kept may have rounded to the threshold.
        return {name: np.array([one[name] for one in each]) for name in NEEDS} | super()._values()
