from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medzoo.core import geometry

sizes = st.tuples(st.integers(1, 4000), st.integers(1, 4000))
places = st.tuples(st.floats(-5000, 5000), st.floats(-5000, 5000))


@given(sizes, sizes)
def test_resize_keeps_the_edges_and_the_centre_of_the_image(old: tuple[int, int], new: tuple[int, int]) -> None:
    affine = geometry.resize_affine(old, new)
    far = np.array([[-0.5, -0.5], [old[0] - 0.5, old[1] - 0.5], [(old[0] - 1) / 2, (old[1] - 1) / 2]])
    expected = [[-0.5, -0.5], [new[0] - 0.5, new[1] - 0.5], [(new[0] - 1) / 2, (new[1] - 1) / 2]]
    np.testing.assert_allclose(geometry.apply(affine, far), expected, atol=1e-9)


def test_resize_follows_the_pixel_centre_rule_and_not_the_plain_product() -> None:
    affine = geometry.resize_affine((8, 4), (4, 1))
    np.testing.assert_allclose(
        geometry.apply(affine, np.array([[0.0, 0.0], [5.0, 3.0]])), [[-0.25, -0.375], [2.25, 0.375]]
    )


@given(sizes, sizes)
def test_fit_is_isotropic_centred_and_touches_the_tighter_axis(old: tuple[int, int], new: tuple[int, int]) -> None:
    affine = geometry.fit_affine(old, new)
    assert affine[0, 0] == affine[1, 1] > 0
    low, high = geometry.apply(affine, np.array([[-0.5, -0.5], [old[0] - 0.5, old[1] - 0.5]]))
    np.testing.assert_allclose(low + 0.5, new - (high + 0.5), atol=1e-9 * max(old + new))
    assert min(low + 0.5) == pytest.approx(0, abs=1e-6)


def test_pad_square_moves_by_whole_pixels() -> None:
    affine, size = geometry.pad_square_affine((5, 8))
    assert size == (8, 8)
    np.testing.assert_array_equal(affine, [[1, 0, 1], [0, 1, 0]])


def test_flip_and_crop_and_rotation_have_their_textbook_values() -> None:
    point = np.array([[2.0, 1.0]])
    np.testing.assert_array_equal(geometry.apply(geometry.flip_affine((10, 20), 0), point), [[7, 1]])
    np.testing.assert_array_equal(geometry.apply(geometry.flip_affine((10, 20), 1), point), [[2, 18]])
    np.testing.assert_array_equal(geometry.apply(geometry.crop_affine((1, -3)), point), [[1, 4]])
    # A quarter turn clockwise on a screen, where y points down, brings what is right of the centre below it.
    turned = geometry.apply(geometry.rotate_affine(90, (4.5, 4.5)), np.array([[9.0, 4.5], [0.0, 0.0]]))
    np.testing.assert_allclose(turned, [[4.5, 9.0], [9.0, 0.0]], atol=1e-12)
    grown = geometry.apply(geometry.rotate_affine(0, (1, 1), scale=3), np.array([[2.0, 1.0]]))
    np.testing.assert_allclose(grown, [[4, 1]])


def test_compose_applies_from_left_to_right() -> None:
    crop, resize = geometry.crop_affine((10, 0)), geometry.resize_affine((100, 100), (50, 50))
    point = np.array([[30.0, 0.0]])
    both = geometry.apply(geometry.compose(crop, resize), point)
    np.testing.assert_allclose(both, geometry.apply(resize, geometry.apply(crop, point)))
    assert not np.allclose(both, geometry.apply(geometry.compose(resize, crop), point))
    np.testing.assert_array_equal(geometry.compose(crop), crop)
    np.testing.assert_array_equal(geometry.compose(crop, geometry.identity()), crop)


@given(st.floats(-180, 180), places, st.floats(0.1, 10), places)
def test_inverse_undoes_the_map(
    angle: float, centre: tuple[float, float], scale: float, at: tuple[float, float]
) -> None:
    affine = geometry.rotate_affine(angle, centre, scale)
    point = np.array([at])
    np.testing.assert_allclose(geometry.apply(geometry.invert(affine), geometry.apply(affine, point)), point, atol=1e-7)


def test_batches_of_tensors_map_like_single_arrays() -> None:
    arrays = [geometry.rotate_affine(20, (3, 4), 1.5), geometry.resize_affine((30, 20), (7, 9))]
    points = np.random.default_rng(0).random((2, 5, 2)) * 30
    points[0, 0] = np.nan
    affines = torch.from_numpy(np.stack(arrays))
    mapped = geometry.apply(affines, torch.from_numpy(points))
    back = geometry.apply(geometry.invert(affines), mapped)
    chained = geometry.compose(affines, affines)
    for i, array in enumerate(arrays):
        np.testing.assert_allclose(mapped[i], geometry.apply(array, points[i]))
        np.testing.assert_allclose(back[i], points[i], atol=1e-9)
        np.testing.assert_allclose(chained[i], geometry.compose(array, array))
    assert torch.isnan(mapped[0, 0]).all()


def test_float32_points_are_mapped_in_the_precision_of_the_affine() -> None:
    affine = torch.from_numpy(geometry.compose(geometry.crop_affine((1e6, 0)), geometry.crop_affine((-1e6, 0))))
    points = torch.tensor([[0.123456, 7.0]])
    mapped = geometry.apply(affine, points)
    assert mapped.dtype == torch.float32
    torch.testing.assert_close(mapped, points, atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: geometry.resize_affine((0, 4), (2, 2)),
        lambda: geometry.resize_affine((4, 4), (2, 2, 2)),
        lambda: geometry.pad_square_affine((4, -1)),
        lambda: geometry.flip_affine((4, 4), 2),
        lambda: geometry.rotate_affine(3, (1, 2, 3)),
        lambda: geometry.compose(),
        lambda: geometry.invert(np.zeros((2, 3))),
        lambda: geometry.invert(torch.zeros(2, 3)),
    ],
)
def test_misuse_is_a_value_error(call: object) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=r"size|axis|centre|affine"):
        call()
