"""Bootstrap, permutation null, Benjamini-Hochberg and DeLong against what is known of them, and fairlearn's figures."""

from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np
import pytest

from medzoo.core.metrics.fairness import ScoreCounts, auc, group_gaps, rates
from medzoo.core.metrics.fairness_tests import (
    Cases,
    _resample,
    _shuffled,
    benjamini_hochberg,
    bootstrap,
    delong,
    interval,
    normal_p,
    p_value,
    permutations,
)


def sample(size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(size) < 0.3).astype(np.int8)
    return 1 / (1 + np.exp(-rng.normal(1.2 * labels - 0.5, 1))), labels


def spread(cases: Cases, repeats: int = 2000) -> float:
    generator = np.random.default_rng(1)
    return float(np.concatenate([auc(counts) for counts in bootstrap(cases, repeats, generator)]).std())


def test_the_bootstrap_spreads_as_delong_says() -> None:
    scores, labels = sample(600)
    area, variance = delong(ScoreCounts.of(scores, labels))
    assert area == pytest.approx(float(auc(ScoreCounts.of(scores, labels))), abs=1e-12)
    assert spread(Cases.of(scores, labels, None, 0.5)) == pytest.approx(math.sqrt(variance), rel=0.1)


def test_patients_with_copies_of_a_case_count_once() -> None:
    scores, labels = sample(300)
    alone = spread(Cases.of(scores, labels, None, 0.5))
    copies = Cases.of(np.repeat(scores, 4), np.repeat(labels, 4), np.repeat(np.arange(300), 4), 0.5)
    assert spread(copies) == pytest.approx(alone, rel=0.1)
    assert spread(Cases.of(np.repeat(scores, 4), np.repeat(labels, 4), None, 0.5)) < 0.6 * alone


def test_a_resample_has_as_many_patients_and_whole_ones() -> None:
    scores, labels = sample(50)
    patients = np.sort(np.random.default_rng(2).integers(0, 9, 50))
    cases = Cases.of(scores, labels, np.unique(patients, return_inverse=True)[1], 0.5)
    assert cases.sizes.sum() == 50
    for counts in bootstrap(cases, 40, np.random.default_rng(0)):
        total = (counts.positives + counts.negatives).sum(-1)
        assert total.min() >= len(cases.sizes) * cases.sizes.min()
        assert total.max() <= len(cases.sizes) * cases.sizes.max()


def test_a_resample_is_a_draw_with_replacement() -> None:
    generator, found = np.random.default_rng(0), np.zeros(10)
    for _ in range(8100):  # of four: sorted counts and their multinomial probabilities
        counts = _resample(4, generator)
        found[counts.max() * 2 + (counts == 0).sum() - 2] += 1
    wanted = np.zeros(10)
    for draws in product(range(4), repeat=4):
        drawn = np.bincount(draws, minlength=4)
        wanted[drawn.max() * 2 + (drawn == 0).sum() - 2] += 8100 / 256
    there = wanted > 0
    assert found[~there].sum() == 0
    assert ((found - wanted)[there] ** 2 / wanted[there]).sum() < 19  # chi-squared with 4 degrees, p = 0.001
    many = np.stack([_resample(3000, generator) for _ in range(2000)]).astype(float)
    assert (many.sum(1) == 3000).all()
    assert many.var() == pytest.approx(1 - 1 / 3000, abs=4e-3)
    assert [(many == k).mean() for k in range(4)] == pytest.approx([0.3679, 0.3679, 0.1839, 0.0613], abs=1e-3)


@pytest.mark.parametrize("clustered", [False, True])
def test_shuffles_keep_all_cases_and_the_sizes_of_the_groups(clustered: bool) -> None:
    scores, labels = sample(120)
    patients = np.repeat(np.arange(60), 2) if clustered else None
    cases = Cases.of(scores, labels, patients, 0.5)
    groups = np.arange(len(cases.sizes)) % 3
    whole = np.bincount(cases.codes, minlength=2 * len(cases.scores))
    for parts in permutations(cases, groups, 3, 70, np.random.default_rng(0)):
        together = np.concatenate([sum(p.negatives for p in parts), sum(p.positives for p in parts)], axis=-1)
        assert (together == whole).all()
        for part in parts:
            assert ((part.negatives + part.positives).sum(-1) == 40).all()


def test_all_orders_of_a_shuffle_are_equally_likely() -> None:
    generator = np.random.default_rng(0)
    found: dict[tuple[int, ...], int] = {}
    for _ in range(6000):
        order = tuple(_shuffled(np.array([2, 1, 2]), generator).tolist())
        found[order] = found.get(order, 0) + 1
    assert len(found) == 30
    assert sum((count - 200) ** 2 / 200 for count in found.values()) < 59  # chi-squared with 29 degrees, p = 0.001


def test_coarse_counts_keep_the_threshold_and_nearly_the_ranking() -> None:
    scores, labels = sample(20_000)
    exact = ScoreCounts.of(scores, labels)
    cases = Cases.of(scores, labels, None, 0.4321)
    assert len(cases.scores) <= 1025
    coarse = cases.counts(np.bincount(cases.codes, minlength=2 * len(cases.scores)))
    for name, value in rates(exact, 0.4321).items():
        assert float(rates(coarse, 0.4321)[name]) == float(value), name
    assert float(auc(coarse)) == pytest.approx(float(auc(exact)), abs=1e-5)


def test_false_discoveries_by_hand() -> None:
    found = benjamini_hochberg(np.array([0.04, 0.01, math.nan, 0.03, 0.5]))
    assert np.allclose(found, [0.16 / 3, 0.04, math.nan, 0.16 / 3, 0.5], equal_nan=True)
    assert len(benjamini_hochberg(np.empty(0))) == 0


def test_p_values_are_never_zero_and_intervals_need_values() -> None:
    assert p_value(2.0, np.zeros(99)) == 0.01
    assert p_value(0.0, np.zeros(99)) == 1.0
    assert math.isnan(p_value(math.nan, np.zeros(9)))
    assert math.isnan(interval(np.array([1.0, math.nan]))[0])
    assert interval(np.arange(1001.0)) == pytest.approx((25, 975))
    assert normal_p(1.959964, 1.0) == pytest.approx(0.05, abs=1e-6)
    assert math.isnan(delong(ScoreCounts.of([0.1, 0.2], [0, 1]))[1])


def test_the_null_covers_a_gap_by_chance_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    found = []
    for seed in range(60):
        scores, labels = sample(80, seed)
        groups = rng.integers(0, 2, 80)
        cases = Cases.of(scores, labels, None, 0.5)
        null = np.concatenate(
            [gap_of(parts) for parts in permutations(cases, groups, 2, 64, np.random.default_rng(seed))]
        )
        own = [ScoreCounts.of(scores[groups == g], labels[groups == g]) for g in (0, 1)]
        found.append(p_value(float(gap_of(own)), null))
    assert np.mean(np.array(found) <= 0.1) < 0.25
    assert 0.35 < np.mean(found) < 0.65


def gap_of(parts: list[ScoreCounts]) -> np.ndarray:
    return group_gaps({"auc": np.stack([auc(part) for part in parts])})["auc_gap"]


@pytest.mark.slow
def test_gaps_are_those_of_fairlearn_where_every_group_has_both_classes() -> None:
    metrics = pytest.importorskip("fairlearn.metrics", reason="fairlearn is not installed")
    for seed in range(200):
        rng = np.random.default_rng(seed)
        size, number = 80, int(rng.integers(2, 5))
        groups, labels, scores = rng.integers(0, number, size), rng.integers(0, 2, size), rng.random(size)
        cells = [(scores[groups == g], labels[groups == g]) for g in range(number)]
        if any(len(set(y.tolist())) < 2 for _, y in cells):
            continue
        each = [rates(ScoreCounts.of(s, y), 0.5) for s, y in cells]
        found = group_gaps({name: np.array([r[name] for r in each]) for name in each[0]})
        given = (labels, scores >= 0.5)
        told = {"sensitive_features": groups}
        for name, wanted in {
            "dp_gap": metrics.demographic_parity_difference(*given, **told),
            "dp_ratio": metrics.demographic_parity_ratio(*given, **told),
            "eopp1_gap": metrics.equal_opportunity_difference(*given, **told),
            "eodd_max": metrics.equalized_odds_difference(*given, **told),
            "eodd_mean": metrics.equalized_odds_difference(*given, **told, agg="mean"),
        }.items():
            assert float(found[name]) == pytest.approx(wanted, abs=1e-12), (seed, name)


def test_codes_of_patients_are_in_their_order() -> None:
    scores, labels = sample(30)
    cases = Cases.of(scores, labels, np.repeat(np.arange(10), 3), 0.5)
    assert all(a == b for a, b in pairwise(cases.sizes))
    assert np.allclose(cases.scores[cases.codes % len(cases.scores)], scores)
