from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medzoo.core.metrics.segmentation import (
    SegmentationMetrics,
    best_threshold,
    dice,
    group_interval,
    lesion_counts,
    quantile_threshold,
)


def box(shape: tuple[int, ...], *corners: tuple[slice, ...]) -> torch.Tensor:
    mask = torch.zeros(shape)
    for corner in corners:
        mask[corner] = 1
    return mask


def test_dice_of_empty_masks_follows_the_convention() -> None:
    empty, full = torch.zeros(3, 3), torch.ones(3, 3)
    assert (dice(empty, empty), dice(full, empty), dice(empty, full), dice(full, full)) == (1, 0, 0, 1)
    assert dice(box((4, 4), (slice(0, 2),)), box((4, 4), (slice(1, 3),))) == 0.5


def test_dice_is_a_mean_over_volumes_not_pooled_over_voxels() -> None:
    metric = SegmentationMetrics()
    metric.update(torch.ones(10, 10, 10), torch.ones(10, 10, 10), group=0)  # large and perfect
    metric.update(torch.zeros(2, 2, 2), torch.ones(2, 2, 2), group=1)  # small and missed
    assert float(metric.compute()["dice"]) == 0.5


def test_lesions_are_counted_by_region_and_small_touches_do_not_find_them() -> None:
    target = box((4, 20, 20), np.s_[:, 0:10, 0:10], np.s_[:, 15:18, 15:18])
    pred = box((4, 20, 20), np.s_[:, 9:10, 9:11], np.s_[:, 15:17, 15:18], np.s_[0:1, 0:2, 18:20])
    counts = lesion_counts(pred, target)
    assert (counts.lesions, counts.found, counts.alarms) == (2, 1, 1)  # the graze of the large one is no alarm either


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_threshold_is_as_good_as_any_score_of_the_volume(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = torch.from_numpy(rng.random(60) < 0.3)
    mask[0] = True
    score = torch.from_numpy(rng.normal(size=60) + mask.numpy()).float()
    level, value = best_threshold([score], [mask], steps=200)
    assert value == pytest.approx(dice(score >= level, mask))
    inside = score[mask]
    assert value >= max(dice(score >= t, mask) for t in inside) - 1e-12


def test_threshold_weighs_volumes_equally() -> None:
    large = (
        torch.cat([torch.full((1000,), 0.9), torch.full((1000,), 0.4)]),
        torch.cat([torch.ones(1000), torch.zeros(1000)]),
    )
    small = [(torch.tensor([0.3, 0.3, 0.1]), torch.tensor([1, 1, 0])) for _ in range(3)]
    pairs = [large, *small]
    level, _ = best_threshold([p[0] for p in pairs], [p[1] for p in pairs])
    assert level < 0.31  # three small volumes outvote the large one


def test_quantile_threshold_keeps_its_promise_on_new_normal_images() -> None:
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(300):
        level = quantile_threshold(torch.from_numpy(rng.normal(size=99)), 0.1)
        rates.append(float((rng.normal(size=500) > level).mean()))
    assert np.mean(rates) == pytest.approx(0.1, abs=0.01)
    assert quantile_threshold(torch.tensor([1.0, 2.0, 3.0]), 0.01) == 3.0
    with pytest.raises(ValueError, match="at least one"):
        quantile_threshold(torch.empty(0))


def test_interval_is_wider_by_patient_than_by_volume_and_blind_to_order() -> None:
    rng = np.random.default_rng(3)
    owner = torch.arange(10).repeat_interleave(8)
    values = torch.from_numpy(rng.random(10)).repeat_interleave(8)
    low, high = group_interval(values, owner)
    narrow = group_interval(values, torch.arange(80))
    assert high - low > 2 * (narrow[1] - narrow[0])
    shuffled = torch.from_numpy(rng.permutation(80))
    assert group_interval(values[shuffled], owner[shuffled]) == (low, high)


def test_metric_pools_lesions_and_averages_alarms() -> None:
    metric = SegmentationMetrics()
    target = box((3, 12, 12), np.s_[:, 0:3, 0:3], np.s_[:, 6:9, 6:9])
    metric.update(box((3, 12, 12), np.s_[:, 0:3, 0:3]), target, group=3)
    metric.update(box((3, 12, 12), np.s_[0:1, 0:1, 10:12]), torch.zeros(3, 12, 12), group=4)
    found = {name: float(value) for name, value in metric.compute().items()}
    assert found["lesion_sensitivity"] == 0.5
    assert found["alarms_per_volume"] == 0.5
    assert found["recall"] == 0.5  # of the one volume that has lesions
    assert found["volumes"] == 2
    assert math.isnan(float(SegmentationMetrics().compute()["dice"]))
