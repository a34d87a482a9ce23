"""Figures of zero-shot scores of several labels: thresholds, rare labels, and whether a model reads the word «no».

Scores are `(N, C)`, labels `(N, C)` of 0, 1 and NaN where a label was not looked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medzoo.core.metrics.classification import areas

Floats = NDArray[np.float64]
HEAD, TAIL = 65.0, 10
"""Percentile of the number of positives above which a label is frequent; most positives of a rare one (CARZero)."""


def micro_auroc(scores: Floats, labels: Floats) -> float:
    """Return the AUROC of all pairs of image and label that were looked for, as one list; NaN with one side only."""
    column, truth = scores.reshape(-1, 1), labels.reshape(-1, 1)
    return float(areas(column, truth, np.ones((1, len(column))))[0, 0])


def trapezoid_auprc(score: Floats, label: Floats) -> float:
    """Return the area under precision over recall by trapezoids, from (0, 1); NaN without a positive.

    Not the average precision, which sums steps: for rare labels they differ most.

    Args:
        score: `(N,)`.
        label: `(N,)`.
    """
    known = ~np.isnan(label)
    score, label = score[known], label[known]
    if not label.any():
        return math.nan
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)
    hits = label[order].cumsum()[last]
    precision = np.append(1.0, hits / (last + 1))
    recall = np.append(0.0, hits / hits[-1])
    return float(np.trapezoid(precision, recall))


def matthews(called: NDArray[np.bool_], labels: Floats) -> Floats:
    """Return Matthews' correlation of each label, `(C,)`; 0 where all or none is called, NaN where all labels agree."""
    positive, negative = labels == 1, labels == 0
    tp, fn = (called & positive).sum(0), (~called & positive).sum(0)
    fp, tn = (called & negative).sum(0), (~called & negative).sum(0)
    called_any, called_none = tp + fp, tn + fn
    have, lack = (tp + fn).astype(float), (tn + fp).astype(float)
    below = np.sqrt(called_any * have * lack * called_none)
    found = np.divide(tp * tn - fp * fn, below, out=np.zeros(len(below)), where=below > 0)
    return np.where((have == 0) | (lack == 0), math.nan, found)


def best_thresholds(scores: Floats, labels: Floats) -> Floats:
    """Return for each label the score from which on it is called, that of the highest correlation of Matthews.

    To be chosen on validation images, never on those of the test. It lies midway between two scores; +inf where a
    label has one side only.
    """
    found = np.full(scores.shape[1], math.inf)
    for column, (score, label) in enumerate(zip(scores.T, labels.T, strict=True)):
        known = ~np.isnan(label)
        values = np.unique(score[known])
        cuts = (values[1:] + values[:-1]) / 2
        if not len(cuts) or len(np.unique(label[known])) < 2:
            continue
        each = matthews(score[known][:, None] >= cuts[None], np.repeat(label[known][:, None], len(cuts), 1))
        found[column] = cuts[int(np.nanargmax(each))]
    return found


def frequencies(labels: Floats) -> dict[str, list[int]]:
    """Return the labels that are frequent (`head`), in between (`medium`) and rare (`tail`), by their positives.

    Rare are those with at most 10, frequent of the others those above the 65th percentile of all (CARZero's split of
    PadChest). Labels without a positive are in none.
    """
    counts = (labels == 1).sum(0)
    limit = float(np.percentile(counts, HEAD)) if len(counts) else 0.0
    tail = [i for i, count in enumerate(counts) if 0 < count <= TAIL]
    head = [i for i, count in enumerate(counts) if count > max(limit, TAIL)]
    return {"head": head, "medium": [i for i, n in enumerate(counts) if n > TAIL and i not in head], "tail": tail}


def negation(positive: Floats, negative: Floats, labels: Floats) -> dict[str, Floats]:
    """Return whether a model tells «there is X» from «there is no X», by label (protocol of Bi-MCQ).

    Args:
        positive: Logits of the affirming sentences.
        negative: Logits of the denying ones.
        labels: The truth.

    Returns:
        `(C,)` AUROCs: `pos` of the affirming logits for the label; `neg` of the denying ones for its absence, about
        1 − `pos` where a model does not read the «no»; `pnc` of their difference, the softmax of the two, for the
        label.
    """
    once = np.ones((1, len(labels)))
    return {
        "pos": areas(positive, labels, once)[0],
        "neg": areas(negative, 1 - labels, once)[0],
        "pnc": areas(positive - negative, labels, once)[0],
    }


def single_sided(labels: Floats, classes: Sequence[str]) -> list[str]:
    """Return the names of the labels of which all known values agree, so that no ranking can be judged."""
    return [name for name, label in zip(classes, labels.T, strict=True) if len(np.unique(label[~np.isnan(label)])) < 2]
