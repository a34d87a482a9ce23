"""Retrieval and zero-shot figures: values by hand, scikit-learn, and what ties and duplicates must not change."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef, precision_recall_curve, roc_auc_score

from medzoo.core.metrics.retrieval import expected_hits, recall_at
from medzoo.core.metrics.zero_shot import (
    best_thresholds,
    frequencies,
    matthews,
    micro_auroc,
    negation,
    single_sided,
    trapezoid_auprc,
)


def test_a_constant_model_finds_what_chance_finds() -> None:
    right = np.eye(20, dtype=bool)
    for k in (1, 5, 20, 40):
        assert recall_at(np.zeros((20, 20)), right, k) == pytest.approx(min(1.0, k / 20))


def test_hits_with_ties_are_the_mean_over_all_orders_of_the_tied() -> None:
    rng = np.random.default_rng(0)
    scores, right = rng.integers(3, size=(40, 7)).astype(float), rng.random((40, 7)) < 0.3
    for k in (1, 2, 5):
        counted = []
        for row, good in zip(scores, right, strict=True):
            orders = [np.lexsort((rng.random(7), -row))[:k] for _ in range(3000)]
            counted.append(np.mean([good[order].any() for order in orders]) if good.any() else math.nan)
        assert np.allclose(expected_hits(scores, right, k), counted, atol=0.05, equal_nan=True)


def test_without_ties_it_is_the_share_of_queries_with_a_right_one_among_the_best() -> None:
    scores = np.array([[0.9, 0.1, 0.2], [0.9, 0.5, 0.1], [0.3, 0.2, 0.1]])
    right = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=bool)
    assert [recall_at(scores, right, k) for k in (1, 2)] == [0.5, 1.0]
    assert math.isnan(recall_at(scores[2:], right[2:], 1))
    with pytest.raises(ValueError, match="at least 1"):
        recall_at(scores, right, 0)


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random((80, 4)) < [0.5, 0.2, 0.1, 0.3]).astype(float)
    scores = np.round(labels + rng.normal(size=labels.shape), 1)
    labels[rng.random(labels.shape) < 0.1] = math.nan
    return scores, labels


def test_areas_and_correlations_are_those_of_scikit_learn() -> None:
    scores, labels = drawn(1)
    known = ~np.isnan(labels)
    assert micro_auroc(scores, labels) == pytest.approx(roc_auc_score(labels[known], scores[known]))
    found = matthews(scores > 0.5, labels)
    for column in range(4):
        own = known[:, column]
        truth, score = labels[own, column], scores[own, column]
        assert found[column] == pytest.approx(matthews_corrcoef(truth, score > 0.5))
        precision, recall, _ = precision_recall_curve(truth, score)
        area = -np.trapezoid(precision, recall)
        assert trapezoid_auprc(scores[:, column], labels[:, column]) == pytest.approx(area)


def test_a_threshold_is_the_best_of_all_and_of_no_use_with_one_side() -> None:
    scores, labels = drawn(2)
    cuts = best_thresholds(scores, labels)
    best = matthews(scores >= cuts, labels)
    for other in np.unique(scores):
        assert (matthews(scores >= other, labels) <= best + 1e-12).all()
    labels[:, 0] = 0
    assert math.isinf(best_thresholds(scores, labels)[0])
    assert math.isnan(matthews(scores >= 0, labels)[0])
    assert single_sided(labels, ["a", "b", "c", "d"]) == ["a"]


def test_matthews_is_zero_where_nothing_or_everything_is_called() -> None:
    labels = np.array([[1.0], [0.0], [1.0]])
    assert matthews(np.zeros((3, 1), dtype=bool), labels)[0] == 0
    assert matthews(np.ones((3, 1), dtype=bool), labels)[0] == 0


def test_labels_are_split_by_their_positives() -> None:
    labels = np.zeros((100, 5))
    for column, count in enumerate((60, 30, 20, 10, 0)):
        labels[:count, column] = 1
    assert frequencies(labels) == {"head": [0, 1], "medium": [2], "tail": [3]}


def test_a_model_that_does_not_read_no_fails_the_probe() -> None:
    rng = np.random.default_rng(3)
    labels = (rng.random((500, 2)) < 0.4).astype(float)
    score = labels * 2 + rng.normal(size=labels.shape)
    deaf = negation(score, score, labels)
    assert deaf["neg"] == pytest.approx(1 - deaf["pos"])
    reads = negation(score, -score, labels)
    assert reads["neg"] == pytest.approx(reads["pos"])
    assert (reads["pnc"] == reads["pos"]).all()
