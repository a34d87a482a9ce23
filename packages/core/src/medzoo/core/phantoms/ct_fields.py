"""Smooth noise, tubes and coordinates that everything in the chest phantom is drawn with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Grid = tuple[Floats, Floats, Floats]

EXTENT = (220.0, 250.0, 320.0)
"""Millimetres that a volume covers along z, y, x."""
_COARSE = 2.5  # points of smoothing that noise is drawn with at least; between them it is interpolated


def coordinates(size: tuple[int, int, int], step: tuple[float, ...]) -> Grid:
    """Return z, y, x in mm from the centre of the volume, each broadcastable to it."""
    axes = [((np.arange(n) + 0.5) * s - n * s / 2).astype(np.float32) for n, s in zip(size, step, strict=True)]
    return axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]


def smooth_noise(size: tuple[int, ...], rng: np.random.Generator, sigma: float | tuple[float, ...]) -> Floats:
    """Return smooth noise of mean 0 and standard deviation 1; `sigma` in voxels.

    What is smoothed over many voxels is drawn on every few of them and interpolated.
    """
    widths = np.broadcast_to(sigma, len(size))
    every = max(1, int(widths.min() / _COARSE))
    drawn = [-(-n // every) + 1 for n in size] if every > 1 else size
    field = ndimage.gaussian_filter(rng.standard_normal(drawn, dtype=np.float32), widths / every, mode="wrap")
    if every > 1:
        field = ndimage.zoom(field, every, order=1, mode="nearest", grid_mode=True)[tuple(slice(n) for n in size)]
    return np.asarray(field / max(float(field.std()), 1e-6), np.float32)


def draw_tube(
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
        low = (min(a[axis], b[axis]) - radius - step[axis] + EXTENT[axis] / 2) / step[axis]
        high = (max(a[axis], b[axis]) + radius + step[axis] + EXTENT[axis] / 2) / step[axis]
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


def unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the vector with a length of 1."""
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9))
