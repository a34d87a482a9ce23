"""Resampling an image along an affine, with a low-pass filter wherever it shrinks."""

from __future__ import annotations

import math
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medzoo.core.geometry.affine import Affine, Size, apply, compose, invert, resize_affine

Pixels = TypeVar("Pixels", NDArray[np.float32], NDArray[np.generic], Tensor)
Mode = Literal["linear", "nearest"]

_EDGE = 1e-6  # pixels beyond the edge that still count as inside, for the rounding of composed maps
_FINER = 1.25  # old pixels per new pixel above which a turned image is drawn finer and then shrunk


def resample(
    image: Pixels, affine: Affine | Tensor, size_out: Size, mode: Mode = "linear", fill: float = 0.0
) -> Pixels:
    """Draw `image` in the new pixels that `affine` leads to.

    Where the map shrinks, a triangle filter as wide as the new pixels removes what they cannot show. Beyond the image's
    edges (half a pixel outside the outermost centres) the result is `fill`; filters are renormalised at the edge, so
    that no dark rim appears.

    Args:
        image: `(..., H, W)` or `(..., D, H, W)`, array or tensor. "linear" computes in and returns float32, "nearest"
            keeps the type.
        affine: `(nd, nd + 1)` from original to new pixels, as in the sample contract.
        size_out: New extent along x, y[, z]; its length nd is the number of spatial axes.
        mode: "linear" for intensities, "nearest" for labels.
        fill: Value outside the image.

    Returns:
        `(..., H', W')` or `(..., D', H', W')`.
    """
    matrix = _checked(image.ndim, affine, size_out, mode)
    source = image if isinstance(image, Tensor) else torch.from_numpy(np.require(image, requirements=["C", "W"]))
    if mode == "linear":
        source = source.float()
    extents = tuple(reversed(source.shape[-len(size_out) :]))
    linear = matrix[:, :-1]
    straight = np.count_nonzero(linear) == np.count_nonzero(np.diag(linear))
    drawn = (_along_axes if straight else _turned)(source, matrix, size_out, mode)
    result = _filled(drawn, matrix, size_out, extents, fill)
    return result if isinstance(image, Tensor) else result.numpy()


def _checked(ndim: int, affine: Affine | Tensor, size_out: Size, mode: Mode) -> Affine:
    """Return the affine as an array after checking all arguments."""
    matrix = affine.detach().cpu().double().numpy() if isinstance(affine, Tensor) else np.asarray(affine, np.float64)
    nd = len(size_out)
    if nd not in (2, 3) or min(size_out) < 1:
        raise ValueError(f"size_out must hold 2 or 3 positive extents, got {tuple(size_out)}")
    if matrix.shape != (nd, nd + 1):
        raise ValueError(f"affine must be ({nd}, {nd + 1}) to match size_out, got {matrix.shape}")
    if ndim < nd:
        raise ValueError(f"image must have at least {nd} axes, got {ndim}")
    if mode not in ("linear", "nearest"):
        raise ValueError(f"mode must be 'linear' or 'nearest', got {mode!r}")
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:, :-1])) < 1e-12:
        raise ValueError("affine must be finite and invertible")
    return matrix


def _along_axes(source: Tensor, matrix: Affine, size_out: Size, mode: Mode) -> Tensor:
    """Resample one axis after the other: scaling, shifts and mirrors need no more. Edges are continued outwards."""
    nd = len(size_out)
    extents = tuple(reversed(source.shape[-nd:]))
    whole = np.allclose(matrix, resize_affine(extents, size_out), rtol=0, atol=1e-9)
    if whole and nd == 2 and mode == "linear" and min(*extents, *size_out) > 1:
        # The plain resize of a whole image: the same filter, but faster. Wrong in torch 2.15 for a single column.
        flat = source.reshape(-1, 1, *source.shape[-2:])  # (..., H, W) -> (N, 1, H, W)
        drawn = functional.interpolate(flat, size=(size_out[1], size_out[0]), mode="bilinear", antialias=True)
        return drawn.reshape(*source.shape[:-2], *drawn.shape[-2:])
    result = source
    for axis in sorted(range(nd), key=lambda a: size_out[a] / extents[a]):  # the axis that shrinks most comes first
        result = _one_axis(result, -1 - axis, float(matrix[axis, axis]), float(matrix[axis, -1]), size_out[axis], mode)
    return result


def _one_axis(source: Tensor, dim: int, scale: float, shift: float, length: int, mode: Mode) -> Tensor:
    extent = source.shape[dim]
    if scale == 1.0 and shift == 0.0 and length == extent:
        return source
    centres = (np.arange(length, dtype=np.float64) - shift) / scale  # (L,) where new pixels lie on the old axis
    if mode == "nearest":
        index = np.clip(np.floor(centres + 0.5), 0, extent - 1).astype(np.int64)
        return source.index_select(dim, torch.from_numpy(index).to(source.device))
    taps, weights = _triangle(centres, max(1.0, 1.0 / abs(scale)), extent)
    moved = source.movedim(dim, 0)
    # An embedding bag is the weighted sum over taps of whole rows, without the (L, T, M) array in between.
    drawn = functional.embedding_bag(
        torch.from_numpy(taps).to(source.device),
        moved.reshape(extent, -1),  # (extent, M)
        mode="sum",
        per_sample_weights=torch.from_numpy(weights).to(source.device),
    )  # (L, M)
    return drawn.reshape(length, *moved.shape[1:]).movedim(0, dim)


def _triangle(
    centres: NDArray[np.float64], radius: float, extent: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the taps `(L, T)` and their weights, which sum to 1, of a triangle filter at each centre."""
    centres = np.clip(centres, -0.5, extent - 0.5)
    taps = np.ceil(centres - radius).astype(np.int64)[:, None] + np.arange(int(2 * radius) + 1)  # (L, T)
    weights = np.clip(1 - np.abs(taps - centres[:, None]) / radius, 0, None)
    weights[(taps < 0) | (taps >= extent)] = 0
    weights /= weights.sum(1, keepdims=True)  # never 0: a centre is at most half a pixel from a tap
    return np.clip(taps, 0, extent - 1), weights.astype(np.float32)


def _turned(source: Tensor, matrix: Affine, size_out: Size, mode: Mode) -> Tensor:
    """Resample along a map that mixes axes. Edges are continued outwards.

    Shrinking is done along the axes, where it can be filtered well: along the old axes before the image is turned and,
    where the map also squeezes it in another direction, along the new axes afterwards. The turn itself is then about
    one to one.
    """
    if mode == "nearest":
        return _look_up(source, matrix, size_out, mode)
    extents = tuple(reversed(source.shape[-len(size_out) :]))
    steps = np.linalg.norm(matrix[:, :-1], axis=0)  # how far one old pixel moves in new pixels
    smaller = [math.ceil(extent * min(step, 1.0)) for extent, step in zip(extents, steps, strict=True)]
    before = resize_affine(extents, smaller)
    source = _along_axes(source, before, smaller, mode)
    matrix = compose(invert(before), matrix)
    steps = np.linalg.norm(invert(matrix)[:, :-1], axis=0)  # how far one new pixel moves in old pixels
    finer = [math.ceil(n * step) if step > _FINER else n for n, step in zip(size_out, steps, strict=True)]
    after = resize_affine(finer, size_out)
    drawn = _look_up(source, compose(matrix, invert(after)), finer, mode)
    return _along_axes(drawn, after, size_out, mode)


def _look_up(source: Tensor, matrix: Affine, size_out: Size, mode: Mode) -> Tensor:
    """Interpolate at each new pixel's place without any filter."""
    nd = len(size_out)
    grid = _grid(matrix, size_out, tuple(reversed(source.shape[-nd:])))
    stacked = source.reshape(1, -1, *source.shape[-nd:])
    if not stacked.is_floating_point():
        stacked = stacked.double()  # exact for labels up to 2**53
    drawn = functional.grid_sample(
        stacked,
        grid.to(stacked),
        mode="bilinear" if mode == "linear" else "nearest",
        padding_mode="border",
        align_corners=False,
    )
    return drawn.reshape(*source.shape[:-nd], *reversed(size_out)).to(source.dtype)


def _grid(matrix: Affine, size_out: Size, extents: Size) -> Tensor:
    """Return `(1, [D',] H', W', nd)`: where each new pixel lies on the old image, whose edges are at ±1."""
    inverse = invert(matrix)
    span = np.array(extents, dtype=np.float64)
    linear, shift = 2 * inverse[:, :-1] / span[:, None], (2 * inverse[:, -1] + 1) / span - 1
    grid = torch.from_numpy(shift).expand(*reversed(size_out), -1)
    for axis, extent in enumerate(size_out):
        steps = torch.arange(extent, dtype=torch.float64)[:, None] * torch.from_numpy(linear[:, axis])  # (L, nd)
        shape = [1] * len(size_out) + [len(size_out)]
        shape[-2 - axis] = extent
        grid = grid + steps.reshape(shape)
    return grid[None]


def _filled(drawn: Tensor, matrix: Affine, size_out: Size, extents: Size, fill: float) -> Tensor:
    """Put `fill` where a new pixel's centre lies outside the old image."""
    nd = len(size_out)
    corners = np.array(np.meshgrid(*([0.0, extent - 1.0] for extent in size_out))).reshape(nd, -1).T  # (2**nd, nd)
    places = apply(invert(matrix), corners)
    if ((places >= -0.5 - _EDGE) & (places <= np.array(extents) - 0.5 + _EDGE)).all():
        return drawn  # the old image is convex: with its corners all new pixels are inside
    limit = torch.from_numpy(1 + 2 * _EDGE / np.array(extents, dtype=np.float64))
    inside = (_grid(matrix, size_out, extents)[0].abs() <= limit).all(-1).to(drawn.device)
    return torch.where(inside, drawn, torch.tensor(fill, dtype=drawn.dtype, device=drawn.device))
