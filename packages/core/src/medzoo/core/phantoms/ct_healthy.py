"""What is bright in a healthy chest and as large as a lesion, and how scanners differ: all of it is normal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from medzoo.core.phantoms.ct_fields import Floats, Grid, Mask, draw_tube, smooth_noise, unit

_HEART = (-22.0, -28.0, 22.0)  # mm: z, y, x of its middle
_HEART_RADII = (48.0, 40.0, 48.0)


def hilar_vessels(
    grid: Grid, lungs: Mask, hila: Sequence[tuple[float, float, float]], rng: np.random.Generator, step: Sequence[float]
) -> Floats:
    """Return the share of each voxel that wide vessels at the hila fill: two to four stems of 5 to 8 mm in radius."""
    share = np.zeros(lungs.shape, np.float32)
    for hilum in hila:
        for _ in range(int(rng.integers(2, 5))):
            start, radius = np.array(hilum), rng.uniform(5, 8)
            heading = unit(np.array([rng.normal(0, 0.8), rng.normal(0, 0.5), np.sign(start[2])]))
            for _ in range(3):
                end = start + rng.uniform(9, 15) * heading
                draw_tube(share, grid, start, end, radius, tuple(step))
                start, heading, radius = end, unit(heading + 0.35 * rng.normal(size=3)), radius * 0.72
    return share * lungs


def confounded(
    image: Floats, lungs: Mask, depth: Floats, grid: Grid, rng: np.random.Generator, step: tuple[float, ...]
) -> Floats:
    """Return a healthy chest with dependent opacity, scars and the motion of heart and diaphragm."""
    if rng.random() < 0.6:
        image = _dependent(image, lungs, depth, grid, rng, step)
    for _ in range(int(rng.integers(0, 4))):
        image = _scar(image, lungs, depth, grid, rng, step)
    return _moved(image, lungs, depth, grid, rng, step)


def scanned(image: Floats, rng: np.random.Generator, varied: bool = True) -> Floats:
    """Return the volume as a scanner shows it: its kernel, then noise as coarse or fine as the kernel leaves it.

    Args:
        image: `(D, H, W)` HU.
        rng: Draws scanner and noise.
        varied: Draw the kernel, soft to sharp, and the noise with it; else one soft kernel with a noise of 12 to 28 HU.
    """
    if not varied:
        soft = np.asarray(ndimage.gaussian_filter(image, 0.45), np.float32)
        return soft + smooth_noise(image.shape, rng, 0.5) * np.float32(rng.uniform(12, 28))
    sharp = rng.uniform(0, 1)
    shown = np.asarray(ndimage.gaussian_filter(image, 0.55 - 0.25 * sharp), np.float32)
    if sharp > 0.6:  # bone and lung kernels overshoot at borders
        shown = shown + np.float32(rng.uniform(0.2, 0.6)) * (shown - ndimage.gaussian_filter(shown, 1.0))
    level = np.float32(rng.uniform(8, 18) + sharp * rng.uniform(8, 30))
    return np.asarray(shown + level * smooth_noise(image.shape, rng, 0.8 - 0.45 * sharp), np.float32)


def _dependent(
    image: Floats, lungs: Mask, depth: Floats, grid: Grid, rng: np.random.Generator, step: tuple[float, ...]
) -> Floats:
    """Add the opacity of a lung that lies on its back: a crescent below the hind pleura, thicker at the base."""
    z, y, x = grid
    thick = rng.uniform(4, 11) * (1 + 0.4 * smooth_noise(lungs.shape, rng, tuple(14 / s for s in step)))
    thick = thick * np.clip(0.7 - z / 90, 0.1, 1.3) * np.clip((y - 20) / 35, 0, 1)
    thick = thick * np.where(x < 0, rng.uniform(0.3, 1), rng.uniform(0.3, 1))
    weight = lungs * np.clip((thick - depth) / 4 + 0.5, 0, 1) * (thick > 1)
    value = rng.uniform(-620, -330) + 45 * smooth_noise(lungs.shape, rng, tuple(7 / s for s in step))
    return np.asarray(image + weight * (np.maximum(value, image) - image), np.float32)


def _scar(
    image: Floats, lungs: Mask, depth: Floats, grid: Grid, rng: np.random.Generator, step: tuple[float, ...]
) -> Floats:
    """Add a scar or a plate of atelectasis: a bent disc of 1.5 to 4 mm, from the pleura inwards."""
    near = lungs & (depth < max(12.0, 1.5 * max(step)))
    place = np.unravel_index(int(rng.choice(np.flatnonzero(near))), lungs.shape)
    middle = [float(axis.ravel()[i]) for axis, i in zip(grid, place, strict=True)]
    normal, radius, thick = unit(rng.normal(size=3)), rng.uniform(10, 26), rng.uniform(1.5, 4)
    away = [axis - m for axis, m in zip(grid, middle, strict=True)]
    height = sum(a * n for a, n in zip(away, normal, strict=True))
    across = np.sqrt(np.maximum(sum(a**2 for a in away) - height**2, 0))
    height = height + 2.5 * smooth_noise(lungs.shape, rng, tuple(12 / s for s in step))
    width = float(np.mean(step))
    weight = np.clip((thick / 2 - np.abs(height)) / width + 0.5, 0, 1) * np.clip((radius - across) / 4 + 0.5, 0, 1)
    weight = weight * lungs * min(1.0, thick / width)
    return np.asarray(image + weight * (np.maximum(rng.uniform(-150, 40), image) - image), np.float32)


def _moved(
    image: Floats, lungs: Mask, depth: Floats, grid: Grid, rng: np.random.Generator, step: tuple[float, ...]
) -> Floats:
    """Mix what lies near the heart and above the diaphragm with its displaced copy, as pulse and breath do."""
    squared = [((axis - m) / r) ** 2 for axis, m, r in zip(grid, _HEART, _HEART_RADII, strict=True)]
    heart = np.clip(1.6 - np.sqrt(sum(squared)), 0, 0.5)
    base = np.clip((-50 - grid[0]) / 30, 0, 0.5)
    for weight, axis, reach in ((heart, 2, 4.0), (base, 0, 5.0)):
        amount = rng.uniform(0, reach) / step[axis]
        if rng.random() < 0.6:
            shift = [amount if other == axis else 0.0 for other in range(3)]
            copy = ndimage.shift(image, shift, order=1, mode="nearest")
            image = np.where(lungs, image + weight * (copy - image), image)
    return np.asarray(image, np.float32)
