from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from medzoo.core.metrics.anomaly import (
    ImageAnomalyMetrics,
    PixelAnomalyMetrics,
    aupro,
    auroc,
    auroc_interval,
    average_precision,
    region_weights,
)

items = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40)


def plain_aupro(maps: list[np.ndarray], regions: list[np.ndarray], limit: float) -> float:
    """Threshold by threshold, region by region, straight from the definition."""
    levels = sorted({float(v) for m in maps for v in m.ravel()}, reverse=True)
    normal = sum(int((r == 0).sum()) for r in regions)
    pro, rate = [0.0], [0.0]
    for level in levels:
        pairs = list(zip(maps, regions, strict=True))
        overlaps = [float((m[r == k] >= level).mean()) for m, r in pairs for k in range(1, r.max() + 1)]
        pro.append(float(np.mean(overlaps)))
        rate.append(sum(int((m[r == 0] >= level).sum()) for m, r in zip(maps, regions, strict=True)) / normal)
    # cut the curve at the limit
    xs, ys = np.array(rate), np.array(pro)
    end = int(np.searchsorted(xs, limit))
    y = ys[end] if xs[end] == limit else np.interp(limit, xs[end - 1 : end + 1], ys[end - 1 : end + 1])
    return float(np.trapezoid(np.append(ys[:end], y), np.append(xs[:end], limit)) / limit)


@given(items)
def test_auroc_and_average_precision_agree_with_scikit_learn_ties_included(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = torch.tensor([float(s) for s, _ in pairs]), torch.tensor([y for _, y in pairs])
    if labels.all() or not labels.any():
        assert math.isnan(auroc(scores, labels))
        return
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(scores, labels) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)


def test_scores_far_outside_the_unit_interval_keep_their_ranking() -> None:
    # A sigmoid would tie these distances, and with that give 0.5.
    scores, labels = torch.tensor([1000.0, 2000.0, 3000.0, 4000.0]), torch.tensor([0, 0, 1, 1])
    assert auroc(scores, labels) == 1.0
    metric = ImageAnomalyMetrics()
    metric.update(scores, labels)
    assert float(metric.compute()["image_auroc"]) == 1.0


def test_region_weights_sum_to_the_number_of_regions_and_corners_connect() -> None:
    mask = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 1]])
    weights = region_weights(mask)
    assert weights.sum().item() == pytest.approx(3)
    assert weights[0, 0] == weights[1, 1] == 0.5
    assert region_weights(torch.ones(2, 2, 2))[0, 0, 0] == 1 / 8


@given(st.integers(0, 10_000), st.sampled_from([0.05, 0.3, 1.0]), st.integers(2, 50))
@settings(max_examples=40, deadline=None)
def test_aupro_equals_the_definition_threshold_by_threshold(seed: int, limit: float, levels: int) -> None:
    rng = np.random.default_rng(seed)
    maps = [rng.integers(levels, size=(9, 8)).astype(np.float32) for _ in range(2)]
    regions = [np.zeros((9, 8), dtype=int) for _ in maps]
    regions[0][1:3, 1:5], regions[0][6:8, 2:4], regions[1][4:9, 5:8] = 1, 2, 1
    weights = torch.stack([region_weights(torch.from_numpy(r)) for r in regions])
    found = aupro(torch.from_numpy(np.stack(maps)), weights, limit)
    assert found == pytest.approx(plain_aupro(maps, regions, limit), abs=1e-9)


def test_aupro_of_a_perfect_map_is_one_and_of_a_constant_map_half_the_limit() -> None:
    mask = torch.zeros(10, 10)
    mask[2:4, 2:4] = 1
    weights = region_weights(mask)
    assert aupro(mask, weights) == pytest.approx(1.0)
    assert aupro(torch.zeros(10, 10), weights, 0.3) == pytest.approx(0.15)  # the diagonal


def test_small_and_large_regions_weigh_the_same() -> None:
    mask = torch.zeros(20, 20)
    mask[0:10, 0:10] = 1  # 100 pixels
    mask[15, 15] = 1  # one
    weights = region_weights(mask)
    only_small, only_large = torch.zeros(20, 20), torch.zeros(20, 20)
    only_small[15, 15], only_large[0:10, 0:10] = 1, 1
    assert aupro(only_small, weights) == pytest.approx(aupro(only_large, weights))


def test_any_increasing_map_of_the_scores_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    scores = torch.from_numpy(rng.normal(size=500))
    labels = torch.from_numpy(rng.random(500) < 0.3)
    weights = torch.where(labels, 1.0 / labels.sum(), 0.0)
    for change in (lambda s: 3 * s + 100, torch.exp, lambda s: s**3):
        assert auroc(change(scores), labels) == pytest.approx(auroc(scores, labels), abs=1e-12)
        assert aupro(change(scores), weights) == pytest.approx(aupro(scores, weights), abs=1e-12)


def test_interval_draws_patients_not_images() -> None:
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(20), 25)
    labels = torch.from_numpy(patients % 2)
    offset = rng.normal(size=20)[patients] + 1.0 * labels.numpy()  # images of a patient agree
    scores = torch.from_numpy(offset + 0.05 * rng.normal(size=500))
    by_patient = auroc_interval(scores, labels, torch.from_numpy(patients))
    by_image = auroc_interval(scores, labels, torch.arange(500))
    assert by_patient[1] - by_patient[0] > 2 * (by_image[1] - by_image[0])
    assert by_patient[0] <= auroc(scores, labels) <= by_patient[1]


def test_metric_does_not_depend_on_batches_or_their_order() -> None:
    rng = np.random.default_rng(1)
    scores, labels = torch.from_numpy(rng.normal(size=60)).float(), torch.from_numpy(rng.random(60) < 0.5)
    whole, parts = ImageAnomalyMetrics(), ImageAnomalyMetrics()
    whole.update(scores, labels, torch.arange(60))
    for start in (40, 0, 20):
        chosen = slice(start, start + 20)
        parts.update(scores[chosen], labels[chosen], torch.arange(60)[chosen])
    assert {k: float(v) for k, v in whole.compute().items()} == {k: float(v) for k, v in parts.compute().items()}


def test_pixel_metric_looks_inside_the_organ_only() -> None:
    maps, masks = torch.zeros(1, 8, 8), torch.zeros(1, 8, 8)
    masks[0, 2:4, 2:4] = 1
    maps[0, 2:4, 2:4] = 1
    maps[0, 7] = 9  # loud outside of the organ
    inside = torch.zeros(1, 8, 8, dtype=torch.bool)
    inside[0, :6] = True
    everywhere, organ = PixelAnomalyMetrics(), PixelAnomalyMetrics()
    everywhere.update(maps, masks)
    organ.update(maps, masks, inside)
    assert float(organ.compute()["aupro"]) == pytest.approx(1.0)
    assert float(everywhere.compute()["aupro"]) < 0.9


def test_nothing_seen_is_nan_and_nan_scores_are_refused() -> None:
    assert math.isnan(float(ImageAnomalyMetrics().compute()["image_auroc"]))
    assert math.isnan(float(PixelAnomalyMetrics().compute()["aupro"]))
    with pytest.raises(ValueError, match="finite"):
        ImageAnomalyMetrics().update(torch.tensor([math.nan]), torch.tensor([1]))
    with pytest.raises(ValueError, match="limit"):
        aupro(torch.zeros(3), torch.zeros(3), limit=0)
