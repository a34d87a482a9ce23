from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medzoo.core import geometry
from medzoo.core.geometry import resample, resize_affine


def blob(size: tuple[int, int], at: tuple[float, float], sigma: float) -> np.ndarray:
    """Return a Gaussian blob whose centre of mass is `at`."""
    y, x = np.mgrid[: size[1], : size[0]]
    drawn: np.ndarray = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * sigma**2)).astype(np.float32)
    return drawn


def centroid(image: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    found: np.ndarray = np.array([(image * x).sum(), (image * y).sum()]) / image.sum()
    return found


@settings(max_examples=100, deadline=None)
@given(
    angle=st.one_of(st.just(0.0), st.floats(-180, 180)),
    zoom=st.floats(0.3, 1.3),
    squeeze=st.floats(0.7, 1.4),
    flip=st.booleans(),
    shift=st.tuples(st.floats(-4, 4), st.floats(-4, 4)),
)
def test_content_moves_as_the_affine_says(
    angle: float, zoom: float, squeeze: float, flip: bool, shift: tuple[float, float]
) -> None:
    old, new, at = (121, 97), (150, 140), (63.37, 41.81)
    affine = geometry.compose(
        geometry.flip_affine(old, 0) if flip else geometry.identity(),
        geometry.rotate_affine(angle, ((old[0] - 1) / 2, (old[1] - 1) / 2), zoom),
        np.array([[squeeze, 0, shift[0]], [0, 1.0, shift[1]]]),
        geometry.crop_affine(((old[0] - new[0]) / 2, (old[1] - new[1]) / 2)),
    )
    drawn = resample(blob(old, at, 4.0), affine, new)
    expected = geometry.apply(affine, np.array([at]))[0]
    np.testing.assert_allclose(centroid(drawn), expected, atol=0.05)


def test_plain_resize_equals_the_antialiased_resize_of_torch_and_so_does_the_general_path() -> None:
    image = torch.rand(2, 3, 60, 84, generator=torch.Generator().manual_seed(0))
    affine = geometry.resize_affine((84, 60), (31, 47))
    expected = torch.nn.functional.interpolate(image, size=(47, 31), mode="bilinear", antialias=True)
    torch.testing.assert_close(resample(image, affine, (31, 47)), expected)
    nudged = affine + np.array([[0, 0, 1e-7], [0, 0, 0]])  # past the shortcut
    torch.testing.assert_close(resample(image, nudged, (31, 47)), expected, atol=1e-4, rtol=0)


def test_growing_equals_bilinear_interpolation() -> None:
    image = torch.rand(1, 1, 9, 7, generator=torch.Generator().manual_seed(0))
    affine = geometry.resize_affine((7, 9), (20, 31)) + np.array([[0, 0, 1e-7], [0, 0, 0]])
    expected = torch.nn.functional.interpolate(image, size=(31, 20), mode="bilinear", align_corners=False)
    torch.testing.assert_close(resample(image, affine, (20, 31)), expected, atol=1e-5, rtol=0)


def test_crop_flip_and_quarter_turn_are_exact() -> None:
    image = np.random.default_rng(0).random((6, 9)).astype(np.float32)
    np.testing.assert_array_equal(resample(image, geometry.crop_affine((2, 1)), (4, 3)), image[1:4, 2:6])
    np.testing.assert_array_equal(resample(image, geometry.flip_affine((9, 6), 0), (9, 6)), image[:, ::-1])
    np.testing.assert_array_equal(resample(image, geometry.flip_affine((9, 6), 1), (9, 6)), image[::-1])
    clockwise = geometry.compose(geometry.rotate_affine(90, (0, 0)), geometry.crop_affine((-5, 0)))
    np.testing.assert_allclose(resample(image, clockwise, (6, 9)), np.rot90(image, -1), atol=1e-5)


@pytest.mark.parametrize("angle", [0.0, 30.0])
def test_stripes_too_fine_for_the_new_pixels_become_their_mean(angle: float) -> None:
    stripes = np.tile(np.array([0, 1], np.float32), (240, 120))
    affine = geometry.compose(
        geometry.rotate_affine(angle, (119.5, 119.5)), geometry.resize_affine((240, 240), (60, 60))
    )
    drawn = resample(stripes, affine, (60, 60))
    assert np.abs(drawn[20:40, 20:40] - 0.5).max() < 0.02


def test_stripes_squeezed_across_a_turn_do_not_alias() -> None:
    stripes = np.tile(np.array([0, 1], np.float32), (240, 120))
    turned = geometry.rotate_affine(45, (119.5, 119.5))
    squeezed = geometry.compose(turned, geometry.resize_affine((240, 240), (40, 240)))
    drawn = resample(stripes, squeezed, (40, 240))
    assert np.abs(drawn[100:140, 16:24] - 0.5).max() < 0.05


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("angle", [0.0, 17.0])
def test_outside_is_fill_and_the_edge_has_no_dark_rim(angle: float) -> None:
    ones = np.ones((40, 40), np.float32)
    affine = geometry.compose(geometry.rotate_affine(angle, (19.5, 19.5), 0.5), geometry.crop_affine((-0.3, 0.0)))
    drawn = resample(ones, affine, (40, 40), fill=-3.0)
    assert set(np.unique(np.round(drawn, 4))) == {-3.0, 1.0}
    assert abs((drawn == -3).mean() - 0.75) < 0.02


def test_labels_keep_their_type_and_invent_no_values() -> None:
    labels = np.random.default_rng(0).integers(0, 5, (30, 20)) * 1000
    for affine in (geometry.resize_affine((20, 30), (33, 17)), geometry.rotate_affine(33, (10, 15), 0.7)):
        drawn = resample(labels, affine, (33, 17), mode="nearest", fill=-1)
        assert drawn.dtype == labels.dtype
        assert set(np.unique(drawn)) <= {-1, 0, 1000, 2000, 3000, 4000}
    drawn = resample(labels > 1000, geometry.rotate_affine(10, (10, 15)), (20, 30), mode="nearest")
    assert drawn.dtype == bool


def test_nearest_takes_the_pixel_whose_area_holds_the_centre() -> None:
    row = np.arange(6)[None]
    np.testing.assert_array_equal(
        resample(row, geometry.resize_affine((6, 1), (3, 1)), (3, 1), mode="nearest"), [[1, 3, 5]]
    )
    np.testing.assert_array_equal(
        resample(row, geometry.resize_affine((6, 1), (12, 1)), (12, 1), mode="nearest"), [np.repeat(np.arange(6), 2)]
    )


def test_volumes_are_resampled_along_three_axes() -> None:
    z, y, x = np.mgrid[:20, :24, :28]
    volume = np.exp(-((x - 12.3) ** 2 + (y - 10.7) ** 2 + (z - 9.1) ** 2) / 18.0).astype(np.float32)
    straight = geometry.resize_affine((28, 24, 20), (14, 18, 20))
    turn = np.eye(3, 4)
    turn[:2] = np.insert(geometry.rotate_affine(25, (14, 12)), 2, 0, axis=1)
    for affine, size in ((straight, (14, 18, 20)), (turn, (28, 24, 20))):
        drawn = resample(volume, affine, size)
        assert drawn.shape == size[::-1]
        grid = np.mgrid[: size[2], : size[1], : size[0]]
        found = np.array([(drawn * axis).sum() for axis in grid[::-1]]) / drawn.sum()
        np.testing.assert_allclose(found, geometry.apply(affine, np.array([[12.3, 10.7, 9.1]]))[0], atol=0.05)


def test_read_only_and_mirrored_arrays_and_integers_are_taken() -> None:
    image = np.arange(48, dtype=np.uint16).reshape(6, 8)[::-1]
    image.flags.writeable = False
    half = resample(image, geometry.resize_affine((8, 6), (4, 3)), (4, 3))
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, resample(image.astype(np.float32), geometry.resize_affine((8, 6), (4, 3)), (4, 3)))


def test_tensor_affines_of_the_sample_contract_are_taken() -> None:
    image = torch.rand(1, 6, 8, generator=torch.Generator().manual_seed(0))
    affine = geometry.resize_affine((8, 6), (4, 3))
    torch.testing.assert_close(resample(image, torch.from_numpy(affine), (4, 3)), resample(image, affine, (4, 3)))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((np.zeros((4, 4)), np.eye(2, 3), (0, 4)), "size_out"),
        ((np.zeros((4, 4)), np.eye(3, 4), (4, 4)), "affine must be"),
        ((np.zeros(4), np.eye(2, 3), (4, 4)), "image must have"),
        ((np.zeros((4, 4)), np.zeros((2, 3)), (4, 4)), "invertible"),
        ((np.zeros((4, 4)), np.full((2, 3), np.nan), (4, 4)), "finite"),
        ((np.zeros((4, 4)), np.eye(2, 3), (4, 4), "cubic"), "mode"),
    ],
)
def test_misuse_is_a_value_error(arguments: tuple[object, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        resample(*arguments)  # type: ignore[type-var, arg-type]


def test_a_radiograph_of_768_pixels_shrinks_to_256_in_a_few_milliseconds() -> None:
    image = np.random.default_rng(0).random((768, 768)).astype(np.float32)
    turned = geometry.compose(geometry.rotate_affine(9, (383.5, 383.5)), geometry.resize_affine((768, 768), (256, 256)))
    for affine, budget in ((geometry.resize_affine((768, 768), (256, 256)), 0.03), (turned, 0.06)):
        times = []
        for _ in range(5):
            start = time.perf_counter()
            resample(image, affine, (256, 256))
            times.append(time.perf_counter() - start)
        assert min(times) < budget  # 1 and 3 ms on an idle core


@pytest.mark.parametrize(("size", "to"), [((4, 1), (1, 8)), ((2, 2), (1, 3)), ((1, 5), (7, 1)), ((9, 1), (1, 4))])
def test_an_image_of_a_single_column_is_resized_as_one_of_equal_columns(
    size: tuple[int, int], to: tuple[int, int]
) -> None:
    """torch's own resize repeats the first row of such an image."""
    image = torch.rand(1, *size, generator=torch.Generator().manual_seed(0))
    found = resample(image, resize_affine(size[::-1], to), to)
    wide = image.mean(2, keepdim=True).expand(1, size[0], 6).contiguous()
    expected = resample(wide, resize_affine((6, size[0]), (6, to[1])), (6, to[1]))
    if to[0] == 1:
        torch.testing.assert_close(found[..., 0], expected[..., 0], rtol=0, atol=1e-6)
    else:
        tall = image.mean(1, keepdim=True).expand(1, 6, size[1]).contiguous()
        expected = resample(tall, resize_affine((size[1], 6), (to[0], 6)), (to[0], 6))
        torch.testing.assert_close(found[:, 0], expected[:, 0], rtol=0, atol=1e-6)
