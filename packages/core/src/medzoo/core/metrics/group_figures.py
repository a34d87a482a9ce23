"""Figures of groups beyond one binary label, without torch: several classes, overlap of masks, shortcuts, trade-offs.

The rules are those of `medzoo.core.metrics.fairness`: what has no denominator is NaN, a group with too few cases takes
part in no gap, a group that is unknown (−1) in none either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medzoo.core.metrics.fairness import Floats, ScoreCounts, auc, enough, gap, group_gaps, rates_of, ratio


@dataclass(frozen=True)
class OneVersusRest:
    """Figures of each class against the rest.

    Attributes:
        values: `(G, C)` of each metric, NaN where a group has no such case.
        gaps: `(C,)` of each comparison, NaN where fewer than two groups have enough cases.
        accuracy: `(G,)` share of cases of each group whose class is right; of several labels, of labels that are right.
        cases: `(G,)`.
        overall_auc: `(C,)` of all cases whose group is known.
        minimum: Cases that a group needs for its accuracy to take part in a comparison.
        compared_tpr: `(G, C)` TPR of the groups with enough positives, NaN of the others.
    """

    values: dict[str, Floats]
    gaps: dict[str, Floats]
    accuracy: Floats
    cases: NDArray[np.int64]
    overall_auc: Floats
    minimum: int
    compared_tpr: Floats

    @property
    def compared_accuracy(self) -> Floats:
        """`(A,)` accuracies of the groups with enough cases."""
        return self.accuracy[(self.cases >= self.minimum) & ~np.isnan(self.accuracy)]

    @property
    def mean_gaps(self) -> dict[str, float]:
        """Each gap as the unweighted mean over the classes that have one, NaN without any."""
        return {name: _mean(value) for name, value in self.gaps.items()}

    @property
    def pqd(self) -> float:
        """Predictive quality disparity: smallest over largest accuracy of the groups (1 is fairest)."""
        valid = self.compared_accuracy
        return float(ratio(valid.min(), valid.max())) if len(valid) > 1 else math.nan

    @property
    def eom(self) -> float:
        """Equality of opportunity measure: mean over classes of smallest over largest TPR of the groups."""
        tpr = self.compared_tpr
        two = (~np.isnan(tpr)).sum(0) >= 2
        least, most = (reduce(tpr[:, two]) for reduce in (_low, _high))
        return _mean(ratio(least, most))


def one_versus_rest(
    scores: Floats,
    called: NDArray[np.bool_],
    labels: Floats,
    codes: NDArray[np.int64],
    groups: int,
    minimum: int = 10,
    exclusive: bool = True,
) -> OneVersusRest:
    """Compare groups class by class.

    Demographic parity of exclusive classes has, beside the gaps of each class, `dp_variation`: the largest total
    variation `½ Σ_c |P(c|g) − P(c|h)|` of two groups, the same value for every class.

    Args:
        scores: `(N, C)` probabilities.
        called: `(N, C)`, which classes are given.
        labels: `(N, C)` of 0, 1 and NaN where a label was not looked for.
        codes: `(N,)` group of each case, −1 where unknown.
        groups: Number of groups G.
        minimum: Cases, positives or negatives that a metric needs for a group to take part in its gap.
        exclusive: Whether one class holds a case.
    """
    count = labels.shape[1]
    values = {name: np.full((groups, count), np.nan) for name in ("selection_rate", "tpr", "tnr", "fpr", "auc")}
    compared = {name: value.copy() for name, value in values.items()}
    accuracy, cases = np.full(groups, np.nan), np.zeros(groups, dtype=np.int64)
    for g in range(groups):
        rows = codes == g
        cases[g] = rows.sum()
        known = ~np.isnan(labels[rows])
        right = (called[rows] == (labels[rows] == 1)) & known
        accuracy[g] = float(ratio(right.all(1).sum(), cases[g]) if exclusive else ratio(right.sum(), known.sum()))
        for c in range(count):
            seen = known[:, c]
            truth, said = labels[rows][seen, c] == 1, called[rows][seen, c]
            positives, negatives = int(truth.sum()), int((~truth).sum())
            found = rates_of((said & truth).sum(), (said & ~truth).sum(), positives, negatives)
            found["auc"] = auc(ScoreCounts.of(scores[rows][seen, c], truth.astype(np.int8)))
            for name in values:
                values[name][g, c] = float(found[name])
                if enough(name, positives, negatives, minimum):
                    compared[name][g, c] = values[name][g, c]
    gaps = group_gaps(compared)
    if exclusive:
        rates = compared["selection_rate"]
        valid = [g for g in range(groups) if not np.isnan(rates[g]).any()]
        pairs = [float(np.abs(rates[a] - rates[b]).sum() / 2) for a, b in combinations(valid, 2)]
        gaps["dp_variation"] = np.full(count, max(pairs) if pairs else np.nan)
    known = ~np.isnan(labels) & (codes >= 0)[:, None]
    whole = np.array([auc(ScoreCounts.of(scores[t, c], labels[t, c])) for c, t in enumerate(known.T)], dtype=float)
    return OneVersusRest(values, gaps, accuracy, cases, whole, minimum, compared["tpr"])


def shortcut_auc(scores: ArrayLike, labels: ArrayLike, bias: ArrayLike) -> dict[str, float]:
    """Return the AUCs of a classifier that may lean on a bias, after Luo et al. (MICCAI 2022).

    `aligned` is that of the cases with bias = label, `conflict` that of the others (a classifier that sees the bias
    alone has 0 there), `balanced` their mean. NaN where a side lacks a class.

    Args:
        scores: `(N,)` of label 1.
        labels: `(N,)`, 0 or 1.
        bias: `(N,)`, 0 or 1, or −1 for cases that are left out.
    """
    score, label, kind = (np.asarray(a) for a in (scores, labels, bias))
    found = {}
    for name, rows in (("aligned", kind == label), ("conflict", (kind == 1 - label) & (kind >= 0))):
        found[name] = float(auc(ScoreCounts.of(score[rows], label[rows])))
    found["balanced"] = (found["aligned"] + found["conflict"]) / 2
    return found


def fate(
    accuracy: float, criterion: float, base_accuracy: float, base_criterion: float, weight: float = 1.0
) -> tuple[float, str]:
    """Return the fairness-accuracy trade-off efficiency (Xu et al., MICCAI 2023) and, where it is NaN, the reason.

    `(ACC − ACC_b) / ACC_b − λ (FC − FC_b) / FC_b` of a mitigated model beside its base; more than 0 is a gain. Show
    accuracy and criterion beside it: a small base criterion makes it explode.

    Args:
        accuracy: Of the mitigated model.
        criterion: Its fairness criterion, for which less is fairer.
        base_accuracy: Of the model without mitigation.
        base_criterion: Its criterion.
        weight: λ.
    """
    if base_accuracy == 0 or base_criterion == 0:
        return math.nan, f"the base {'accuracy' if base_accuracy == 0 else 'criterion'} is 0"
    gained = (accuracy - base_accuracy) / base_accuracy
    return gained - weight * (criterion - base_criterion) / base_criterion, ""


def utopia_distance(overall: float, worst: float) -> float:
    """Return the distance of (overall, worst group) to the point (1, 1), divided by √2: 0 is best, 1 the worst."""
    return math.sqrt(((1 - overall) ** 2 + (1 - worst) ** 2) / 2)


def overlap_gaps(overlaps: ArrayLike, codes: NDArray[np.int64], groups: int, minimum: int = 1) -> dict[str, float]:
    """Compare the overlap of segmentations (Dice, or surface overlap) between groups.

    With group means `I_g` and the mean over all images `I`, images of unknown group left out:

    - `gap`: largest minus smallest `I_g`;
    - `ser`, also called skewness: `(1 − min I_g) / (1 − max I_g)`, at least 1; NaN where the best group is perfect;
    - `std_0` and `std_1`: standard deviation of the `I_g` with divisor G (FairMedFM) and G − 1 (FairSeg);
    - `essp`: `I / (1 + Σ_g |I_g − I|)` (FairSeg); `es_dice`: `I / (1 + std_0)` (FairMedFM). Two different figures.

    Args:
        overlaps: `(N,)` of the images, NaN ones left out.
        codes: `(N,)` group of each, −1 where unknown.
        groups: Number of groups.
        minimum: Images that a group needs to take part.
    """
    values = np.asarray(overlaps, dtype=np.float64)
    known = ~np.isnan(values) & (codes >= 0)
    values, codes = values[known], codes[known]
    counts = np.bincount(codes, minlength=groups)
    means = ratio(np.bincount(codes, values, minlength=groups), counts)
    valid = means[(counts >= minimum) & (counts > 0)]
    found = {"mean": float(values.mean()) if len(values) else math.nan, "worst": math.nan}
    names = ("gap", "ser", "std_0", "std_1", "essp", "es_dice")
    if len(valid) < 2:
        return found | dict.fromkeys(names, math.nan)
    low, high, whole = float(valid.min()), float(valid.max()), found["mean"]
    spread = float(valid.std())
    return found | {
        "worst": low,
        "gap": float(gap(valid)),
        "ser": float(ratio(1 - low, 1 - high)),
        "std_0": spread,
        "std_1": float(valid.std(ddof=1)),
        "essp": whole / (1 + float(np.abs(valid - whole).sum())),
        "es_dice": whole / (1 + spread),
    }


def volume_strata(volumes: ArrayLike, parts: int = 3) -> NDArray[np.int64]:
    """Return the stratum of each image by the size of its true structure, equal in number; −1 for an empty one.

    Overlap depends on size: compare groups within strata before a gap is laid to the attribute.

    Args:
        volumes: `(N,)`, at least 0.
        parts: Number of strata.
    """
    values = np.asarray(volumes, dtype=np.float64)
    found = np.full(len(values), -1, dtype=np.int64)
    rows = np.flatnonzero(values > 0)
    order = rows[np.argsort(values[rows], kind="stable")]
    found[order] = np.arange(len(order)) * parts // max(1, len(order))
    return found


def levelled_down(before: Sequence[float], after: Sequence[float], tolerance: float = 0.01) -> list[int]:
    """Return the groups that lost more than the tolerance although the gap shrank: equality by harming them.

    Args:
        before: Figure of each group (more is better) without mitigation, NaN where there is none.
        after: With it.
        tolerance: Loss that is taken for noise.
    """
    first, last = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if not float(gap(last)) < float(gap(first)):
        return []
    return [int(g) for g in np.flatnonzero(first - last > tolerance)]


def _mean(values: Floats) -> float:
    valid = values[~np.isnan(values)]
    return float(valid.mean()) if len(valid) else math.nan


def _low(values: Floats) -> Floats:
    return np.asarray(np.where(np.isnan(values), np.inf, values).min(0))


def _high(values: Floats) -> Floats:
    return np.asarray(np.where(np.isnan(values), -np.inf, values).max(0))
