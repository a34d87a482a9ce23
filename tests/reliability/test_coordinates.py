"""F40: landmarks survive chains of resizes, crops, flips and turns, and millimetres stay millimetres."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medzoo.core import geometry
from medzoo.core.metrics import LandmarkMetrics, radial_errors

CHAINS = 100


def chain(seed: int, largest: int = 3000) -> tuple[tuple[int, int], geometry.Affine, tuple[int, int]]:
    """Return an original size, the affine of 1 to 8 random steps, and the size after them."""
    rng = np.random.default_rng(seed)
    size = original = (int(rng.integers(40, largest)), int(rng.integers(40, largest)))
    steps = [geometry.identity()]
    for _ in range(rng.integers(1, 9)):
        kind = rng.choice(["resize", "fit", "crop", "flip", "turn", "pad"])
        if kind in ("resize", "fit"):
            new = (int(rng.integers(40, largest // 3)), int(rng.integers(40, largest // 3)))
            steps.append((geometry.resize_affine if kind == "resize" else geometry.fit_affine)(size, new))
            size = new
        elif kind == "crop":
            start = tuple(rng.uniform(0, 0.3, 2) * size)
            steps.append(geometry.crop_affine(start))
            size = (int(size[0] - start[0]), int(size[1] - start[1]))
        elif kind == "flip":
            steps.append(geometry.flip_affine(size, int(rng.integers(2))))
        elif kind == "turn":
            centre = ((size[0] - 1) / 2, (size[1] - 1) / 2)
            steps.append(geometry.rotate_affine(rng.uniform(-180, 180), centre, rng.uniform(0.7, 1.4)))
        else:
            affine, square = geometry.pad_square_affine(size)
            steps.append(affine)
            size = (square[0], square[1])
    return original, geometry.compose(*steps), size


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_points_come_back_within_a_thousandth_of_a_pixel(dtype: torch.dtype) -> None:
    worst = 0.0
    for seed in range(CHAINS):
        size, affine, _ = chain(seed)
        points = torch.from_numpy(np.random.default_rng(seed).uniform(-0.5, np.array(size) - 0.5, (19, 2))).to(dtype)
        matrix = torch.from_numpy(affine)
        back = geometry.apply(geometry.invert(matrix), geometry.apply(matrix, points))
        worst = max(worst, float((back - points).abs().max()))
    assert worst <= (1e-9 if dtype == torch.float64 else 1e-3)


def test_a_chain_maps_as_its_steps_do_one_after_the_other() -> None:
    rng = np.random.default_rng(0)
    for _ in range(CHAINS):
        steps = [
            geometry.resize_affine((100, 80), (37, 91)),
            geometry.rotate_affine(rng.uniform(-180, 180), tuple(rng.uniform(0, 50, 2)), rng.uniform(0.5, 2)),
            geometry.flip_affine((37, 91), int(rng.integers(2))),
            geometry.crop_affine(tuple(rng.uniform(-20, 20, 2))),
        ]
        steps = [steps[i] for i in rng.permutation(4)]
        points = rng.uniform(0, 80, (6, 2))
        one_by_one = points
        for step in steps:
            one_by_one = geometry.apply(step, one_by_one)
        np.testing.assert_allclose(geometry.apply(geometry.compose(*steps), points), one_by_one, atol=1e-9)


def test_millimetres_do_not_depend_on_what_the_network_saw() -> None:
    for seed in range(CHAINS):
        rng = np.random.default_rng(seed)
        size, affine, _ = chain(seed)
        spacing = torch.from_numpy(rng.uniform(0.05, 0.5, 2))
        target = torch.from_numpy(rng.uniform(0, np.array(size), (1, 7, 2)))
        error = torch.from_numpy(rng.normal(0, 2, (1, 7, 2)))  # mm
        seen = geometry.apply(torch.from_numpy(affine), (target + error / spacing).float())
        pred = geometry.apply(geometry.invert(torch.from_numpy(affine)), seen)
        visible = torch.ones(1, 7, dtype=torch.bool)
        measured = radial_errors(pred, target.float(), visible, spacing[None].float())
        tolerance = 1.5e-3 * float(spacing.max())  # a thousandth of a pixel along both axes
        torch.testing.assert_close(measured, error.norm(dim=-1), atol=tolerance, rtol=0)
        metric = LandmarkMetrics((2.0,))
        metric.update(pred, target.float(), visible, spacing[None].float())
        assert abs(float(metric.compute()["mre_mm"]) - float(error.norm(dim=-1).mean())) <= tolerance


def test_pixels_follow_the_points_through_a_chain() -> None:
    checked = 0
    for seed in range(300):
        size, affine, new = chain(seed, largest=400)
        scale = np.sqrt(abs(np.linalg.det(affine[:, :-1])))
        if np.linalg.cond(affine[:, :-1]) > 2:
            continue
        at = np.array([size]) * 0.5 + 1.3
        expected = geometry.apply(affine, at)[0]
        sigma = max(4.0, 2.0 / scale)  # wide enough for old and new pixels to resolve it
        margin = 5 * sigma * scale * 1.5
        inside_old = ((at > 5 * sigma) & (at < np.array(size) - 5 * sigma)).all()
        if not inside_old or not ((expected > margin) & (expected < np.array(new) - margin)).all():
            continue
        y, x = np.mgrid[: size[1], : size[0]]
        blob = np.exp(-((x - at[0, 0]) ** 2 + (y - at[0, 1]) ** 2) / (2 * sigma**2)).astype(np.float32)
        drawn = geometry.resample(blob, affine, new)
        y, x = np.mgrid[: new[1], : new[0]]
        found = np.array([(drawn * x).sum(), (drawn * y).sum()]) / drawn.sum()
        np.testing.assert_allclose(found, expected, atol=0.05, err_msg=f"seed {seed}")
        checked += 1
    assert checked >= 20
