"""Landmarks under a deformation: where a point of the input appears in the output, by Newton's method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from medzoo.core.ops.elastic_deform import checks
from medzoo.core.ops.elastic_deform.api import _shift
from medzoo.core.ops.elastic_deform.spline import coefficients, knots

# Coefficients of t^0 .. t^3 of the four weights of a span, followed by those of their derivatives.
_POWERS = (
    (1 / 6, 4 / 6, 1 / 6, 0.0, -0.5, 0.0, 0.5, 0.0),
    (-0.5, 0.0, 0.5, 0.0, 1.0, -2.0, 1.0, 0.0),
    (0.5, -1.0, 0.5, 0.0, -0.5, 1.5, -1.5, 0.5),
    (-1 / 6, 0.5, -0.5, 1 / 6, 0.0, 0.0, 0.0, 0.0),
)


class Points(NamedTuple):
    """Transformed points and what is known about them."""

    points: Tensor
    """`(B, K, nd)`, axes in tensor order, in voxels; NaN where the input was NaN."""
    inside: Tensor
    """`(B, K)` bool: within the voxels of the output (of the input for `inverse=False`), edge to edge."""
    converged: Tensor
    """`(B, K)` bool: `|φ(q) - p| <= tol`; false where the field folds or the point was NaN."""


def transform_points(
    points: Tensor,
    control: Tensor | None,
    size: Sequence[int],
    affine: Tensor | None = None,
    *,
    spline: str = "interpolate",
    inverse: bool = True,
    out_size: Sequence[int] | None = None,
    offset: Sequence[int] | None = None,
    iters: int = 12,
    tol: float = 1e-3,
) -> Points:
    """Move points with the image that `elastic_deform` warps with the same arguments.

    The operator pulls back: output `x` reads the input at `φ(x)`. A structure at `p` therefore appears where `φ(q) =
    p`. Newton's method squares the error with each step, and one step more than `tol` asks for is taken; outside the
    output the field is that of its border.

    Args:
        points: `(B, K, nd)`, axes in tensor order (y, x or z, y, x), voxels of the input, origin at the centre of the
            first.
        control: As given to `elastic_deform`; `None` for an affine map alone.
        size: Size of the input.
        affine: As given to `elastic_deform`.
        spline: As given to `elastic_deform`.
        inverse: If false, map output points to the input instead: return `φ(points)`.
        out_size: As given to `elastic_deform`.
        offset: As given to `elastic_deform`.
        iters: Largest number of Newton steps.
        tol: Residual in voxels below which a point counts as converged.

    Returns:
        Points in the dtype of `points` (at least float32).

    Raises:
        ValueError: If shapes or options do not fit.
        TypeError: If a tensor has the wrong dtype.
    """
    nd = len(size)
    checks._check_float(points, "points")
    if points.ndim != 3 or points.shape[2] != nd:
        raise ValueError(f"points must have shape (B, K, {nd}) for a size of {nd} axes, got {tuple(points.shape)}")
    if iters < 1:
        raise ValueError(f"iters must be at least 1, got {iters}")
    batch = points.shape[0]
    size_in = checks.check_size(size, nd, "size")
    size_out = size_in if out_size is None else checks.check_size(out_size, nd, "out_size")
    start = [0] * nd if offset is None else checks.check_window(offset, size_out, size_in)
    frame = size_out if offset is None else size_in
    kind = checks.check_kind(spline)
    field = None
    if control is not None:
        checks.check_control(control, nd, batch)
        coef = coefficients(control.detach().to(points.device, torch.float64), kind)
        field = _Field(coef, kind, frame, batch)
    if affine is not None:
        checks.check_affine(affine, nd, batch)
    shift = _shift(None if affine is None else affine.detach(), frame, size_in, points.device)
    missing = points.detach().isnan().any(-1)
    p = points.detach().to(torch.float64).masked_fill(missing[..., None], 0.0)
    origin = torch.tensor(start, dtype=torch.float64, device=p.device)
    if not inverse:
        moved = p + origin + _displacement(p + origin, field, shift)[0]
        return _finish(moved, points, size_in, ~missing, missing)
    q, residual = _newton(p, field, shift, iters, min(tol, 1e-3) / 2)
    return _finish(q - origin, points, size_out, (residual.norm(dim=-1) <= tol) & ~missing, missing)


@torch.no_grad()
def _newton(p: Tensor, field: _Field | None, shift: Tensor | None, iters: int, enough: float) -> tuple[Tensor, Tensor]:
    """Solve `φ(q) = p`; returns `q` and the last residual that was evaluated, one step before it or at it."""
    start = p if shift is None else _solve(_columns(shift, p.shape[-1]), p - shift[:, None, :, -1])
    q, before, host = start, start, p.device.type == "cpu"  # elsewhere a question would wait for the device
    for turn in range(iters + 1):
        d, columns = _displacement(q, field, shift)
        residual = q + d - p
        if turn == iters or p.shape[1] == 0:
            break
        last, q = q, q - _solve(columns, residual)
        if host:
            size = residual.abs()
            if size.max().item() <= enough:
                break
            if turn >= 4:  # some go round between two points at an edge, which no further step would end
                round_again = (q - before).abs().amax(-1) < 1e-9
                if bool((round_again | (size.amax(-1) <= enough)).all()):
                    break
            before = last
    return q, residual


def _finish(moved: Tensor, points: Tensor, size: list[int], converged: Tensor, missing: Tensor) -> Points:
    extent = torch.tensor(size, dtype=torch.float64, device=moved.device)
    inside = ((moved >= -0.5) & (moved <= extent - 0.5)).all(-1)
    dtype = torch.float64 if points.dtype == torch.float64 else torch.float32
    moved = moved.masked_fill(missing[..., None], torch.nan)
    return Points(moved.to(dtype), inside & converged, converged)


def _columns(shift: Tensor, nd: int) -> Tensor:
    """Return the columns `(B, 1, nd, nd)` of the Jacobian of the affine part."""
    return (shift[:, None, :, :nd] + torch.eye(nd, dtype=shift.dtype, device=shift.device)).transpose(2, 3)


def _solve(columns: Tensor, right: Tensor) -> Tensor:
    """Solve `Σ_b columns[..., b, :] x_b = right` by Cramer's rule; zeros where the matrix is singular."""
    if columns.shape[-1] == 2:
        a, b, c, d = columns.flatten(-2).unbind(-1)
        r, s = right.unbind(-1)
        solved = torch.stack([d * r - c * s, a * s - b * r], dim=-1) / (a * d - b * c)[..., None]
    else:
        order = [1, 2, 0], [2, 0, 1]
        minors = torch.linalg.cross(columns[..., order[0], :], columns[..., order[1], :])
        solved = (minors * right[..., None, :]).sum(-1) / (minors[..., 0, :] * columns[..., 0, :]).sum(-1, keepdim=True)
    return solved.nan_to_num(0.0, 0.0, 0.0)


def _displacement(x: Tensor, field: _Field | None, shift: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return `φ(x) - x (B, K, nd)` and the columns `(B, K, nd, nd)` of the Jacobian of φ at points of the frame."""
    nd = x.shape[-1]
    if shift is not None:
        d, columns = (shift[:, None, :, :nd] * x.unsqueeze(-2)).sum(-1) + shift[:, None, :, nd], _columns(shift, nd)
        if field is None:
            return d, columns.expand(*x.shape, nd)
        value, slopes = field.at(x)
        return d + value, columns + slopes
    if field is None:
        return torch.zeros_like(x), _unit(nd, x.device).expand(*x.shape, nd)
    value, slopes = field.at(x)
    return value, slopes + _unit(nd, x.device)


@lru_cache(maxsize=16)
def _unit(nd: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.eye(nd, dtype=torch.float64, device=device)


class _Layout(NamedTuple):
    """What the evaluation of a field needs besides its coefficients."""

    scale: Tensor
    origin: Tensor
    last: Tensor
    spans: Tensor
    powers: tuple[Tensor, ...]
    strides: Tensor
    near: Tensor
    picked: Tensor


@lru_cache(maxsize=64)
def _layout(kind: int, grid: tuple[int, ...], frame: tuple[int, ...], device: torch.device) -> _Layout:
    nd = len(grid)
    steps = [knots(kind, n, f) for n, f in zip(grid, frame, strict=True)]
    rows = [[s for s, _ in steps], [o for _, o in steps], [f - 1.0 for f in frame], [n - 4.0 for n in grid]]
    strides = [math.prod(grid[j + 1 :]) for j in range(nd)]
    with torch.inference_mode(False):
        near = torch.zeros(1, dtype=torch.int64)
        for stride in strides:
            near = (near[:, None] + torch.arange(4) * stride).flatten()
        scale, origin, last, spans = torch.tensor(rows, dtype=torch.float64, device=device).unbind(0)
        powers = torch.tensor(_POWERS, dtype=torch.float64, device=device).unbind(0)
        picked = torch.tensor([2**j for j in reversed(range(nd))], device=device)
        steps_of = torch.tensor(strides, device=device)
        return _Layout(scale, origin, last, spans, powers, steps_of, near.to(device), picked)


class _Field:
    """A spline field, ready to be evaluated at scattered points: all taps of all points in one gather.

    Args:
        coef: Coefficients `(B | 1, nd, *n)` in float64.
        kind: See `spline.KINDS`.
        frame: Size of the frame.
        batch: Number of samples.
    """

    def __init__(self, coef: Tensor, kind: int, frame: list[int], batch: int) -> None:
        self.layout = _layout(kind, tuple(coef.shape[2:]), tuple(frame), coef.device)
        flat = coef.flatten(2)
        self.rows = flat.transpose(1, 2).reshape(-1, flat.shape[1])  # (B · n, nd): the vector of a tap is contiguous
        self.first: Tensor | None = None  # a field of its own for each sample starts at its own row
        if coef.shape[0] > 1:
            self.first = (torch.arange(batch, device=coef.device) * flat.shape[2])[:, None]

    def at(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the displacement `(B, K, nd)` and its derivatives `(B, K, nd (axis), nd (component))` at `x`."""
        batch, k, nd = x.shape
        scale, origin, top, spans, (c0, c1, c2, c3), strides, near, picked = self.layout
        held = x.clamp(min=0).minimum(top)  # outside the frame the field of its border goes on
        u = torch.addcmul(origin, held, scale)
        span = u.floor().minimum(spans)
        t = (u - span).unsqueeze(-1)
        w = torch.addcmul(c0, torch.addcmul(c1, torch.addcmul(c2, c3, t), t), t)  # (B, K, nd, 8): values, derivatives
        w[..., 4:] *= (scale * (held == x)).unsqueeze(-1)
        both = w.reshape(batch * k, nd, 2, 4)
        products = both[:, -1]
        for j in reversed(range(nd - 1)):  # value or derivative along each axis, times its taps
            left = both[:, j, :, None, :, None]
            products = (left * products[:, None, :, None, :]).reshape(batch * k, 2 ** (nd - j), 4 ** (nd - j))
        index = (span * strides).sum(-1).to(torch.int64)
        if self.first is not None:
            index = index + self.first
        taps = self.rows[index.reshape(-1, 1) + near]  # (B K, 4^nd, nd)
        found = torch.bmm(products, taps).reshape(batch, k, 2**nd, nd)
        return found[:, :, 0], found.index_select(2, picked)
