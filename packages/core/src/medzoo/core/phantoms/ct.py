"""Procedural CT of the chest in Hounsfield units: lungs with vessels, airways and fissures, healthy or with lesions.

The lesions imitate what disease looks like (ground-glass opacity, crazy paving, consolidation, nodules, reticulation);
they share no code with any generator of training lesions, so that a method is tested on what it was not made for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Grid = tuple[Floats, Floats, Floats]

KINDS = ("ground-glass", "consolidation", "nodule", "crazy-paving", "reticulation")
"""Lesions, in the order of their labels 1, 2, …"""

_EXTENT = (220.0, 250.0, 320.0)  # mm that the volume covers along z, y, x
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


def lung_ct(seed: int, size: tuple[int, int, int] = (56, 64, 80), kinds: tuple[str, ...] = ()) -> CtPhantom:
    """Make a chest.

    The same seed gives the same patient with and without lesions, apart from the noise inside lesions.

    Args:
        seed: Number of the patient.
        size: Voxels along z, y, x; they cover 220 × 250 × 320 mm.
        kinds: Lesions to put in, names of `KINDS`; none for a healthy chest.

    Raises:
        ValueError: A kind is unknown or the volume has fewer than 16 voxels along an axis.
    """
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise ValueError(f"kinds must be of {', '.join(KINDS)}, got {unknown[0]!r}")
    if min(size) < 16:
        raise ValueError(f"size must be at least 16 along each axis, got {size}")
    rng = np.random.default_rng((seed, 1))
    step = tuple(extent / count for extent, count in zip(_EXTENT, size, strict=True))
    grid = _grid(size, step)
    image, lungs, depth, hilum = _body(grid, rng, step)
    vessels = _vessels(grid, lungs, depth, hilum, rng, step)
    image = np.where(lungs, _parenchyma(grid, depth, rng, step), image)
    image = np.where(lungs, image + (40.0 - image) * vessels, image)
    labels = np.zeros(size, np.uint8)
    for number, kind in enumerate(kinds):
        lesion_rng = np.random.default_rng((seed, 2, number, KINDS.index(kind)))
        image, added = _add_lesions(kind, image, lungs, depth, vessels, grid, lesion_rng, step)
        labels[added] = 1 + KINDS.index(kind)
    noise = np.random.default_rng((seed, 3))
    image = ndimage.gaussian_filter(image, 0.45) + _noise(size, noise, 0.5) * noise.uniform(12, 28)
    spacing = (step[2], step[1], step[0])
    return CtPhantom(np.clip(image, -1024, 3071).astype(np.float32), lungs, labels, spacing)


def _grid(size: tuple[int, int, int], step: tuple[float, ...]) -> Grid:
    """Return z, y, x in mm from the centre of the volume, each broadcastable to it."""
    axes = [((np.arange(n) + 0.5) * s - n * s / 2).astype(np.float32) for n, s in zip(size, step, strict=True)]
    return axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]


def _noise(size: tuple[int, ...], rng: np.random.Generator, sigma: float | tuple[float, ...]) -> Floats:
    """Return smooth noise of mean 0 and standard deviation 1; `sigma` in voxels."""
    field = ndimage.gaussian_filter(rng.standard_normal(size, dtype=np.float32), sigma, mode="wrap")
    return np.asarray(field / max(float(field.std()), 1e-6), np.float32)


def _body(
    grid: Grid, rng: np.random.Generator, step: tuple[float, ...]
) -> tuple[Floats, Mask, Floats, list[tuple[float, float, float]]]:
    """Return the chest without lung texture, the lungs, the depth below their surface in mm, and the two hila."""
    z, y, x = grid
    size = (z.size, y.size, x.size)
    wobble = [_noise(size, rng, tuple(25 / s for s in step)) for _ in range(2)]
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
    base = rng.uniform(-880, -830) + rng.uniform(0.2, 0.5) * y + 18 * _noise(size, rng, tuple(8 / s for s in step))
    texture = 22 * _noise(size, rng, 0.8)
    sheet = z - 0.6 * y + 6 * _noise(size, rng, tuple(30 / s for s in step)) + rng.uniform(-8, 8)
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
    heading = _unit(np.array([rng.normal(), rng.normal(), side * abs(rng.normal(0.9, 0.5))]))
    queue = [(start, heading, rng.uniform(2.8, 4.6))]
    while queue:
        point, heading, radius = queue.pop()
        length = rng.uniform(9, 18)
        end = point + length * heading
        _tube(share, grid, point, end, radius, step)
        index = tuple(
            int(np.clip((c + e / 2) / s, 0, n - 1)) for c, e, s, n in zip(end, _EXTENT, step, lungs.shape, strict=True)
        )
        if radius < 0.8 or not lungs[index] or depth[index] < 3:
            continue
        for _ in range(2 if rng.random() < 0.75 else 1):
            turned = _unit(heading + 0.55 * rng.normal(size=3))
            queue.append((end, turned, radius * rng.uniform(0.72, 0.9)))


def _airway(
    share: Floats, grid: Grid, start: NDArray[np.float64], rng: np.random.Generator, step: tuple[float, ...]
) -> None:
    """Add the wall of a bronchus: a tube of half the density of a vessel with an open lumen."""
    heading = _unit(np.array([rng.normal(), rng.normal(), np.sign(start[2]) * 1.4]))
    wall, lumen = np.zeros_like(share), np.zeros_like(share)
    radius = rng.uniform(3.0, 4.2)
    for _ in range(3):
        end = start + rng.uniform(12, 20) * heading
        _tube(wall, grid, start, end, radius + 1.6, step)
        _tube(lumen, grid, start, end, radius, step)
        start, heading, radius = end, _unit(heading + 0.3 * rng.normal(size=3)), radius * 0.75
    np.maximum(share, 0.6 * np.clip(wall - lumen, 0, 1), out=share)


def _tube(
    share: Floats,
    grid: Grid,
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    radius: float,
    step: tuple[float, ...],
) -> None:
    """Draw a segment with the partial volume of its border into `share`, in the box around it only."""
    box = []
    for axis in range(3):
        low = (min(a[axis], b[axis]) - radius - step[axis] + _EXTENT[axis] / 2) / step[axis]
        high = (max(a[axis], b[axis]) + radius + step[axis] + _EXTENT[axis] / 2) / step[axis]
        box.append(slice(max(0, int(low)), max(0, int(high) + 1)))
    part = share[tuple(box)]
    if not part.size:
        return
    local = [coords[tuple(box[i] if n > 1 else slice(None) for i, n in enumerate(coords.shape))] for coords in grid]
    along = b - a
    length = float(along @ along)
    t = np.clip(sum((c - s) * d for c, s, d in zip(local, a, along, strict=True)) / length, 0, 1)
    distance = np.sqrt(sum((c - s - t * d) ** 2 for c, s, d in zip(local, a, along, strict=True)))
    width = float(np.mean(step))
    # A tube thinner than a voxel fills only part of it.
    peak = min(1.0, (2 * radius / width) ** 1.5)
    np.maximum(part, peak * np.clip((radius - distance) / width + 0.5, 0, 1), out=part)


def _add_lesions(
    kind: str,
    image: Floats,
    lungs: Mask,
    depth: Floats,
    vessels: Floats,
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
    """Return how much of each voxel a lesion covers, in [0, 1]: an irregular sum of soft balls, or one for a nodule."""
    z, y, x = grid
    # Pneumonia and fibrosis sit below the pleura and at the back, nodules anywhere.
    likely = free * (1.0 if kind == "nodule" else np.exp(-depth / 18) * (1 + np.clip(y / 80, -0.6, 1)))
    cells = likely.ravel() / likely.sum()
    centre = np.unravel_index(int(rng.choice(cells.size, p=cells)), free.shape)
    middle = [(c + 0.5) * s - e / 2 for c, s, e in zip(centre, step, _EXTENT, strict=True)]
    radius = rng.uniform(6, 11) if kind == "nodule" else rng.uniform(14, 26)
    field = np.zeros(free.shape, np.float32)
    for ball in range(1 if kind == "nodule" else int(rng.integers(3, 7))):
        at = [m + (rng.normal(0, 0.55 * radius) if ball else 0.0) for m in middle]
        size = radius * (1.0 if not ball else rng.uniform(0.5, 0.9))
        squared = (z - at[0]) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2
        field += np.exp(-squared / (0.6 * size**2))
    ragged = field * (1 + 0.35 * _noise(free.shape, rng, tuple(5 / s for s in step)))
    softness = {"nodule": 0.06, "consolidation": 0.1}.get(kind, 0.18)
    level = np.exp(-1 / 0.6)
    return np.asarray(np.clip((ragged - level) / (2 * softness * level * 3) + 0.5, 0, 1) * free, np.float32)


def _matter(kind: str, core: Floats, rng: np.random.Generator, step: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Return the density of a lesion's matter in HU and the weight that it replaces the lung with."""
    cloud = _noise(core.shape, rng, tuple(6 / s for s in step))
    if kind == "ground-glass":
        return rng.uniform(-620, -420) + 60 * cloud, core
    if kind == "crazy-paving":
        lines = np.exp(-((_noise(core.shape, rng, tuple(4.5 / s for s in step)) / 0.3) ** 2))
        return rng.uniform(-640, -520) + 40 * cloud + 380 * lines, core
    if kind == "reticulation":
        lines = np.exp(-((_noise(core.shape, rng, tuple(5.5 / s for s in step)) / 0.4) ** 2))
        return rng.uniform(-700, -620) + 620 * lines + 30 * cloud, core
    if kind == "nodule":
        return rng.uniform(-60, 80) + 15 * cloud, core
    return rng.uniform(-40, 50) + 35 * cloud, core


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9))
