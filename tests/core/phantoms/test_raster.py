"""The rasteriser against closed forms, a dense sampling of points, and its own larger images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from medzoo.core.phantoms.raster import coverage

Array = NDArray[np.float64]


def fill(polygon: Array, size: tuple[int, int], value: float = 1.0) -> Array:
    return coverage(polygon, np.roll(polygon, -1, axis=0), np.full(len(polygon), value), size)


def shoelace(polygon: Array) -> float:
    ahead = np.roll(polygon, -1, axis=0)
    return 0.5 * float(np.sum(polygon[:, 0] * ahead[:, 1] - polygon[:, 1] * ahead[:, 0]))


def test_a_rectangle_covers_pixels_by_the_share_of_their_area() -> None:
    box = np.array([(1.25, 0.5), (3.5, 0.5), (3.5, 2.0), (1.25, 2.0)])
    expected = np.zeros((3, 5))
    expected[0] = [0, 0.75 * 0.5, 0.5, 0.25, 0]
    expected[1] = [0, 0.75, 1.0, 0.5, 0]
    np.testing.assert_allclose(fill(box, (3, 5)), expected, atol=1e-12)


def test_a_polygon_that_runs_the_other_way_round_counts_negative() -> None:
    box = np.array([(1.0, 1.0), (3.0, 1.0), (3.0, 3.0), (1.0, 3.0)])
    np.testing.assert_allclose(fill(box[::-1], (4, 4)), -fill(box, (4, 4)), atol=1e-12)


points = st.lists(st.tuples(st.floats(0.0, 20.0), st.floats(0.0, 20.0)), min_size=3, max_size=9)


@settings(max_examples=80, deadline=None)
@given(points)
def test_the_sum_over_the_image_is_the_signed_area(corners: list[tuple[float, float]]) -> None:
    polygon = np.array(corners)
    assert fill(polygon, (20, 20)).sum() == pytest.approx(shoelace(polygon), abs=1e-8)


@settings(max_examples=40, deadline=None)
@given(points, st.floats(-12.0, 12.0), st.floats(-12.0, 12.0))
def test_what_leaves_the_image_does_not_change_what_stays(
    corners: list[tuple[float, float]], right: float, down: float
) -> None:
    polygon = np.array(corners) + np.array((right, down))
    whole = fill(polygon + 16, (64, 64))
    np.testing.assert_allclose(fill(polygon, (20, 20)), whole[16:36, 16:36], atol=1e-8)


def test_coverage_equals_a_dense_sampling_of_points() -> None:
    rng = np.random.default_rng(0)
    turn = np.sort(rng.uniform(0, 2 * np.pi, 11))
    polygon = 12 + rng.uniform(4, 11, (11, 1)) * np.stack((np.cos(turn), np.sin(turn)), axis=-1)
    fine = (np.arange(24 * 32) + 0.5) / 32
    x, y = np.meshgrid(fine, fine)
    inside = np.zeros(x.shape, dtype=bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    sampled = inside.reshape(24, 32, 24, 32).mean(axis=(1, 3))
    assert np.abs(fill(polygon, (24, 24)) - sampled).max() < 0.02


def test_polygons_add_up_by_their_weights() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.uniform(0, 16, (2, 5, 2))
    start = np.concatenate((first, second))
    end = np.concatenate((np.roll(first, -1, axis=0), np.roll(second, -1, axis=0)))
    both = coverage(start, end, np.repeat([0.3, -2.0], 5), (16, 16))
    np.testing.assert_allclose(both, 0.3 * fill(first, (16, 16)) - 2 * fill(second, (16, 16)), atol=1e-10)


def test_a_shift_below_a_pixel_moves_the_centre_by_exactly_that() -> None:
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    disc = 10 + 5 * np.stack((np.cos(turn), np.sin(turn)), axis=-1)
    grid = np.arange(20) + 0.5

    def centre(image: Array) -> Array:
        moments: Array = np.array([(image.sum(axis=0) * grid).sum(), (image.sum(axis=1) * grid).sum()])
        moments /= image.sum()
        return moments

    # The mean of pixel centres weighted by coverage is off by second moments within pixels; to 1e-2 it is the shape's.
    moved = centre(fill(disc + np.array((0.3, -0.45)), (20, 20))) - centre(fill(disc, (20, 20)))
    np.testing.assert_allclose(moved, (0.3, -0.45), atol=0.01)


def test_nothing_drawn_is_an_empty_image() -> None:
    empty = coverage(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), (4, 6))
    assert empty.shape == (4, 6)
    assert not empty.any()
