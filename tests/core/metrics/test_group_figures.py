"""Figures of groups for several classes, masks, shortcuts and trade-offs: against loops, by hand, and their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medzoo.core.metrics.group_figures import (
    fate,
    levelled_down,
    one_versus_rest,
    overlap_gaps,
    shortcut_auc,
    utopia_distance,
    volume_strata,
)


def drawn(seed: int, n: int = 300, classes: int = 3, groups: int = 3) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(classes), n)
    label = rng.integers(0, classes, n)
    return scores, np.eye(classes, dtype=bool)[scores.argmax(1)], np.eye(classes)[label], rng.integers(-1, groups, n)


@pytest.mark.parametrize("seed", range(20))
def test_several_classes_are_compared_as_a_loop_does(seed: int) -> None:
    scores, called, labels, codes = drawn(seed)
    found = one_versus_rest(scores, called, labels, codes, 3, minimum=1)
    tpr, fpr, area, rate = (np.zeros((3, 3)) for _ in range(4))
    for g in range(3):
        for c in range(3):
            rows = codes == g
            y, p = labels[rows, c] == 1, called[rows, c]
            tpr[g, c], fpr[g, c], rate[g, c] = p[y].mean(), p[~y].mean(), p.mean()
            area[g, c] = roc_auc_score(y, scores[rows, c])
        assert found.accuracy[g] == pytest.approx((called[rows] == (labels[rows] == 1)).all(1).mean())
    for name, value in (("tpr", tpr), ("fpr", fpr), ("auc", area), ("selection_rate", rate)):
        assert found.values[name] == pytest.approx(value, abs=1e-12)
    assert found.mean_gaps["eopp1_gap"] == pytest.approx(np.ptp(tpr, axis=0).mean())
    assert found.mean_gaps["eodd_max"] == pytest.approx(np.maximum(np.ptp(tpr, axis=0), np.ptp(fpr, axis=0)).mean())
    assert found.mean_gaps["eodd_mean"] == pytest.approx(((np.ptp(tpr, axis=0) + np.ptp(fpr, axis=0)) / 2).mean())
    assert found.mean_gaps["auc_gap"] == pytest.approx(np.ptp(area, axis=0).mean())
    variation = max(np.abs(rate[a] - rate[b]).sum() / 2 for a in range(3) for b in range(a))
    assert found.mean_gaps["dp_variation"] == pytest.approx(variation)
    assert found.pqd == pytest.approx(found.accuracy.min() / found.accuracy.max())
    assert found.eom == pytest.approx((tpr.min(0) / tpr.max(0)).mean())


def test_a_group_with_too_few_positives_has_no_say_in_the_equality_of_opportunity() -> None:
    labels = np.array([1, 0] * 30 + [1] + [0] * 19)
    codes = np.repeat([0, 1, 2], [30, 30, 20])
    right = labels.astype(bool)
    right[[0, 2, 4]], right[60] = False, False  # three of fifteen missed in the first group, the only one in the third
    called = np.stack([~right, right], 1)
    found = one_versus_rest(called * 1.0, called, np.eye(2)[labels], codes, 3, minimum=10)
    assert found.values["tpr"][2, 1] == 0
    assert found.eom == pytest.approx((12 / 15 + 1) / 2)


def test_other_names_and_another_order_change_no_gap() -> None:
    scores, called, labels, codes = drawn(5)
    found = one_versus_rest(scores, called, labels, codes, 3).mean_gaps
    order, names = np.random.default_rng(0).permutation(len(codes)), np.array([2, 0, 1])
    turned = np.where(codes < 0, -1, names[codes])[order]
    again = one_versus_rest(scores[order], called[order], labels[order], turned, 3).mean_gaps
    assert again == pytest.approx(found, abs=1e-12)


def test_a_group_without_positives_has_no_rate_and_is_in_no_gap() -> None:
    scores, called, labels, codes = drawn(1)
    labels[codes == 2] = [1, 0, 0]
    found = one_versus_rest(scores, called, labels, codes, 3)
    assert np.isnan(found.values["tpr"][2, 1:]).all()
    assert np.isnan(found.values["auc"][2]).all()
    assert found.gaps["eopp1_gap"][1] == pytest.approx(np.ptp(found.values["tpr"][:2, 1]))
    few = one_versus_rest(scores[:9], called[:9], labels[:9], codes[:9], 3)
    assert all(math.isnan(value) for value in few.mean_gaps.values())
    assert math.isnan(few.pqd)
    assert not np.isnan(few.accuracy).all()  # shown, though compared with no other


def test_labels_that_were_not_looked_for_count_nowhere() -> None:
    scores, called, labels, codes = drawn(2)
    hidden = labels.copy()
    hidden[::2, 0] = np.nan
    found = one_versus_rest(scores, called, hidden, codes, 3, 1, exclusive=False)
    kept = np.arange(len(codes)) % 2 == 1
    alone = one_versus_rest(scores[kept], called[kept], labels[kept], codes[kept], 3, 1, exclusive=False)
    assert found.values["tpr"][:, 0] == pytest.approx(alone.values["tpr"][:, 0])
    assert "dp_variation" not in found.gaps


def test_a_classifier_that_sees_the_bias_alone_has_a_conflict_auc_of_0() -> None:
    label, bias = np.array([0, 0, 1, 1, 1, 0]), np.array([0, 1, 0, 1, -1, -1])
    assert shortcut_auc(bias.clip(0).astype(float), label, bias) == {"aligned": 1.0, "conflict": 0.0, "balanced": 0.5}
    assert shortcut_auc(label.astype(float), label, bias) == {"aligned": 1.0, "conflict": 1.0, "balanced": 1.0}
    assert math.isnan(shortcut_auc(label.astype(float), label, label)["conflict"])


def test_fate_by_hand() -> None:
    assert fate(0.8, 0.1, 0.8, 0.1) == (0, "")
    assert fate(0.88, 0.1, 0.8, 0.1)[0] == pytest.approx(0.1)
    assert fate(0.8, 0.05, 0.8, 0.1)[0] == pytest.approx(0.5)
    assert fate(80, 5, 80, 10)[0] == pytest.approx(0.5)  # percent or share
    value, reason = fate(0.8, 0.05, 0.8, 0)
    assert math.isnan(value)
    assert reason == "the base criterion is 0"


def test_utopia_is_reached_by_the_perfect_alone() -> None:
    assert utopia_distance(1, 1) == 0
    assert utopia_distance(0, 0) == pytest.approx(1)
    assert utopia_distance(0.9, 0.6) > utopia_distance(0.88, 0.7)


def test_overlap_by_hand() -> None:
    found = overlap_gaps([0.9, 0.7, 0.6, np.nan, 0.1], np.array([0, 0, 1, 1, -1]), 2)
    mean = (0.9 + 0.7 + 0.6) / 3
    assert found["mean"] == pytest.approx(mean)
    assert found["gap"] == pytest.approx(0.2)
    assert found["ser"] == pytest.approx(2.0)
    assert found["std_0"] == pytest.approx(0.1)
    assert found["std_1"] == pytest.approx(0.2 / math.sqrt(2))
    assert found["essp"] == pytest.approx(mean / (1 + abs(0.8 - mean) + abs(0.6 - mean)))
    assert found["es_dice"] == pytest.approx(mean / 1.1)
    assert math.isnan(overlap_gaps([1.0, 0.5], np.array([0, 1]), 2)["ser"])
    assert math.isnan(overlap_gaps([1.0, 0.5], np.array([0, 0]), 2)["gap"])


def test_strata_hold_equal_numbers_and_no_empty_structure() -> None:
    volumes = np.array([5.0, 0, 1, 9, 3, 7, 2])
    assert volume_strata(volumes, 3).tolist() == [1, -1, 0, 2, 1, 2, 0]
    assert volume_strata(np.zeros(3)).tolist() == [-1, -1, -1]


def test_levelling_down_is_named_and_a_true_gain_is_not() -> None:
    assert levelled_down([0.9, 0.7], [0.7, 0.695]) == [0]
    assert levelled_down([0.9, 0.7], [0.9, 0.8]) == []
    assert levelled_down([0.9, 0.7], [0.85, 0.5]) == []  # the gap grew: no levelling
