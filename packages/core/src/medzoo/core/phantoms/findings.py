"""Chest radiographs with findings that change no mean grey level: what a classifier must look for."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medzoo.core.phantoms.radiographs import radiograph

FINDINGS = ("nodules", "mesh")
"""Round opacities, each with a darker rim; a mesh of fine lines all over the lungs."""
_RADIUS, _PERIOD = (10.0, 15.0), 30.0  # mm
_NODULES, _CONTRAST, _LINES = (4, 7), (0.28, 0.45), 0.035


def chest_with(findings: Collection[str], seed: tuple[int, ...], size: tuple[int, int]) -> NDArray[np.float32]:
    """Draw a chest `(H, W)` in [0, 1].

    The same seed gives the same subject and exposure with and without findings. What a finding adds sums to zero, so
    that the mean grey level of an image says nothing of it, but for what is clipped at white.

    Args:
        findings: Names of `FINDINGS`.
        seed: Integers >= 0.
        size: Height and width in pixels.
    """
    chest = radiograph("chest", seed, size)
    image, (sx, sy) = chest.image.astype(np.float64), chest.spacing
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float64)
    lungs = chest.landmarks.reshape(2, 3, 2)  # right and left: apex, costophrenic and cardiophrenic angle
    for finding in sorted(findings):
        rng = np.random.default_rng((*seed, 1 + FINDINGS.index(finding)))
        if finding == "nodules":
            for _ in range(int(rng.integers(*_NODULES, endpoint=True))):
                centre, radius = _inside(rng, lungs), rng.uniform(*_RADIUS)
                square = ((x - centre[0]) * sx) ** 2 + ((y - centre[1]) * sy) ** 2
                image += rng.uniform(*_CONTRAST) * _balanced(np.exp(-square / radius**2), square / radius**2)
        else:
            noise = rng.normal(size=size)
            sigma = np.array([_PERIOD / sy, _PERIOD / sx]) / (2 * np.pi)
            lines = ndimage.gaussian_filter(noise, 0.7 * sigma) - ndimage.gaussian_filter(noise, 1.4 * sigma)
            mesh = lines / lines.std() * ndimage.gaussian_filter(_field(lungs, x, y).astype(float), 2 * sigma)
            image += _LINES * (mesh - mesh.mean())
    return np.clip(image, 0, 1).astype(np.float32)


def _inside(rng: np.random.Generator, lungs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Draw a point within the triangle of a lung's three corners, away from them."""
    shares = 0.2 / 3 + 0.8 * rng.dirichlet((2.0, 2.0, 2.0))
    return np.asarray(shares / shares.sum() @ lungs[int(rng.integers(2))])


def _balanced(bump: NDArray[np.float64], square: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a bump minus a wider one of equal sum."""
    rim = np.exp(-square / 4)
    return np.asarray(bump - rim * (bump.sum() / rim.sum()))


def _field(lungs: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which pixels lie in the box about either lung's corners."""
    inside = np.zeros(x.shape, dtype=bool)
    for low, high in zip(lungs.min(axis=1), lungs.max(axis=1), strict=True):
        inside |= (x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1])
    return inside
