"""Metrics of groups from counts, without torch: rates, AUC, calibration, and gaps between groups.

A group enters as the number of its negatives and positives at each distinct score. All metrics are functions of these
counts, over any leading dimensions, so that a bootstrap only draws counts. What has no denominator is NaN and never 0:
a group without positives has no true-positive rate, and no gap is taken over it.

A case is called positive where its score is at least the threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medzoo.core.metrics.calibration import adaptive_ece, brier, calibration_line

Floats = NDArray[np.float64]

NEEDS: dict[str, tuple[str, ...]] = {
    "selection_rate": ("cases",),
    "accuracy": ("cases",),
    "tpr": ("positives",),
    "tnr": ("negatives",),
    "fpr": ("negatives",),
    "underdiagnosis": ("positives",),
    "auc": ("positives", "negatives"),
    "tpr_at_tnr": ("positives", "negatives"),
    "ece": ("positives", "negatives"),
    "brier": ("positives", "negatives"),
    "calibration_intercept": ("positives", "negatives"),
    "calibration_slope": ("positives", "negatives"),
}
"""The metrics of one group, and what it must have a minimum of for the metric to take part in a gap."""

GAPS: dict[str, tuple[str, ...]] = {
    "dp_gap": ("selection_rate",),
    "dp_ratio": ("selection_rate",),
    "eopp1_gap": ("tpr",),
    "eopp0_gap": ("tnr",),
    "eodd_signed": ("tpr", "tnr"),
    "eodd_mean": ("tpr", "fpr"),
    "eodd_max": ("tpr", "fpr"),
    "accuracy_gap": ("accuracy",),
    "auc_gap": ("auc",),
    "worst_auc": ("auc",),
    "tpr_at_tnr_gap": ("tpr_at_tnr",),
    "ece_gap": ("ece",),
    "brier_gap": ("brier",),
    "calibration_intercept_gap": ("calibration_intercept",),
    "calibration_slope_gap": ("calibration_slope",),
    "underdiagnosis_gap": ("underdiagnosis",),
}
"""The comparisons of groups, and the metrics that each is made of. There is no bare `eodd`: three are in use."""


@dataclass(frozen=True)
class ScoreCounts:
    """How often each score occurs in a group.

    Attributes:
        scores: `(K,)` ascending.
        negatives: `(..., K)` cases with label 0.
        positives: `(..., K)` cases with label 1.
    """

    scores: Floats
    negatives: Floats
    positives: Floats

    @classmethod
    def of(cls, scores: ArrayLike, labels: ArrayLike) -> ScoreCounts:
        """Count cases.

        Args:
            scores: `(N,)`, finite.
            labels: `(N,)`, 0 or 1.

        Raises:
            ValueError: A score is not finite, a label is neither 0 nor 1, or the lengths differ.
        """
        values, classes = np.asarray(scores, dtype=np.float64), np.asarray(labels)
        if values.ndim != 1 or values.shape != classes.shape:
            raise ValueError(f"scores and labels must be (N,), got {values.shape} and {classes.shape}")
        if not np.isfinite(values).all():
            raise ValueError("scores must be finite")
        if not np.isin(classes, (0, 1)).all():
            raise ValueError("labels must be 0 or 1")
        distinct, place = np.unique(values, return_inverse=True)
        positive = classes == 1
        size = len(distinct)
        return cls(
            distinct,
            np.bincount(place[~positive], minlength=size).astype(np.float64),
            np.bincount(place[positive], minlength=size).astype(np.float64),
        )


def ratio(part: ArrayLike, whole: ArrayLike) -> Floats:
    """Return `part / whole`, NaN where the whole is 0."""
    top, bottom = np.broadcast_arrays(np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64))
    return np.asarray(np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0))


def rates(counts: ScoreCounts, threshold: float, no_finding: bool = False) -> dict[str, Floats]:
    """Return selection rate, accuracy, true and false rates and underdiagnosis at a threshold.

    Args:
        counts: Of one group.
        threshold: Smallest score that is called positive.
        no_finding: Whether label 1 means «no finding»; underdiagnosis is then the false-positive rate, otherwise the
            share of the positives that is missed.
    """
    called = counts.scores >= threshold
    positives, negatives = counts.positives.sum(-1), counts.negatives.sum(-1)
    hits, alarms = counts.positives @ called.astype(np.float64), counts.negatives @ called.astype(np.float64)
    return rates_of(hits, alarms, positives, negatives, no_finding)


def rates_of(
    hits: ArrayLike, alarms: ArrayLike, positives: ArrayLike, negatives: ArrayLike, no_finding: bool = False
) -> dict[str, Floats]:
    """Return what `rates` returns from true positives, false positives and the sizes of the classes."""
    hits, alarms, positives, negatives = (np.asarray(a, dtype=np.float64) for a in (hits, alarms, positives, negatives))
    cases = positives + negatives
    tpr, fpr = ratio(hits, positives), ratio(alarms, negatives)
    return {
        "selection_rate": ratio(hits + alarms, cases),
        "accuracy": ratio(hits + negatives - alarms, cases),
        "tpr": tpr,
        "tnr": ratio(negatives - alarms, negatives),
        "fpr": fpr,
        "underdiagnosis": fpr if no_finding else ratio(positives - hits, positives),
    }


def auc(counts: ScoreCounts) -> Floats:
    """Return `P(s⁺ > s⁻) + ½ P(s⁺ = s⁻)`, NaN without such a pair."""
    below = counts.negatives.cumsum(-1) - counts.negatives / 2
    won = (counts.positives * below).sum(-1)
    return ratio(won, counts.positives.sum(-1) * counts.negatives.sum(-1))


def tpr_at_tnr(counts: ScoreCounts, tnr: float = 0.8) -> Floats:
    """Return the true-positive rate at the group's lowest threshold with a true-negative rate of at least `tnr`.

    Thresholds are the scores that occur, and one above them all; nothing is interpolated.
    """
    total = counts.negatives.sum(-1, keepdims=True)
    reached = counts.negatives.cumsum(-1) - counts.negatives >= tnr * total * (1 - 1e-12)
    rate = ratio((counts.positives * reached).sum(-1), counts.positives.sum(-1))
    return np.where(total[..., 0] > 0, rate, np.nan)


def group_metrics(
    counts: ScoreCounts, threshold: float, *, tnr: float = 0.8, bins: int = 10, no_finding: bool = False
) -> dict[str, Floats]:
    """Return all metrics of `NEEDS` for one group, each of the shape of the leading dimensions.

    Args:
        counts: Of the group; the scores are probabilities of label 1.
        threshold: Smallest score that is called positive.
        tnr: True-negative rate of `tpr_at_tnr`.
        bins: Of the expected calibration error.
        no_finding: Whether label 1 means «no finding».
    """
    intercept, slope = calibration_line(counts.scores, counts.negatives, counts.positives)
    return {
        **rates(counts, threshold, no_finding),
        "auc": auc(counts),
        "tpr_at_tnr": tpr_at_tnr(counts, tnr),
        "ece": adaptive_ece(counts.scores, counts.negatives, counts.positives, bins),
        "brier": brier(counts.scores, counts.negatives, counts.positives),
        "calibration_intercept": intercept,
        "calibration_slope": slope,
    }


def enough(metric: str, positives: int, negatives: int, minimum: int = 10, no_finding: bool = False) -> bool:
    """Whether a group has the minimum of cases for a metric to take part in gaps."""
    have = {"cases": positives + negatives, "positives": positives, "negatives": negatives}
    rate = "fpr" if metric == "underdiagnosis" and no_finding else metric
    return all(have[need] >= minimum for need in NEEDS[rate])


def gap(values: Floats) -> Floats:
    """Return largest minus smallest value over the first axis, NaN ones left out; NaN where fewer than two are left."""
    valid = ~np.isnan(values)
    high = np.where(valid, values, -np.inf).max(0, initial=-np.inf)
    low = np.where(valid, values, np.inf).min(0, initial=np.inf)
    return np.where(valid.sum(0) >= 2, high - np.where(np.isinf(low), 0, low), np.nan)


def group_gaps(values: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return the comparisons of `GAPS` whose metrics are given.

    Args:
        values: `(G, ...)` of each metric, NaN where a group has no value or too few cases.

    Returns:
        One array of the shape of the trailing dimensions each. `worst_auc` is the smallest of two or more; `dp_ratio`
        is smallest over largest selection rate, NaN where nobody is selected.
    """
    found: dict[str, Floats] = {}
    for name, needs in GAPS.items():
        if not all(need in values for need in needs):
            continue
        parts = [np.asarray(values[need], dtype=np.float64) for need in needs]
        if name == "dp_ratio":
            found[name] = _ratio_of_extremes(parts[0])
        elif name == "worst_auc":
            low = np.where(np.isnan(parts[0]), np.inf, parts[0]).min(0, initial=np.inf)
            found[name] = np.where(np.isnan(gap(parts[0])), np.nan, low)
        elif name == "eodd_signed":
            found[name] = gap(parts[0] + parts[1])
        elif name == "eodd_mean":
            found[name] = (gap(parts[0]) + gap(parts[1])) / 2
        elif name == "eodd_max":
            found[name] = np.maximum(gap(parts[0]), gap(parts[1]))
        else:
            found[name] = gap(parts[0])
    return found


def _ratio_of_extremes(values: Floats) -> Floats:
    valid = ~np.isnan(values)
    high = np.where(valid, values, -np.inf).max(0, initial=-np.inf)
    low = np.where(valid, values, np.inf).min(0, initial=np.inf)
    two = valid.sum(0) >= 2
    return np.where(two, ratio(np.where(two, low, 0), np.where(two, high, 0)), np.nan)
