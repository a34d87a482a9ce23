"""Affine maps as `(nd, nd + 1)` float64 arrays: how to build, chain, invert and apply them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Affine = NDArray[np.float64]
Size = Sequence[int]
Array = TypeVar("Array", NDArray[np.float64], Tensor)


def identity(nd: int = 2) -> Affine:
    """Return the map that changes nothing."""
    return np.eye(nd, nd + 1)


def resize_affine(size_in: Size, size_out: Size) -> Affine:
    """Return the map of a resize that keeps the image's edges: `x' = (x + 0.5)·s − 0.5`, `s = out/in` on each axis."""
    _same_length(size_in=size_in, size_out=size_out)
    _positive(size_in=size_in, size_out=size_out)
    scale = np.asarray(size_out, dtype=np.float64) / np.asarray(size_in, dtype=np.float64)
    return _scale_about_edge(scale)


def fit_affine(size_in: Size, size_out: Size) -> Affine:
    """Return the map that scales all axes alike until the image just fits into `size_out`, centred."""
    _same_length(size_in=size_in, size_out=size_out)
    _positive(size_in=size_in, size_out=size_out)
    inner, outer = np.asarray(size_in, dtype=np.float64), np.asarray(size_out, dtype=np.float64)
    scale = float((outer / inner).min())
    affine = _scale_about_edge(np.full(len(inner), scale))
    affine[:, -1] += (outer - inner * scale) / 2
    return affine


def pad_square_affine(size_in: Size) -> tuple[Affine, tuple[int, ...]]:
    """Return map and size of a centred pad to equal sides by whole pixels; an odd remainder goes to the far side."""
    _positive(size_in=size_in)
    side = max(size_in)
    return crop_affine([-((side - extent) // 2) for extent in size_in]), (side,) * len(size_in)


def crop_affine(start: Sequence[float]) -> Affine:
    """Return the map of a crop that begins at pixel `start`; a negative start pads."""
    affine = identity(len(start))
    affine[:, -1] = -np.asarray(start, dtype=np.float64)
    return affine


def flip_affine(size: Size, axis: int) -> Affine:
    """Return the map that mirrors an image of `size` along one axis (0 is x): `x' = w − 1 − x`."""
    if not 0 <= axis < len(size):
        raise ValueError(f"axis must be from 0 to {len(size) - 1}, got {axis}")
    affine = identity(len(size))
    affine[axis, axis], affine[axis, -1] = -1.0, size[axis] - 1.0
    return affine


def rotate_affine(degrees: float, centre: Sequence[float], scale: float = 1.0) -> Affine:
    """Return the planar map that turns by `degrees` from x towards y (clockwise on a screen) and scales.

    Both are done about `centre`; that of an image of width w and height h is `((w − 1)/2, (h − 1)/2)`.
    """
    if len(centre) != 2:
        raise ValueError(f"centre must be (x, y), got {tuple(centre)}")
    angle, middle = math.radians(degrees), np.asarray(centre, dtype=np.float64)
    linear = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return np.concatenate([linear, (middle - linear @ middle)[:, None]], axis=1)


def compose(*affines: Array) -> Array:
    """Return the map that applies the given ones from left to right; batches `(B, nd, nd + 1)` broadcast."""
    if not affines:
        raise ValueError("affines must hold at least one map")
    result = affines[0]
    for affine in affines[1:]:
        linear = affine[..., :-1]
        shift = linear @ result[..., -1:] + affine[..., -1:]  # (..., nd, 1)
        result = _join(linear @ result[..., :-1], shift)
    return result


def invert(affine: Array) -> Array:
    """Return the inverse of an affine or of a batch of them; a map that folds an axis flat is a ValueError."""
    try:
        if isinstance(affine, Tensor):
            turned: Tensor = torch.linalg.inv(affine[..., :-1])
            return _join(turned, -(turned @ affine[..., -1:]))
        linear: NDArray[np.float64] = np.linalg.inv(affine[..., :-1]).astype(np.float64, copy=False)
    except (np.linalg.LinAlgError, RuntimeError) as error:  # torch's LinAlgError is a RuntimeError
        raise ValueError("affine must be invertible") from error
    return _join(linear, -(linear @ affine[..., -1:]))


def apply(affine: Array, points: Array) -> Array:
    """Map points.

    Args:
        affine: `(nd, nd + 1)` or `(B, nd, nd + 1)`.
        points: `(K, nd)` or `(B, K, nd)`; NaN stays NaN. Tensors are mapped in the affine's type, returned in theirs.
    """
    if isinstance(affine, Tensor):
        exact = points.to(affine.dtype) @ affine[..., :-1].mT + affine[..., None, :, -1]
        return exact.to(points.dtype)
    return points @ affine[..., :-1].mT + affine[..., None, :, -1]


def _scale_about_edge(scale: NDArray[np.float64]) -> Affine:
    return np.concatenate([np.diag(scale), ((scale - 1) / 2)[:, None]], axis=1)


def _join(linear: Array, shift: Array) -> Array:
    if isinstance(linear, Tensor):
        return torch.cat([linear, shift], dim=-1)
    return np.concatenate([linear, shift], axis=-1)


def _positive(**sizes: Size) -> None:
    for name, size in sizes.items():
        if not size or min(size) < 1:
            raise ValueError(f"{name} must hold positive extents, got {tuple(size)}")


def _same_length(**sizes: Size) -> None:
    if len({len(size) for size in sizes.values()}) != 1:
        raise ValueError(f"{' and '.join(sizes)} must have the same number of axes")
