"""Affine maps between the pixels of an image and those of what a network sees, and resampling along them.

A coordinate is `(x, y[, z])` with the centre of the first pixel at 0; an image of width w covers −0.5 … w − 0.5. Sizes
are `(x, y[, z])` as well, the reverse of an array's shape. An affine is `(nd, nd + 1)` float64 and maps ORIGINAL to NEW
pixels.
"""

from __future__ import annotations

from medzoo.core.geometry.affine import (
    Affine,
    apply,
    compose,
    crop_affine,
    fit_affine,
    flip_affine,
    identity,
    invert,
    pad_square_affine,
    resize_affine,
    rotate_affine,
)
from medzoo.core.geometry.resample import resample

__all__ = [
    "Affine",
    "apply",
    "compose",
    "crop_affine",
    "fit_affine",
    "flip_affine",
    "identity",
    "invert",
    "pad_square_affine",
    "resample",
    "resize_affine",
    "rotate_affine",
]
