"""Figures of maps over images, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medzoo.core.metrics.grounding import contrast_to_noise, mean_iou, points_at


def test_a_peak_in_any_box_is_a_hit_up_to_the_edge_of_its_last_pixel() -> None:
    boxes = [(10, 10, 19, 14), (40, 0, 41, 3)]
    assert points_at((10, 14), boxes)
    assert points_at((19.5, 12), boxes)
    assert points_at((41, 0), boxes)
    assert not points_at((20, 12), boxes)
    assert not points_at((25, 2), boxes)
    assert not points_at((10, 12), [])


def test_contrast_is_the_distance_of_the_means_in_noise() -> None:
    inside = np.zeros((4, 5), dtype=bool)
    inside[1:3, 1:3] = True
    rng = np.random.default_rng(0)
    found = rng.normal(size=(4, 5)) + 3 * inside
    a, b = found[inside], found[~inside]
    assert contrast_to_noise(found, inside) == pytest.approx(
        (a.mean() - b.mean()) / np.sqrt(a.std() ** 2 + b.std() ** 2)
    )
    assert contrast_to_noise(-found, inside) == pytest.approx(contrast_to_noise(found, inside))
    assert math.isnan(contrast_to_noise(found, np.zeros_like(inside)))
    assert math.isnan(contrast_to_noise(np.ones((4, 5)), inside))


def test_overlap_is_averaged_over_the_thresholds() -> None:
    inside = np.array([[1, 1, 0, 0]], dtype=bool)
    found = np.array([[0.6, 0.25, 0.25, 0.0]])
    assert mean_iou(found, inside) == pytest.approx(np.mean([2 / 3, 2 / 3, 1 / 2, 1 / 2, 1 / 2]))
    assert mean_iou(inside.astype(float), inside) == 1
