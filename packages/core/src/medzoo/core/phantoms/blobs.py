"""Drawn images of one ragged structure with its mask, seen by two scanners."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_TEXTURE, _NOISE, _CONTRAST = 0.05, 0.04, 0.25


def blob(
    seed: Sequence[int], pixels: int, contrast: float = 1.0, offset: float = 0.0
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Draw a grey image `(H, W)` in [0, 1] and the mask `(H, W)` of the structure in it.

    The same seed gives the same structure, background and noise whatever the other arguments are.

    Args:
        seed: Integers >= 0.
        pixels: Height and width.
        contrast: Of the structure, beside the usual one.
        offset: Added to all grey levels.
    """
    rng = np.random.default_rng(tuple(seed))
    y, x = np.mgrid[:pixels, :pixels] / (pixels - 1) * 2 - 1
    centre, radius = rng.uniform(-0.4, 0.4, 2), rng.uniform(0.2, 0.45)
    dx, dy = x - centre[0], y - centre[1]
    angle = np.arctan2(dy, dx * rng.uniform(0.7, 1.4))
    waves, phases = np.arange(2, 6), rng.uniform(0, 2 * np.pi, 4)
    size = rng.uniform(0.0, 0.2, 4) / np.sqrt(waves)
    ragged = 1 + (size[:, None, None] * np.cos(waves[:, None, None] * angle + phases[:, None, None])).sum(0)
    distance = np.hypot(dx, dy) - radius * ragged
    mask = distance < 0
    soft = 1 / (1 + np.exp(distance * pixels / 2))
    texture = ndimage.gaussian_filter(rng.normal(size=(pixels, pixels)), pixels / 12, mode="wrap")
    image = 0.4 + _TEXTURE * texture / texture.std() + 0.08 * rng.uniform(-1, 1) * x + offset
    image = image + contrast * _CONTRAST * soft + rng.normal(0, _NOISE, image.shape)
    drawn: NDArray[np.float32] = np.clip(image, 0, 1).astype(np.float32)
    return drawn, np.asarray(mask, dtype=np.bool_)
