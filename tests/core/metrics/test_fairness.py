"""Metrics of groups against sums written out case by case, on random and on degenerate groups."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize

from medzoo.core.metrics.calibration import adaptive_ece, brier, calibration_line
from medzoo.core.metrics.fairness import GAPS, NEEDS, ScoreCounts, enough, gap, group_gaps, group_metrics


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A group of 0 to 60 cases: none, one class alone, tied scores, scores at 0 and 1."""
    rng = np.random.default_rng(seed)
    size = int(rng.choice([0, 1, 2, 5, 20, 60]))
    labels = (rng.random(size) < rng.choice([0.0, 0.2, 0.5, 1.0])).astype(int)
    scores = np.clip(rng.normal(0.4 + 0.2 * labels, 0.3), 0, 1)
    return (np.round(scores, 1) if seed % 2 else scores), labels


def brute(scores: np.ndarray, labels: np.ndarray, t: float, tnr: float, bins: int) -> dict[str, float]:
    cases = list(zip(scores.tolist(), labels.tolist(), strict=True))
    pos, neg = [s for s, y in cases if y], [s for s, y in cases if not y]

    def mean(values: list[float]) -> float:
        return sum(values) / len(values) if values else math.nan

    pairs = [1.0 if p > n else 0.5 if p == n else 0.0 for p in pos for n in neg]
    at = math.nan
    if pos and neg:
        for cut in [*sorted(set(scores.tolist())), math.inf]:
            if sum(s < cut for s in neg) >= tnr * len(neg) - 1e-9:
                at = mean([float(s >= cut) for s in pos])
                break
    where: dict[int, list[tuple[float, int]]] = {}
    for s, y in cases:
        below = sum(other < s for other, _ in cases)
        where.setdefault(min(bins * below // len(cases), bins - 1), []).append((s, y))
    errors = [abs(sum(s for s, _ in b) - sum(y for _, y in b)) for b in where.values()]
    return {
        "selection_rate": mean([float(s >= t) for s, _ in cases]),
        "accuracy": mean([float((s >= t) == bool(y)) for s, y in cases]),
        "tpr": mean([float(s >= t) for s in pos]),
        "tnr": mean([float(s < t) for s in neg]),
        "fpr": mean([float(s >= t) for s in neg]),
        "underdiagnosis": mean([float(s < t) for s in pos]),
        "auc": mean(pairs),
        "tpr_at_tnr": at,
        "ece": sum(errors) / len(cases) if cases else math.nan,
        "brier": mean([(s - y) ** 2 for s, y in cases]),
    }


@pytest.mark.parametrize("block", range(10))
def test_each_metric_is_what_counting_case_by_case_gives(block: int) -> None:
    for seed in range(100 * block, 100 * block + 100):
        scores, labels = draw(seed)
        rng = np.random.default_rng(seed)
        t, tnr = float(rng.choice([0.3, 0.5, 0.7])), float(rng.choice([0.5, 0.8, 0.9]))
        found = group_metrics(ScoreCounts.of(scores, labels), t, tnr=tnr, bins=5)
        for name, wanted in brute(scores, labels, t, tnr, 5).items():
            assert float(found[name]) == pytest.approx(wanted, abs=1e-12, nan_ok=True), (seed, name)


def miss(a: float, x: np.ndarray, labels: np.ndarray) -> float:
    return float((1 / (1 + np.exp(-a - x))).sum() - labels.sum())


def loss(c: np.ndarray, x: np.ndarray, labels: np.ndarray) -> float:
    return float(np.logaddexp(0, (1 - 2 * labels) * (c[0] + c[1] * x)).sum())


def test_the_calibration_line_is_the_maximum_of_the_likelihood() -> None:
    compared = 0
    for seed in range(200):
        scores, labels = draw(seed)
        found = ScoreCounts.of(scores, labels)
        intercept, slope = map(float, calibration_line(found.scores, found.negatives, found.positives))
        if len(set(labels.tolist())) < 2:
            assert math.isnan(intercept)
            assert math.isnan(slope)
            continue
        p = np.clip(scores, 1e-6, 1 - 1e-6)
        x = np.log(p / (1 - p))
        offset = optimize.brentq(miss, -60, 60, args=(x, labels), xtol=1e-12)
        assert intercept == pytest.approx(offset, abs=1e-7)
        if math.isnan(slope):  # one score separates the classes
            assert x[labels == 1].min() >= x[labels == 0].max() or x[labels == 0].min() >= x[labels == 1].max()
            continue
        best = optimize.minimize(loss, [0, slope * 0.8], args=(x, labels), method="BFGS", options={"gtol": 1e-8})
        assert slope == pytest.approx(best.x[1], rel=1e-4, abs=1e-5), seed
        compared += 1
    assert compared > 40


def test_calibration_lines_of_many_rows_are_those_of_each_alone() -> None:
    """Also where a row lies far from all together, and where it has no finite slope."""
    rng = np.random.default_rng(5)
    scores = np.sort(rng.random(60))
    slopes = np.concatenate([np.full(30, 1.0), [-4.0, 9.0, 0.0]])
    logits = np.log(scores / (1 - scores))
    chance = 1 / (1 + np.exp(-(slopes[:, None] * logits + rng.normal(size=(33, 1)))))
    cases = rng.integers(1, 40, (33, 60)).astype(float)
    positives = rng.binomial(cases.astype(int), chance).astype(float)
    positives[5], cases[6], positives[6] = np.where(scores > 0.5, cases[5], 0), 7.0, 7.0
    together = calibration_line(scores, cases - positives, positives)
    alone = [calibration_line(scores, (cases - positives)[i], positives[i]) for i in range(33)]
    for k in range(2):
        np.testing.assert_allclose(together[k], [float(line[k]) for line in alone], rtol=1e-7, atol=1e-9)
    assert np.isnan(together[1][5:7]).all()


def test_leading_dimensions_give_what_each_row_gives() -> None:
    rng = np.random.default_rng(0)
    scores = np.linspace(0.01, 0.99, 23)
    negatives, positives = rng.integers(0, 3, (2, 7, 23)).astype(float)
    positives[0] = 0
    whole = group_metrics(ScoreCounts(scores, negatives, positives), 0.5)
    for row in range(7):
        alone = group_metrics(ScoreCounts(scores, negatives[row], positives[row]), 0.5)
        for name in NEEDS:
            assert whole[name][row] == pytest.approx(float(alone[name]), rel=1e-7, abs=1e-9, nan_ok=True)


def test_gaps_leave_out_what_is_unknown_and_need_two_groups() -> None:
    nan = math.nan
    values = {name: np.array([0.2, nan, 0.7, 0.5]) for name in NEEDS}
    values["tnr"] = np.array([0.9, 0.1, 0.6, nan])
    values["fpr"] = 1 - values["tnr"]
    found = group_gaps(values)
    assert set(found) == set(GAPS)
    assert float(found["dp_gap"]) == pytest.approx(0.5)
    assert float(found["dp_ratio"]) == pytest.approx(0.2 / 0.7)
    assert float(found["eopp0_gap"]) == pytest.approx(0.8)
    assert float(found["eodd_mean"]) == pytest.approx(0.65)
    assert float(found["eodd_max"]) == pytest.approx(0.8)
    assert float(found["eodd_signed"]) == pytest.approx(0.2)  # 1.1 and 1.3 have both rates
    assert float(found["worst_auc"]) == pytest.approx(0.2)
    for few in ([0.3, nan], [nan, nan], [0.3], []):
        assert math.isnan(float(gap(np.array(few))))
        assert all(np.isnan(v) for v in group_gaps({name: np.array(few) for name in NEEDS}).values())


def test_a_signed_sum_hides_what_the_other_two_show() -> None:
    values = {"tpr": np.array([0.9, 0.6]), "tnr": np.array([0.6, 0.9]), "fpr": np.array([0.4, 0.1])}
    found = group_gaps(values)
    assert float(found["eodd_signed"]) == pytest.approx(0, abs=1e-12)
    assert float(found["eodd_max"]) == pytest.approx(0.3)


def test_names_of_groups_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    values = {name: rng.random((5, 4)) for name in NEEDS}
    order = rng.permutation(5)
    for name, value in group_gaps(values).items():
        assert np.array_equal(value, group_gaps({k: v[order] for k, v in values.items()})[name])


def test_underdiagnosis_of_a_label_no_finding_is_its_false_alarms() -> None:
    counts = ScoreCounts.of([0.1, 0.6, 0.7, 0.9], [0, 0, 1, 1])
    assert float(group_metrics(counts, 0.8)["underdiagnosis"]) == 0.5
    assert float(group_metrics(counts, 0.5, no_finding=True)["underdiagnosis"]) == 0.5
    assert enough("underdiagnosis", 3, 20, no_finding=True)
    assert not enough("underdiagnosis", 3, 20)


def test_scores_and_labels_are_checked() -> None:
    for scores, labels in (([0.5, math.nan], [0, 1]), ([0.5], [2]), ([0.5, 0.6], [1])):
        with pytest.raises(ValueError, match="must be"):
            ScoreCounts.of(scores, labels)


def test_equal_probabilities_are_one_bin() -> None:
    counts = ScoreCounts.of([0.3] * 10, [1, 1, 1] + [0] * 7)
    assert float(adaptive_ece(counts.scores, counts.negatives, counts.positives)) == pytest.approx(0, abs=1e-12)
    assert float(brier(counts.scores, counts.negatives, counts.positives)) == pytest.approx(0.21)
