"""Lesions of the chest phantom: what disease looks like, apart from any generator of training lesions."""

from __future__ import annotations

import numpy as np

from medzoo.core.phantoms.ct_fields import EXTENT, Floats, Grid, Mask, smooth_noise

KINDS = ("ground-glass", "consolidation", "nodule", "crazy-paving", "reticulation")
"""Lesions, in the order of their labels 1, 2, …"""


def add_lesions(
    kind: str,
    image: Floats,
    lungs: Mask,
    depth: Floats,
    grid: Grid,
    rng: np.random.Generator,
    step: tuple[float, ...],
) -> tuple[Floats, Mask]:
    """Return the image with one to four lesions of a kind, and where they are."""
    added = np.zeros(lungs.shape, bool)
    for _ in range(int(rng.integers(3, 7)) if kind == "nodule" else int(rng.integers(1, 4))):
        core = _outline(kind, lungs & ~added, depth, grid, rng, step)
        if core.max() < 0.5:
            continue
        value, weight = _matter(kind, core, rng, step)
        covered = np.maximum(value, image) if kind in ("ground-glass", "crazy-paving") else value
        image = image + weight * (covered - image)
        added |= (core > 0.5) & lungs
    return image, added


def _outline(
    kind: str, free: Mask, depth: Floats, grid: Grid, rng: np.random.Generator, step: tuple[float, ...]
) -> Floats:
    """Return how much of each voxel a lesion covers, in [0, 1]: soft balls, or one for a nodule, in bent space."""
    # Pneumonia and fibrosis sit below the pleura and at the back, nodules anywhere.
    likely = free * (1.0 if kind == "nodule" else np.exp(-depth / 18) * (1 + np.clip(grid[1] / 80, -0.6, 1)))
    cells = likely.ravel() / likely.sum()
    centre = np.unravel_index(int(rng.choice(cells.size, p=cells)), free.shape)
    middle = [(c + 0.5) * s - e / 2 for c, s, e in zip(centre, step, EXTENT, strict=True)]
    radius = rng.uniform(6, 11) if kind == "nodule" else rng.uniform(14, 26)
    # Space itself is bent first, so that what follows is no sum of balls.
    bend = 0.12 if kind == "nodule" else 0.35
    width = tuple(0.6 * radius / s for s in step)
    z, y, x = (axis + bend * radius * smooth_noise(free.shape, rng, width) for axis in grid)
    field = np.zeros(free.shape, np.float32)
    for ball in range(1 if kind == "nodule" else int(rng.integers(3, 7))):
        at = [m + (rng.normal(0, 0.55 * radius) if ball else 0.0) for m in middle]
        size = radius * (1.0 if not ball else rng.uniform(0.5, 0.9))
        squared = (z - at[0]) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2
        field += np.exp(-squared / (0.6 * size**2))
    ragged = field * (1 + 0.35 * smooth_noise(free.shape, rng, tuple(5 / s for s in step)))
    softness = {"nodule": 0.06, "consolidation": 0.1}.get(kind, 0.18)
    level = np.exp(-1 / 0.6)
    return np.asarray(np.clip((ragged - level) / (2 * softness * level * 3) + 0.5, 0, 1) * free, np.float32)


def _matter(kind: str, core: Floats, rng: np.random.Generator, step: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Return the density of a lesion's matter in HU and the weight that it replaces the lung with."""
    cloud = smooth_noise(core.shape, rng, tuple(6 / s for s in step))
    if kind == "ground-glass":
        return rng.uniform(-620, -420) + 60 * cloud, core
    if kind == "crazy-paving":
        lines = np.exp(-((smooth_noise(core.shape, rng, tuple(4.5 / s for s in step)) / 0.3) ** 2))
        return rng.uniform(-640, -520) + 40 * cloud + 380 * lines, core
    if kind == "reticulation":
        lines = np.exp(-((smooth_noise(core.shape, rng, tuple(5.5 / s for s in step)) / 0.4) ** 2))
        return rng.uniform(-700, -620) + 620 * lines + 30 * cloud, core
    if kind == "nodule":
        return rng.uniform(-60, 80) + 15 * cloud, core
    return rng.uniform(-40, 50) + 35 * cloud, core
