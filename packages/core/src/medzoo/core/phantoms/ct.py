"""Procedural CT of the chest in Hounsfield units: lungs with vessels, airways and fissures, healthy or with lesions.

The lesions imitate what disease looks like (ground-glass opacity, crazy paving, consolidation, nodules, reticulation);
they share no code with any generator of training lesions, so that a method is tested on what it was not made for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medzoo.core.phantoms.ct_fields import EXTENT, Floats, Grid, Mask, coordinates, draw_tube, smooth_noise, unit
from medzoo.core.phantoms.ct_healthy import confounded, hilar_vessels, scanned
from medzoo.core.phantoms.ct_lesions import KINDS, add_lesions

__all__ = ["EXTENT", "KINDS", "CtPhantom", "lung_ct"]

_AIR, _FAT, _MUSCLE, _BONE = -1000.0, -100.0, 45.0, 600.0


@dataclass(frozen=True)
class CtPhantom:
    """A volume with exact masks.

    Attributes:
        image: `(D, H, W)` float32 in Hounsfield units; z upwards, y to the back, x to the patient's left.
        lungs: `(D, H, W)` bool, aerated lung and everything inside it, vessels and lesions included.
        lesions: `(D, H, W)` uint8, 0 or 1 + index in `KINDS`.
        spacing: Millimetres per voxel along x, y, z.
    """

    image: Floats
    lungs: Mask
    lesions: NDArray[np.uint8]
    spacing: tuple[float, float, float]


def lung_ct(
    seed: int, size: tuple[int, int, int] = (56, 64, 80), kinds: tuple[str, ...] = (), confounders: bool = True
) -> CtPhantom:
    """Make a chest.

    The same seed gives the same patient with and without lesions, apart from the noise inside lesions, and with and
    without confounders.

    Args:
        seed: Number of the patient.
        size: Voxels along z, y, x; they cover 220 × 250 × 320 mm (110, 125, 160 are 2 mm).
        kinds: Lesions to put in, names of `KINDS`; none for a healthy chest.
        confounders: Draw what is bright and no lesion: dependent opacity, scars, wide vessels at the hilum, motion at
            heart and diaphragm, and scanners that differ in kernel and noise.

    Raises:
        ValueError: A kind is unknown or the volume has fewer than 16 voxels along an axis.
    """
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise ValueError(f"kinds must be of {', '.join(KINDS)}, got {unknown[0]!r}")
    if min(size) < 16:
        raise ValueError(f"size must be at least 16 along each axis, got {size}")
    rng = np.random.default_rng((seed, 1))
    step = tuple(extent / count for extent, count in zip(EXTENT, size, strict=True))
    grid = coordinates(size, step)
    image, lungs, depth, hilum = _body(grid, rng, step)
    vessels = _vessels(grid, lungs, depth, hilum, rng, step)
    image = np.where(lungs, _parenchyma(grid, depth, rng, step), image)
    healthy = np.random.default_rng((seed, 4))
    if confounders:
        vessels = np.maximum(vessels, hilar_vessels(grid, lungs, hilum, healthy, step))
    image = np.where(lungs, image + (40.0 - image) * vessels, image)
    if confounders:
        image = confounded(image, lungs, depth, grid, healthy, step)
    labels = np.zeros(size, np.uint8)
    for number, kind in enumerate(kinds):
        lesion_rng = np.random.default_rng((seed, 2, number, KINDS.index(kind)))
        image, added = add_lesions(kind, image, lungs, depth, grid, lesion_rng, step)
        labels[added] = 1 + KINDS.index(kind)
    image = scanned(image, np.random.default_rng((seed, 3)), confounders)
    spacing = (step[2], step[1], step[0])
    return CtPhantom(np.clip(image, -1024, 3071).astype(np.float32), lungs, labels, spacing)


def _body(
    grid: Grid, rng: np.random.Generator, step: tuple[float, ...]
) -> tuple[Floats, Mask, Floats, list[tuple[float, float, float]]]:
    """Return the chest without lung texture, the lungs, the depth below their surface in mm, and the two hila."""
    z, y, x = grid
    size = (z.size, y.size, x.size)
    wobble = [smooth_noise(size, rng, tuple(25 / s for s in step)) for _ in range(2)]
    width, height = rng.uniform(142, 154), rng.uniform(104, 116)
    surface = np.sqrt((x / width) ** 2 + (y / height) ** 2) + 0.015 * wobble[0]
    image = np.full(size, _AIR, np.float32)
    image[surface < 1] = _FAT
    image[surface < rng.uniform(0.88, 0.93)] = _MUSCLE
    tilt = z * 0.12
    ribs = np.abs(surface - 0.86) < 0.03
    image[ribs & (np.cos((z - 0.35 * y - tilt) * 2 * np.pi / 28) > 0.55)] = _BONE
    spine = ((x / 18) ** 2 + ((y - 0.72 * height) / 18) ** 2) < 1
    image[np.broadcast_to(spine, size)] = 250.0
    lungs = np.zeros(size, bool)
    hila = []
    for side in (-1, 1):
        cx, cy, cz = side * rng.uniform(64, 70), rng.uniform(-4, 6), rng.uniform(-4, 6)
        rx, ry, rz = rng.uniform(54, 61), rng.uniform(82, 92), rng.uniform(98, 108)
        taper = 1 - 0.25 * np.clip((z - cz) / rz, 0, 1)
        shape = ((x - cx) / (rx * taper)) ** 2 + ((y - cy) / (ry * taper)) ** 2 + ((z - cz) / rz) ** 2
        dome = z < -74 + 26 * np.exp(-(((x - cx) / 40) ** 2) - ((y - cy) / 50) ** 2)
        heart = ((x - 22) / 48) ** 2 + ((y + 28) / 40) ** 2 + ((z + 22) / 48) ** 2 < 1
        lungs |= (shape + 0.05 * wobble[1] < 1) & ~dome & ~heart & (surface < 0.82)
        hila.append((cz + rng.uniform(-4, 8), cy + rng.uniform(0, 12), side * 24.0))
    depth = ndimage.distance_transform_edt(lungs, sampling=step).astype(np.float32)
    return image, lungs, depth, hila


def _parenchyma(grid: Grid, depth: Floats, rng: np.random.Generator, step: tuple[float, ...]) -> Floats:
    """Return aerated lung: denser towards the back, cloudy, with fissures."""
    z, y, x = grid
    size = (z.size, y.size, x.size)
    cloud = 18 * smooth_noise(size, rng, tuple(8 / s for s in step))
    base = rng.uniform(-880, -830) + rng.uniform(0.2, 0.5) * y + cloud
    texture = 22 * smooth_noise(size, rng, max(0.8, 1.6 / min(step)))
    sheet = z - 0.6 * y + 6 * smooth_noise(size, rng, tuple(30 / s for s in step)) + rng.uniform(-8, 8)
    fissure = 130 * np.exp(-((sheet / 1.6) ** 2)) * (depth > 2) * (np.abs(x) > 25)
    return np.asarray(base + texture + fissure, np.float32)


def _vessels(
    grid: Grid,
    lungs: Mask,
    depth: Floats,
    hila: list[tuple[float, float, float]],
    rng: np.random.Generator,
    step: tuple[float, ...],
) -> Floats:
    """Return the share of each voxel that is vessel or airway wall, in [0, 1]."""
    share = np.zeros(lungs.shape, np.float32)
    for hilum in hila:
        for _ in range(22):
            _branch(share, grid, lungs, depth, np.array(hilum), rng, step)
    for hilum in hila:
        for _ in range(3):
            _airway(share, grid, np.array(hilum), rng, step)
    return share * lungs


def _branch(
    share: Floats,
    grid: Grid,
    lungs: Mask,
    depth: Floats,
    start: NDArray[np.float64],
    rng: np.random.Generator,
    step: tuple[float, ...],
) -> None:
    """Grow one vessel tree from the hilum outwards; radii shrink and directions turn at each fork."""
    side = np.sign(start[2])
    heading = unit(np.array([rng.normal(), rng.normal(), side * abs(rng.normal(0.9, 0.5))]))
    queue = [(start, heading, rng.uniform(2.8, 4.6))]
    while queue:
        point, heading, radius = queue.pop()
        length = rng.uniform(9, 18)
        end = point + length * heading
        draw_tube(share, grid, point, end, radius, step)
        index = tuple(
            int(np.clip((c + e / 2) / s, 0, n - 1)) for c, e, s, n in zip(end, EXTENT, step, lungs.shape, strict=True)
        )
        if radius < 0.8 or not lungs[index] or depth[index] < 3:
            continue
        for _ in range(2 if rng.random() < 0.75 else 1):
            turned = unit(heading + 0.55 * rng.normal(size=3))
            queue.append((end, turned, radius * rng.uniform(0.72, 0.9)))


def _airway(
    share: Floats, grid: Grid, start: NDArray[np.float64], rng: np.random.Generator, step: tuple[float, ...]
) -> None:
    """Add the wall of a bronchus: a tube of half the density of a vessel with an open lumen."""
    heading = unit(np.array([rng.normal(), rng.normal(), np.sign(start[2]) * 1.4]))
    wall, lumen = np.zeros_like(share), np.zeros_like(share)
    radius = rng.uniform(3.0, 4.2)
    for _ in range(3):
        end = start + rng.uniform(12, 20) * heading
        draw_tube(wall, grid, start, end, radius + 1.6, step)
        draw_tube(lumen, grid, start, end, radius, step)
        start, heading, radius = end, unit(heading + 0.3 * rng.normal(size=3)), radius * 0.75
    np.maximum(share, 0.6 * np.clip(wall - lumen, 0, 1), out=share)
