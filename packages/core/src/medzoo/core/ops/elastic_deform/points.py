"""Landmarks under a deformation: where a point of the input appears in the output, by Newton's method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from medzoo.core.ops.elastic_deform import checks
from medzoo.core.ops.elastic_deform.api import _shift
from medzoo.core.ops.elastic_deform.spline import coefficients, knots, weight_slopes, weights


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
    p`. Four steps of Newton's method reach float64 precision for displacements of ten voxels; outside the output the
    field is that of its border.

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
    coef = None
    if control is not None:
        checks.check_control(control, nd, batch)
        coef = coefficients(control.detach().to(points.device, torch.float64), kind)
    if affine is not None:
        checks.check_affine(affine, nd, batch)
    shift = _shift(None if affine is None else affine.detach(), frame, size_in, points.device)
    p = points.detach().to(torch.float64)
    origin = torch.tensor(start, dtype=torch.float64, device=p.device)
    if not inverse:
        moved = p + origin + _displacement(p + origin, coef, kind, frame, shift)[0]
        return _finish(moved, points, size_in, ~p.isnan().any(-1))
    q = _undo_affine(p, shift)
    for _ in range(iters):
        d, slope = _displacement(q, coef, kind, frame, shift)
        residual = q + d - p
        if p.device.type == "cpu" and bool((residual.abs().amax(-1) < 1e-9).all()):
            break
        jacobian = slope + torch.eye(nd, dtype=torch.float64, device=p.device)
        step = torch.linalg.solve_ex(jacobian, residual.unsqueeze(-1))[0].squeeze(-1)
        q = q - step.nan_to_num(0.0, 0.0, 0.0)
    d = _displacement(q, coef, kind, frame, shift)[0]
    converged = (q + d - p).norm(dim=-1) <= tol
    return _finish(q - origin, points, size_out, converged)


def _finish(moved: Tensor, points: Tensor, size: list[int], converged: Tensor) -> Points:
    extent = torch.tensor(size, dtype=torch.float64, device=moved.device)
    inside = ((moved >= -0.5) & (moved <= extent - 0.5)).all(-1)
    dtype = torch.float64 if points.dtype == torch.float64 else torch.float32
    moved = torch.where(points.isnan().any(-1, keepdim=True), torch.full_like(moved, torch.nan), moved)
    return Points(moved.to(dtype), inside & converged, converged)


def _undo_affine(p: Tensor, shift: Tensor | None) -> Tensor:
    """Return where the affine part alone would put the points: the start of Newton's method."""
    if shift is None:
        return p.clone()
    nd = p.shape[-1]
    matrix = shift[:, :, :nd] + torch.eye(nd, dtype=torch.float64, device=p.device)
    solved = torch.linalg.solve_ex(matrix, (p - shift[:, None, :, nd]).transpose(1, 2))[0]
    start: Tensor = solved.transpose(1, 2).nan_to_num(0.0, 0.0, 0.0)
    return torch.where(p.isnan(), p, start)


def _displacement(
    x: Tensor, coef: Tensor | None, kind: int, frame: list[int], shift: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return `φ(x) - x (B, K, nd)` and its derivative `(B, K, nd, nd)` at points of the frame."""
    batch, k, nd = x.shape
    d, slope = torch.zeros_like(x), x.new_zeros(batch, k, nd, nd)
    if shift is not None:
        d = d + (shift[:, None, :, :nd] * x.unsqueeze(-2)).sum(-1) + shift[:, None, :, nd]
        slope = slope + shift[:, None, :, :nd]
    if coef is None or k == 0:
        return d, slope
    values, slopes, columns = [], [], []
    for j in range(nd):
        n = coef.shape[2 + j]
        scale, origin = knots(kind, n, frame[j])
        held = x[..., j].nan_to_num(0.0).clamp(0, frame[j] - 1)  # outside the frame the field of its border goes on
        u = scale * held + origin
        span = u.floor().clamp(0, n - 4)
        values.append(weights(u - span))  # (B, K, 4)
        slopes.append(weight_slopes(u - span) * (scale * (held == x[..., j]))[..., None])
        columns.append(span.to(torch.int64)[..., None] + torch.arange(4, device=x.device))
    index = columns[0]
    for j in range(1, nd):
        index = index[..., None] * coef.shape[2 + j] + columns[j].reshape(batch, k, *[1] * j, 4)  # (B, K, 4, ..., 4)
    flat = coef.flatten(2).expand(batch, nd, -1)
    taps = flat.gather(2, index.reshape(batch, 1, -1).expand(batch, nd, -1)).reshape(batch, nd, k, *[4] * nd)
    d = d + _contract(taps, values)
    gradient = [_contract(taps, [slopes[j] if j == b else values[j] for j in range(nd)]) for b in range(nd)]
    return d, slope + torch.stack(gradient, dim=-1)


def _contract(taps: Tensor, per_axis: list[Tensor]) -> Tensor:
    """Sum `taps (B, nd, K, 4, ..., 4)` against one weight `(B, K, 4)` an axis; returns `(B, K, nd)`."""
    for w in reversed(per_axis):
        extra = taps.ndim - 4
        taps = (taps * w.reshape(w.shape[0], 1, w.shape[1], *[1] * extra, 4)).sum(-1)
    return taps.transpose(1, 2)
