"""The operator in plain torch: the fallback where nothing can be compiled, and the oracle of the tests.

Linear sampling goes through `grid_sample` with the identity folded into the coefficients ("folded"): a few small
matrix products write the sampling grid directly. Its cost is accuracy (normalised coordinates: 1e-5 to 2e-4 in
float32). Nearest, label and constant-fill sampling split integer and fraction on the displacement and gather, which
is exact.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from medzoo.core.ops.elastic_deform.spline import KINDS, evaluate, evaluation_matrices, knots

ORDERS: dict[int | str, int] = {0: 0, 1: 1, "label": 2}
PADDINGS = {"border": 0, "constant": 1, "reflection": 2}
LIMIT = float(2**28)
"""Displacements are clamped to this many voxels: no value can leave the range of the index arithmetic."""


class Frame(NamedTuple):
    """Where the output lies: its voxel `x` is point `x + offset` of the frame that field and affine refer to."""

    kind: int
    size: list[int]
    offset: list[int]
    frame: list[int]


class Rule(NamedTuple):
    """How one tensor is sampled; the numbers are those of `ORDERS` and `PADDINGS`."""

    order: int
    padding: int
    fill: float


class Warp(NamedTuple):
    """One call of the operator.

    Attributes:
        inputs: Tensors `(B, C, *S)`.
        field: Coefficients `(B | 1, nd, *n)` or displacements `(B | 1, nd, *size)`, by `where.kind`.
        affine: Added to the displacement as `affine · [x, 1]`, `(B | 1, nd, nd + 1)` float64, or nothing.
        where: The output.
        rules: How each of the inputs is sampled.
    """

    inputs: list[Tensor]
    field: Tensor
    affine: Tensor | None
    where: Frame
    rules: list[Rule]


def displacement(field: Tensor, affine: Tensor | None, where: Frame) -> Tensor:
    """Return `φ(x) - x` as `(B, nd, *size)`: the field plus the affine part `affine · [x, 1]`."""
    d = field if where.kind == KINDS["dense"] else evaluate(field, where.kind, where.size, where.offset, where.frame)
    if affine is None:
        return d
    nd = len(where.size)
    total = affine[:, :, nd].reshape(-1, nd, *[1] * nd)
    for b in range(nd):
        x = torch.arange(where.size[b], device=d.device, dtype=affine.dtype) + where.offset[b]
        x = x.reshape([-1 if j == b else 1 for j in range(nd)])
        total = total + affine[:, :, b].reshape(-1, nd, *[1] * nd) * x
    return d + total.to(d.dtype)


def sample(warp: Warp) -> list[Tensor]:
    """Warp the inputs; differentiable. Those of order 1 have the dtype of the field, float32 or float64."""
    inputs, field, affine, where, rules = warp
    batch, size_in = inputs[0].shape[0], list(inputs[0].shape[2:])
    d: Tensor | None = None
    grid: Tensor | None = None
    outputs = []
    for tensor, rule in zip(inputs, rules, strict=True):
        if rule.order == 1 and (rule.padding != PADDINGS["constant"] or rule.fill == 0) and min(size_in) > 1:
            grid = _folded_grid(field, affine, where, size_in) if grid is None else grid
            mode = {0: "border", 1: "zeros", 2: "reflection"}[rule.padding]
            grid = grid.expand(batch, *grid.shape[1:])
            empty = tensor.shape[1] == 0  # grid_sample refuses tensors without channels
            outputs.append(
                tensor.new_empty(batch, 0, *where.size)
                if empty
                else F.grid_sample(tensor, grid, mode="bilinear", padding_mode=mode, align_corners=True)
            )
        else:
            d = displacement(field, affine, where) if d is None else d
            outputs.append(gather(tensor, d, where.offset, rule))
    return outputs


def _folded_grid(field: Tensor, affine: Tensor | None, where: Frame, size_in: list[int]) -> Tensor:
    """Return the grid `(B, *size, nd)` of `grid_sample`, components in its order (x, y[, z])."""
    nd = len(where.size)
    extent = torch.tensor([max(n - 1, 1) for n in size_in], dtype=field.dtype, device=field.device)
    if where.kind == KINDS["dense"]:
        phi = displacement(field, affine, where).movedim(1, -1)
        axes = [
            torch.arange(n, device=field.device, dtype=field.dtype) + o
            for n, o in zip(where.size, where.offset, strict=True)
        ]
        identity = torch.stack(torch.meshgrid(axes, indexing="ij"), dim=-1)
        return ((phi + identity) * (2 / extent) - 1).flip(-1)
    grid_size = tuple(field.shape[2:])
    build = _folded_tables if torch.compiler.is_compiling() else _cached_tables
    ramps, matrices, last = build(
        where.kind, grid_size, tuple(where.size), tuple(where.offset), tuple(where.frame), field.dtype, field.device
    )
    linear = torch.eye(nd, nd + 1, dtype=torch.float64, device=field.device)
    linear = linear[None] if affine is None else linear + affine
    position = (linear @ ramps).reshape(-1, nd, *grid_size)
    stretch = (2 / extent).reshape(1, nd, *[1] * nd)
    grid = ((field + position) * stretch - 1).to(field.dtype).flip(1).movedim(1, -1)  # (B, *n, nd)
    for axis in range(nd - 1):
        flat = grid.reshape(*grid.shape[: axis + 2], -1)  # (B, ..., n_axis, rest)
        grid = (matrices[axis] @ flat).reshape(*flat.shape[:-2], where.size[axis], *grid.shape[axis + 2 :])
    return (grid.reshape(*grid.shape[:-2], -1) @ last).reshape(*grid.shape[:-2], where.size[-1], nd)


def _folded_tables(
    kind: int,
    n: tuple[int, ...],
    size: tuple[int, ...],
    offset: tuple[int, ...],
    frame: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, list[Tensor], Tensor]:
    """Return what `_folded_grid` needs besides the coefficients.

    Cubic B-splines reproduce linear functions: with coefficients `(k - 1 - origin) / scale` along an axis the spline is
    `x` itself. The first result holds these for each axis, and ones: `(nd + 1, n_1 · n_2 ...)`. Then come the matrices
    that evaluate the axes; the last one works on the pair (x, component) at once (a Kronecker product) and so writes
    `(..., W, nd)` without a transposed copy.
    """
    nd = len(n)
    axes = []
    for b in range(nd):
        scale, origin = knots(kind, n[b], frame[b])
        x = torch.arange(n[b], dtype=torch.float64, device=device) - 1 - origin
        axes.append(x / scale if scale else x * 0)
    ramps = [*torch.meshgrid(axes, indexing="ij"), torch.ones(n, dtype=torch.float64, device=device)]
    like = torch.empty(1, nd, *n, dtype=dtype, device=device)
    matrices = evaluation_matrices(like, kind, list(size), list(offset), list(frame))
    pair = torch.eye(nd, dtype=dtype, device=device)
    last = (matrices[-1].T[:, None, :, None] * pair[None, :, None, :]).reshape(n[-1] * nd, -1)
    return torch.stack(ramps).flatten(1), matrices[:-1], last


@lru_cache(maxsize=16)
def _cached_tables(*shape: Any) -> tuple[Tensor, list[Tensor], Tensor]:
    with torch.inference_mode(False):  # autograd refuses tensors that were made in inference mode
        return _folded_tables(*shape)


def _fold_index(index: Tensor, n: int, padding: int) -> Tensor:
    if padding == PADDINGS["reflection"] and n > 1:
        index = index.remainder(2 * (n - 1))
        return torch.where(index >= n, 2 * (n - 1) - index, index)
    return index.clamp(0, n - 1)


def gather(tensor: Tensor, d: Tensor, offset: list[int], rule: Rule) -> Tensor:
    """Sample `tensor (B, C, *S)` at `x + offset + d(x)`, `d (B | 1, nd, *size)`, split into integer and fraction."""
    nd, size = d.shape[1], list(d.shape[2:])
    d = d.clamp(-LIMIT, LIMIT).expand(tensor.shape[0], *d.shape[1:])
    d = torch.where(d.isnan(), torch.full_like(d, -LIMIT), d)
    whole = d.detach().floor()
    fraction = d - whole
    corners: list[list[Tensor]] = []  # per axis the two neighbours, as unbounded indices
    for a in range(nd):
        x = torch.arange(size[a], device=d.device) + offset[a]
        base = whole[:, a].to(torch.int64) + x.reshape([-1 if j == a else 1 for j in range(nd)])
        corners.append([base, base + 1])
    if rule.order == 0:
        nearest = [torch.where(fraction[:, a] >= 0.5, corners[a][1], corners[a][0]) for a in range(nd)]
        return _pick(tensor, nearest, rule)
    values, shares = [], []
    for e in product((0, 1), repeat=nd):
        values.append(_pick(tensor, [corners[a][e[a]] for a in range(nd)], rule))
        share = torch.ones_like(fraction[:, 0])
        for a in range(nd):
            share = share * (fraction[:, a] if e[a] else 1 - fraction[:, a])
        shares.append(share.unsqueeze(1))  # (B, 1, *size)
    if rule.order == 1:
        return torch.stack([v * s for v, s in zip(values, shares, strict=True)]).sum(0)
    return _vote(values, shares, [fraction[:, a].unsqueeze(1) >= 0.5 for a in range(nd)])


def _pick(tensor: Tensor, index: list[Tensor], rule: Rule) -> Tensor:
    """Read `tensor (B, C, *S)` at integer positions `index`, one `(B, *size)` tensor per axis."""
    flat = torch.zeros_like(index[0])
    outside = torch.zeros_like(index[0], dtype=torch.bool)
    for a, i in enumerate(index):
        n = tensor.shape[2 + a]
        flat = flat * n + _fold_index(i, n, rule.padding)
        outside = outside | (i < 0) | (i >= n)
    batch, channels = tensor.shape[:2]
    where = flat.reshape(batch, 1, -1).expand(batch, channels, -1)
    picked = tensor.flatten(2).gather(2, where).reshape(batch, channels, *flat.shape[1:])
    if rule.padding == PADDINGS["constant"]:
        picked = picked.masked_fill(
            outside.unsqueeze(1), int(rule.fill) if not picked.is_floating_point() else rule.fill
        )
    return picked


def _vote(values: list[Tensor], shares: list[Tensor], upper: list[Tensor]) -> Tensor:
    """Return the label with the largest summed weight; the nearest corner wins ties."""
    nd = len(upper)
    scores = [sum((s * (v == w) for w, s in zip(values, shares, strict=True)), torch.zeros(())) for v in values]
    best, score = values[0], scores[0]
    for e, v, s in zip(product((False, True), repeat=nd), values, scores, strict=True):
        nearest = torch.ones_like(upper[0])
        for a in range(nd):
            nearest = nearest & (upper[a] == e[a])
        best, score = torch.where(nearest, v, best), torch.where(nearest, s, score)
    for v, s in zip(values, scores, strict=True):
        better = s > score
        best, score = torch.where(better, v, best), torch.where(better, s, score)
    return best
