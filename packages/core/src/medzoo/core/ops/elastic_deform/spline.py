"""Cubic B-splines on a control grid: weights, parametrisations and the small matrices that evaluate them.

Along each axis a point `x` of the frame (the grid that the field is defined on) has the parameter `u = scale * x +
origin`; its span `k = floor(u)`, clamped to `[0, n - 4]` for `n` coefficients, uses coefficients `k .. k + 3` with
weights at `t = u - k`.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

KINDS = {"dense": 0, "interpolate": 1, "coefficients": 2}
"""How the field of the operator is given; the numbers are part of the operator's schema and of the C interface."""


def knots(kind: int, n_coef: int, frame: int) -> tuple[float, float]:
    """Return `(scale, origin)` of `u = scale * x + origin` along one axis.

    Args:
        kind: `interpolate`: first and last control vector sit on the centres of the corner voxels; `coefficients`: the
            spans cover the voxels edge to edge, as ITK lays them out.
        n_coef: Number of coefficients along the axis (two more than control vectors for `interpolate`).
        frame: Number of voxels along the axis.
    """
    if kind == KINDS["interpolate"]:
        return ((n_coef - 3) / (frame - 1) if frame > 1 else 0.0), 0.0
    scale = (n_coef - 3) / frame
    return scale, 0.5 * scale


def weights(t: Tensor) -> Tensor:
    """Return the four weights `(..., 4)` of a span at `t` in `[0, 1]`; they sum to 1."""
    s = 1 - t
    return torch.stack([s**3, 3 * t**3 - 6 * t**2 + 4, 3 * s**3 - 6 * s**2 + 4, t**3], dim=-1) / 6


def weight_slopes(t: Tensor) -> Tensor:
    """Return the derivatives `(..., 4)` of `weights` with respect to `t`; they sum to 0."""
    s = 1 - t
    return torch.stack([-(s**2) / 2, (9 * t**2 - 12 * t) / 6, (12 * s - 9 * s**2) / 6, t**2 / 2], dim=-1)


def basis_matrix(x: Tensor, n_coef: int, scale: float, origin: float, *, slope: bool = False) -> Tensor:
    """Return the matrix `(len(x), n_coef)` that turns coefficients into values (or d/dx of them) at positions `x`."""
    u = scale * x + origin
    k = u.floor().clamp(0, n_coef - 4)
    taps = weight_slopes(u - k) * scale if slope else weights(u - k)
    column = torch.arange(n_coef, device=x.device) - k[:, None].to(torch.int64)
    picked = torch.gather(taps, 1, column.clamp(0, 3))
    return torch.where((column >= 0) & (column <= 3), picked, torch.zeros_like(picked))


def _interpolation_matrix(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    system = torch.eye(n, dtype=torch.float64) * 4
    system += torch.diag(torch.ones(n - 1, dtype=torch.float64), 1) + torch.diag(
        torch.ones(n - 1, dtype=torch.float64), -1
    )
    mirror = torch.zeros(n, n, dtype=torch.float64)
    mirror[0, 1] = mirror[-1, -2] = 1
    inverse = torch.linalg.inv((system + mirror) / 6)
    return torch.cat([inverse[1:2], inverse, inverse[-2:-1]]).to(device=device, dtype=dtype)


@lru_cache(maxsize=64)
def _cached_interpolation_matrix(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # autograd refuses tensors that were made in inference mode
        return _interpolation_matrix(n, dtype, device)


def interpolation_matrix(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the `(n + 2, n)` matrix E·A⁻¹ from values at `n` knots to coefficients.

    A is tridiagonal (1/6, 4/6, 1/6) with mirror ends, E repeats the neighbours of both ends (mirror extension by one).
    """
    if torch.compiler.is_compiling():  # a tensor kept from an earlier call cannot enter a traced graph
        return _interpolation_matrix(n, dtype, device)
    return _cached_interpolation_matrix(n, dtype, device)


def along_axes(grid: Tensor, matrices: list[Tensor]) -> Tensor:
    """Apply one matrix `(m_j, n_j)` to each of the last axes of `grid (..., *n)`; returns `(..., *m)`."""
    nd = len(matrices)
    for axis, matrix in enumerate(matrices):
        if axis == nd - 1:
            grid = grid @ matrix.T
        else:
            rest = grid.shape[grid.ndim - nd + axis + 1 :]
            flat = grid.reshape(*grid.shape[: grid.ndim - nd + axis + 1], -1)  # (..., n_j, rest)
            grid = (matrix @ flat).reshape(*flat.shape[:-2], matrix.shape[0], *rest)
    return grid


def coefficients(control: Tensor, kind: int) -> Tensor:
    """Return the coefficients `(B, nd, *n)` of a control grid `(B, nd, *G)`: for `interpolate` n = G + 2.

    On the CPU a sample gives the same bits alone and in a batch: the products have one shape for each sample, whatever
    their number, and are summed in double and rounded once, so that an order of summation does not show.
    """
    if kind != KINDS["interpolate"]:
        return control
    batch, nd, *shape = control.shape
    small = math.prod([n * (n + 2) for n in shape]) <= LARGEST_PREFILTER
    if small and control.device.type == "cuda" and not torch.compiler.is_compiling():
        matrix = _prefilter(tuple(shape), control.dtype, control.device)
        flat = torch.nn.functional.linear(control.reshape(batch * nd, -1), matrix)
        return flat.reshape(batch, nd, *[n + 2 for n in shape])
    precise = control.to(torch.float64) if control.device.type == "cpu" else control
    grid, before = precise, batch * nd
    for n in shape[:-1]:
        grid = torch.bmm(_repeated(n, before, False, grid.dtype, grid.device), grid.reshape(before, n, -1))
        before *= n + 2
    n = shape[-1]
    last = _repeated(n, batch, True, grid.dtype, grid.device)
    grid = torch.bmm(grid.reshape(batch, before // batch, n), last)
    return grid.to(control.dtype).reshape(batch, nd, *[n + 2 for n in shape])


LARGEST_PREFILTER = 2**20
"""Elements of the matrix of a whole grid: on a CUDA device one product with it is one launch, three are three."""


@lru_cache(maxsize=32)
def _prefilter(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the matrix `(prod (n + 2), prod n)` that turns a flat control grid into flat coefficients."""
    with torch.inference_mode(False):
        matrix = torch.ones(1, 1, dtype=torch.float64, device=device)
        for n in shape:
            matrix = torch.kron(matrix, _interpolation_matrix(n, torch.float64, device))
        return matrix.to(dtype)


def _repeated(n: int, count: int, transposed: bool, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return `interpolation_matrix` `count` times, as a batched product takes it, without a copy."""
    make = _make_repeated.__wrapped__ if torch.compiler.is_compiling() else _make_repeated
    repeated: Tensor = make(n, count, transposed, dtype, device)
    return repeated


@lru_cache(maxsize=128)
def _make_repeated(n: int, count: int, transposed: bool, dtype: torch.dtype, device: torch.device) -> Tensor:
    matrix = interpolation_matrix(n, dtype, device)
    with torch.inference_mode(False):
        return (matrix.T if transposed else matrix).expand(count, *((n, n + 2) if transposed else (n + 2, n)))


def _positions(size: list[int], offset: list[int], like: Tensor) -> list[Tensor]:
    return [torch.arange(n, device=like.device, dtype=torch.float64) + o for n, o in zip(size, offset, strict=True)]


def evaluation_matrices(coef: Tensor, kind: int, size: list[int], offset: list[int], frame: list[int]) -> list[Tensor]:
    """Return per axis the matrix `(size_j, n_j)` that evaluates coefficients `coef (B, nd, *n)` on the output grid."""
    matrices = []
    for j, x in enumerate(_positions(size, offset, coef)):
        n = coef.shape[2 + j]
        matrices.append(basis_matrix(x, n, *knots(kind, n, frame[j])).to(coef.dtype))
    return matrices


def evaluate(coef: Tensor, kind: int, size: list[int], offset: list[int], frame: list[int]) -> Tensor:
    """Return the displacement `(B, nd, *size)` of coefficients `(B, nd, *n)`, in voxels."""
    return along_axes(coef, evaluation_matrices(coef, kind, size, offset, frame))


def evaluate_gradient(coef: Tensor, kind: int, size: list[int]) -> Tensor:
    """Return `∂d_a/∂x_b` on the frame as `(B, nd (a), *size, nd (b))`."""
    nd = len(size)
    values, slopes = [], []
    for j, x in enumerate(_positions(size, [0] * nd, coef)):
        n = coef.shape[2 + j]
        scale, origin = knots(kind, n, size[j])
        values.append(basis_matrix(x, n, scale, origin).to(coef.dtype))
        slopes.append(basis_matrix(x, n, scale, origin, slope=True).to(coef.dtype))
    columns = [along_axes(coef, [slopes[j] if j == b else values[j] for j in range(nd)]) for b in range(nd)]
    return torch.stack(columns, dim=-1)
