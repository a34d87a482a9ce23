"""Pose, layers, blur, exposure and collimation, each by its own law."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from medzoo.core.phantoms import ANATOMIES
from medzoo.core.phantoms.physics import (
    Pose,
    Setup,
    aperture,
    attenuation,
    cells,
    collimate,
    enlarge,
    expose,
    shutter,
    texture,
)
from medzoo.core.phantoms.shapes import Drawing, ellipse

PLAIN = Setup(field=(100.0, 100.0), window=(0.02, 0.99))
STILL = dataclasses.replace(PLAIN, rotation=0.0, scale=0.0, shift=0.0, warp=0.0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("seed", range(5))
def test_pose_keeps_neighbours_in_their_order_and_near_each_other(seed: int) -> None:
    # A fold would turn the image over: the determinant of the map must stay positive all over the field.
    pose = Pose(rng(seed), PLAIN, np.array([(50.0, 50.0)]))
    x, y = np.meshgrid(np.linspace(0, 100, 30), np.linspace(0, 100, 30))
    at = np.stack((x.ravel(), y.ravel()), axis=-1)
    step = 1e-2
    across, down = (pose(at + np.array(d)) - pose(at) for d in ((step, 0), (0, step)))
    area = (across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]) * 1e4 / step**2
    assert area.min() > 0.5
    assert area.max() < 1.6


def test_pose_moves_landmarks_back_into_the_frame() -> None:
    wild = dataclasses.replace(PLAIN, shift=0.8)
    corners = np.array([(20.0, 20.0), (80.0, 20.0), (50.0, 85.0)])
    for seed in range(40):
        placed = Pose(rng(seed), wild, corners)(corners)
        assert placed.min() >= Pose.margin - 1e-9
        assert placed.max() <= 1 - Pose.margin + 1e-9


def test_pose_shrinks_a_subject_that_is_larger_than_the_frame() -> None:
    corners = np.array([(-40.0, -40.0), (140.0, 150.0)])
    placed = Pose(rng(), PLAIN, corners)(corners)
    assert placed.min() >= Pose.margin - 1e-9
    assert placed.max() <= 1 - Pose.margin + 1e-9


def test_layers_hold_the_same_amount_at_different_sharpness() -> None:
    drawings = {}
    for layer in ("sharp", "soft", "smooth"):
        drawing = Drawing()
        drawing.fill(ellipse((50, 50), (20, 15), points=64), 1.0, layer=layer)
        drawing.mark((50, 50))
        drawings[layer] = attenuation(drawing, Pose(rng(3), STILL, drawing.landmarks), (128, 128))
    total = {layer: field.sum() for layer, field in drawings.items()}
    assert total["soft"] == pytest.approx(total["sharp"], rel=1e-3)
    assert total["smooth"] == pytest.approx(total["sharp"], rel=1e-3)
    steep = {layer: np.abs(np.diff(field)).max() for layer, field in drawings.items()}
    assert steep["sharp"] > 2 * steep["soft"] > 3 * steep["smooth"]


@pytest.mark.parametrize(("layer", "tolerance"), [("sharp", 0.02), ("soft", 0.05), ("smooth", 0.1)])
@pytest.mark.parametrize("size", [(200, 240), (96, 96)])
def test_a_disc_appears_exactly_at_its_landmark(layer: str, tolerance: float, size: tuple[int, int]) -> None:
    for seed in range(5):
        drawing = Drawing()
        at = rng(seed).uniform(35, 65, 2)
        drawing.fill(ellipse(at, (3, 3), points=64), 1.0, layer=layer)
        drawing.mark(at)
        pose = Pose(rng(seed), PLAIN, drawing.landmarks)
        image = attenuation(drawing, pose, size).astype(np.float64)
        rows, columns = np.mgrid[: size[0], : size[1]]
        centre = np.array([(image * columns).sum(), (image * rows).sum()]) / image.sum()
        landmark = pose(drawing.landmarks)[0] * (size[1], size[0]) - 0.5
        # The rest is the warp within the disc itself.
        assert np.hypot(*(centre - landmark)) < tolerance * size[0] / 96


def test_enlarging_keeps_constants_and_slopes() -> None:
    np.testing.assert_allclose(enlarge(np.full((8, 8), 0.3, dtype=np.float32), (50, 70)), 0.3, rtol=1e-5)
    ramp = np.tile(np.arange(16, dtype=np.float32), (16, 1))
    wide = enlarge(ramp, (64, 64))
    expected = (np.arange(64) + 0.5) / 4 - 0.5
    np.testing.assert_allclose(wide[30, 12:-12], expected[12:-12], atol=0.03)


def test_cells_are_means_also_where_pixels_are_cut() -> None:
    field = rng().random((30, 48), dtype=np.float32)
    np.testing.assert_allclose(cells(field, 6), field.reshape(6, 5, 6, 8).mean(axis=(1, 3)), rtol=1e-5)
    assert cells(field, 7).mean() == pytest.approx(field.mean(), rel=1e-5)


def test_aperture_is_a_binomial_with_repeated_borders() -> None:
    field = rng().random((23, 31), dtype=np.float32)
    kernel = np.outer((1, 2, 1), (1, 2, 1)) / 16
    np.testing.assert_allclose(aperture(field), ndimage.convolve(field, kernel, mode="nearest"), atol=1e-6)


def test_texture_is_the_same_subject_at_every_size() -> None:
    small, large = texture(rng(5), (64, 64), 16), texture(rng(5), (256, 256), 16)
    assert np.abs(cells(large, 64) - small).max() < 0.1
    assert 0.5 < large.std() < 1.2


def blocks(thickness: tuple[float, ...]) -> np.ndarray:
    return np.repeat(np.array(thickness, dtype=np.float32), 128 // len(thickness))[None].repeat(128, axis=0)


def test_more_attenuation_is_brighter() -> None:
    setup = dataclasses.replace(PLAIN, noise=(0.0, 0.0), haze=(0.0, 0.0))
    shown = cells(expose(blocks((0.2, 0.6, 1.2, 2.0)), rng(1), rng(2), setup), 4).mean(axis=0)
    assert np.all(np.diff(shown) > 0.05)


def test_noise_is_stronger_behind_thick_bodies() -> None:
    # In the logarithm of the dose, quantum noise goes as 1 / sqrt(dose).
    setup = dataclasses.replace(PLAIN, noise=(0.02, 0.02), haze=(0.0, 0.0))
    deviation = []
    for seed in range(6):
        pair = [expose(blocks((0.5, 1.0, 1.5, 2.0)), rng(seed), rng(100 + 2 * seed + k), setup) for k in (0, 1)]
        deviation.append((pair[0] - pair[1]).reshape(128, 4, 32).std(axis=(0, 2)))
    middle = np.mean(deviation, axis=0)[1:3]  # the outer blocks lie where the curve is flat
    assert middle[1] > 1.1 * middle[0]


def test_scatter_takes_contrast_away() -> None:
    contrast = []
    for haze in (0.0, 0.4):
        setup = dataclasses.replace(PLAIN, noise=(0.0, 0.0), haze=(haze, haze))
        mu = np.full((128, 128), 2.5, dtype=np.float32)
        mu[:, :60] = 0.1
        mu[60:68, 90:98] += 0.5  # a small dense body in the thick part
        shown = expose(mu, rng(4), rng(0), setup)
        contrast.append(shown[62:66, 92:96].mean() - shown[40:50, 90:98].mean())
    assert contrast[1] < 0.9 * contrast[0]


def test_the_detector_has_twelve_bits_and_the_display_uses_its_range() -> None:
    shown = expose(blocks((0.1, 0.5, 1.5, 3.0)), rng(7), rng(8), PLAIN)
    assert shown.dtype == np.float32
    assert len(np.unique(shown)) <= 4096
    assert shown.min() >= 0
    assert shown.max() <= 1
    assert np.ptp(shown) > 0.5


@pytest.mark.parametrize("anatomy", ANATOMIES)
def test_the_collimator_never_covers_a_landmark(anatomy: str) -> None:
    for seed in range(25):
        generator = rng(seed)
        marks = generator.uniform(0.03, 0.97, (len(ANATOMIES[anatomy].landmarks), 2))
        opening = shutter(generator, marks, (200, 160))
        column, row = (marks * (160, 200)).astype(int).T
        assert opening[row, column].min() == pytest.approx(1.0)
        assert opening.min() >= -1e-6
        assert opening.max() <= 1 + 1e-6


def test_collimation_covers_with_black_or_with_white_and_leaves_the_rest() -> None:
    shown = np.full((20, 20), 0.5, dtype=np.float32)
    opening = np.ones((20, 20), dtype=np.float32)
    opening[:4] = 0
    covers = set()
    for seed in range(30):
        covered = collimate(shown, rng(seed), opening)
        np.testing.assert_array_equal(covered[4:], shown[4:])
        covers.add("black" if covered[0, 0] == 0 else "white" if covered[0, 0] >= 0.85 else "other")
    assert covers == {"black", "white"}
