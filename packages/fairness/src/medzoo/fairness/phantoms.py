"""Drawn skin lesions: kind of lesion, skin tone, ink and structures are chosen, all else depends on a seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]
_LIGHT, _DARK = np.array([0.88, 0.72, 0.64]), np.array([0.42, 0.29, 0.23])
"""Colours of the lightest and the darkest skin."""
_PIGMENT = np.array([0.34, 0.42, 0.42])
"""What a lesion takes from the skin's colour, as a part of it."""
_INK = np.array([0.10, 0.20, 0.75])
STRUCTURES = 12
"""Structures that a lesion may have, each a fine pattern of its own direction and width."""


def lesion(
    seed: Sequence[int],
    pixels: int,
    irregular: float = 0.0,
    tone: float = 0.0,
    ink: bool = False,
    structures: Sequence[int] = (),
    strength: float = 1.0,
) -> NDArray[np.float32]:
    """Draw a lesion `(3, H, W)` in [0, 1].

    The same seed gives the same lesion, light and noise whatever the other arguments are.

    Args:
        seed: Integers >= 0.
        pixels: Height and width.
        irregular: How ragged the border is and how mottled the pigment, 0 to 1.
        tone: Skin from 0 (light) to 1 (dark). A darker skin scales and shifts all grey levels and lowers the contrast.
        ink: Draw a surgeon's pen mark in a corner.
        structures: Numbers below `STRUCTURES`.
        strength: Contrast of the structures.
    """
    rng = np.random.default_rng(tuple(seed))
    y, x = np.mgrid[:pixels, :pixels] / (pixels - 1) * 2 - 1
    centre, radius = rng.uniform(-0.12, 0.12, 2), rng.uniform(0.5, 0.65)
    dx, dy = x - centre[0], y - centre[1]
    angle, distance = np.arctan2(dy, dx), np.hypot(dx, dy)
    waves, phases = np.arange(2, 9), rng.uniform(0, 2 * np.pi, 7)
    size = rng.uniform(0.5, 1.0, 7) / np.sqrt(waves)
    cosines = np.cos(waves[:, None, None] * angle + phases[:, None, None])
    ragged = (0.05 + 0.20 * irregular) * (size[:, None, None] * cosines).sum(0)
    mask = 1 / (1 + np.exp((distance - radius * (1 + 0.5 * ragged)) * pixels / 3))
    mottled = _smooth(rng, pixels, pixels / 16)
    depth = mask * (1 + 0.5 * irregular * mottled)
    for number in structures:
        depth = depth + 0.45 * strength * mask * pattern(rng, pixels, number)
    skin = _LIGHT + tone * (_DARK - _LIGHT)
    contrast = 1 - 0.45 * tone
    image = skin[:, None, None] * (1 - contrast * _PIGMENT[:, None, None] * depth)
    image = image * (1 + 0.04 * _smooth(rng, pixels, pixels / 4)) * rng.uniform(0.92, 1.08)
    image += rng.normal(0, 0.01, image.shape)
    corner = rng.integers(0, 2, 2) * 2 - 1
    if ink:
        near = np.exp(-(((x - 0.85 * corner[0]) ** 2 + (y - 0.85 * corner[1]) ** 2) / 0.03))
        image += near * (_INK[:, None, None] - image)
    drawn: NDArray[np.float32] = np.clip(image, 0, 1).astype(np.float32)
    return drawn


def pattern(rng: np.random.Generator, pixels: int, number: int) -> Floats:
    """Return the pattern of a structure `(H, W)` with a random phase: six directions, wide and narrow waves."""
    theta, period = np.pi * (number % 6) / 6, pixels / (5.5 if number < 6 else 9.0)
    y, x = np.mgrid[:pixels, :pixels]
    wave = np.cos(2 * np.pi * (x * np.cos(theta) + y * np.sin(theta)) / period + rng.uniform(0, 2 * np.pi))
    return np.asarray(wave, dtype=np.float64)


def _smooth(rng: np.random.Generator, pixels: int, sigma: float) -> Floats:
    field = ndimage.gaussian_filter(rng.normal(size=(pixels, pixels)), sigma, mode="wrap")
    return np.asarray(field / field.std(), dtype=np.float64)
