"""Curves, tubes and drawings against what can be computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from medzoo.core.phantoms.raster import coverage
from medzoo.core.phantoms.shapes import Drawing, curve, ellipse, jitter, normals, taper, tube, turned

Array = NDArray[np.float64]
BOX = np.array([(4.0, 4.0), (16.0, 4.0), (16.0, 16.0), (4.0, 16.0)])


def drawn(drawing: Drawing, side: int = 20) -> Array:
    points, successor, weight = drawing.edges("sharp")
    return coverage(points, points[successor], weight, (side, side))


@pytest.mark.parametrize("closed", [False, True])
def test_a_curve_passes_through_its_control_points(closed: bool) -> None:
    controls = np.random.default_rng(0).normal(size=(7, 2))
    line = curve(controls, per=5, closed=closed)
    assert len(line) == (35 if closed else 31)
    np.testing.assert_allclose(line[::5], controls, atol=1e-12)


def test_a_curve_through_points_of_a_line_stays_on_it() -> None:
    line = curve([(0, 0), (1, 2), (2, 4), (3, 6)], per=4)
    np.testing.assert_allclose(line[:, 1], 2 * line[:, 0], atol=1e-12)
    assert np.all(np.diff(line[:, 0]) > 0)


def test_a_tube_keeps_its_half_width_from_the_axis() -> None:
    axis = np.array([(0.0, 0.0), (2.0, 0.0), (5.0, 0.0)])
    outline = tube(axis, [1.0, 2.0, 0.5])
    np.testing.assert_allclose(outline[:3], [(0, -1), (2, -2), (5, -0.5)], atol=1e-12)
    np.testing.assert_allclose(outline[3:], [(5, 0.5), (2, 2), (0, 1)], atol=1e-12)


def test_normals_are_unit_and_square_to_the_line() -> None:
    line = curve(np.random.default_rng(1).normal(size=(5, 2)), per=6)
    side = normals(line)
    np.testing.assert_allclose(np.hypot(*side.T), 1, atol=1e-12)
    inner = line[2:] - line[:-2]
    np.testing.assert_allclose((inner * side[1:-1]).sum(axis=1), 0, atol=1e-12)


def test_an_ellipse_has_its_radii_along_its_turned_axes() -> None:
    outline = ellipse((3, 4), (5, 2), angle=0.7, points=64)
    straight = turned(outline, -0.7, about=(3, 4)) - (3, 4)
    np.testing.assert_allclose((straight[:, 0] / 5) ** 2 + (straight[:, 1] / 2) ** 2, 1, atol=1e-12)


def test_taper_goes_straight_between_its_knots() -> None:
    np.testing.assert_allclose(taper(5, (0, 1.0), (0.5, 3.0), (1, 2.0)), [1, 2, 3, 2.5, 2])


@pytest.mark.parametrize("outline", [BOX, BOX[::-1]])
def test_steps_lie_at_their_depths_below_either_orientation(outline: Array) -> None:
    drawing = Drawing()
    drawing.fill(outline, (1.0, 0.5), (0.0, 3.0 * np.sqrt(2)))  # corners move along the diagonal
    image = drawn(drawing)
    expected = np.zeros((20, 20))
    expected[4:16, 4:16] = 1.0
    expected[7:13, 7:13] = 1.5
    np.testing.assert_allclose(image, expected, atol=1e-9)


def test_a_cortex_is_brighter_than_the_marrow_within() -> None:
    drawing = Drawing()
    drawing.fill(ellipse((10, 10), (8, 8), points=64), (0.8, -0.5), (0.0, 2.0))
    row = drawn(drawing)[10]
    assert row[3] == pytest.approx(0.8, abs=0.02)
    assert row[10] == pytest.approx(0.3, abs=1e-9)


def test_many_outlines_at_once_equal_one_after_the_other() -> None:
    shapes = np.stack((BOX, BOX * 0.5 + 1))
    together, apart = Drawing(), Drawing()
    together.fill(shapes, (0.4, 0.2), (0.0, 1.0))
    for shape in shapes:
        apart.fill(shape, (0.4, 0.2), (0.0, 1.0))
    np.testing.assert_allclose(drawn(together), drawn(apart), atol=1e-12)


def test_depths_may_differ_between_outlines() -> None:
    together, apart = Drawing(), Drawing()
    shapes = np.stack((BOX, BOX * 0.5 + 1))
    together.fill(shapes, (0.4, 0.2), [(0.0, 1.0), (0.0, 2.0)])
    apart.fill(shapes[0], (0.4, 0.2), (0.0, 1.0))
    apart.fill(shapes[1], (0.4, 0.2), (0.0, 2.0))
    np.testing.assert_allclose(drawn(together), drawn(apart), atol=1e-12)


def test_origin_moves_drawing_and_landmarks_alike() -> None:
    plain, shifted = Drawing(), Drawing(origin=(2.0, 3.0))
    for drawing in (plain, shifted):
        drawing.fill(BOX * 0.5, 1.0)
        drawing.mark([(1, 1)])
        drawing.mark((5, 6))
    np.testing.assert_allclose(shifted.landmarks, plain.landmarks + np.array((2, 3)))
    np.testing.assert_allclose(drawn(shifted)[3:, 2:], drawn(plain)[:-3, :-2], atol=1e-12)


def test_an_empty_layer_has_no_edges() -> None:
    points, successor, weight = Drawing().edges("soft")
    assert len(points) == len(successor) == len(weight) == 0


def test_jitter_is_cut_at_two_sigma() -> None:
    moves = jitter(np.random.default_rng(0), np.zeros((5000, 2)), 1.5)
    assert np.abs(moves).max() == pytest.approx(3.0)
    # Standard deviation of a normal deviate cut at two: 1 - 2 * (2 phi(2) - 3 Q(2)) gives 0.9206 for its square.
    assert moves.std() == pytest.approx(1.5 * np.sqrt(0.9206), rel=0.02)
