"""The CUDA backend: prepares rows of coefficients with small matrix products and launches the Triton kernels."""

from __future__ import annotations

import logging
import math
import subprocess
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from medzoo.core.errors import first_line
from medzoo.core.ops.elastic_deform.fallback import TorchBackend
from medzoo.core.ops.elastic_deform.launch import Tile, launch
from medzoo.core.ops.elastic_deform.sampling import Frame, Rule, Warp
from medzoo.core.ops.elastic_deform.spline import KINDS, basis_matrix, knots


class CudaBackend:
    """The kernels on the device of their tensors; the torch formulation where they do not compile, said once."""

    def forward(self, warp: Warp) -> list[Tensor]:
        """Return the warped inputs."""
        try:
            with torch.cuda.device_of(warp.field):
                return TritonBackend().forward(warp)
        except _build_errors() as error:
            _give_up(error)
            return TorchBackend().forward(warp)

    def backward(self, grads: list[Tensor], warp: Warp, need: list[bool]) -> list[Tensor]:
        """Return `[∂field, ∂affine, *∂inputs]`; what is not needed is empty."""
        try:
            with torch.cuda.device_of(warp.field):
                return TritonBackend().backward(grads, warp, need)
        except _build_errors() as error:
            _give_up(error)
            return TorchBackend().backward(grads, warp, need)


def _build_errors() -> tuple[type[Exception], ...]:
    """What Triton raises where it cannot build a kernel: its compiler, ptxas, or the C compiler of its launcher."""
    from triton.errors import TritonError

    return (TritonError, subprocess.CalledProcessError, ImportError, OSError)


_given_up: list[str] = []


def _give_up(error: Exception) -> None:
    """Serve CUDA tensors with the torch formulation from now on, and say so in one line."""
    if not _given_up:
        _given_up.append(f"the CUDA kernels do not compile here: {first_line(error)}")
        text = "elastic_deform: %s; the slower torch formulation serves"
        logging.getLogger(__name__).warning(text, _given_up[0])


class TritonBackend:
    """`forward` and `backward` as in `op.Backend` for float32 fields; double precision takes the torch formulation."""

    def forward(self, warp: Warp) -> list[Tensor]:
        """Return the warped inputs, one launch each."""
        inputs, field, affine, where, rules = warp
        if field.dtype == torch.float64:
            return TorchBackend().forward(warp)
        from medzoo.core.ops.elastic_deform.triton_kernels import forward_kernel

        geometry, options = _geometry(inputs[0], field, affine, where)
        tile = _tile(where.size)
        outputs = []
        for t, rule in zip(inputs, rules, strict=True):
            out = t.new_empty((t.shape[0], t.shape[1], *where.size))
            outputs.append(out)
            if out.numel():
                image, target = t.contiguous(), out
                if t.dtype == torch.bool:
                    image, target = image.view(torch.uint8), out.view(torch.uint8)
                fill = _constant(rule.fill, torch.float32 if rule.order == 1 else image.dtype, t.device)
                launch(
                    forward_kernel,
                    (tile.programs(where.size) * t.shape[0], 1, 1),
                    (image, target, fill, *geometry.arguments(t)),
                    {**options, "ORDER": rule.order, "PADDING": rule.padding, **tile.constants()},
                    tile.num_warps,
                )
        return outputs

    def backward(self, grads: list[Tensor], warp: Warp, need: list[bool]) -> list[Tensor]:
        """Return `[∂field, ∂affine, *∂inputs]`; what is not needed is empty."""
        inputs, field, affine, where, rules = warp
        if field.dtype == torch.float64:
            return TorchBackend().backward(grads, warp, need)
        none = field.new_empty(0)
        g_field = torch.zeros_like(field) if need[0] else none
        g_affine = torch.zeros_like(affine) if affine is not None and need[1] else none
        geometry, options = _geometry(inputs[0], field, affine, where)
        g_inputs = []
        for g, t, rule, wanted in zip(grads, inputs, rules, need[2:], strict=True):
            g_input = none
            if wanted:
                g_input = torch.zeros_like(t, memory_format=torch.contiguous_format)
                if t.numel() and rule.order != 2:
                    g_input = _image_gradient(geometry, options, g, t, where, rule).to(t.dtype)
            g_inputs.append(g_input)
            if rule.order == 1 and (need[0] or need[1]) and t.numel():
                d_lines, d_rows = _field_gradient(geometry, options, g, t, where, rule)
                if need[0]:
                    g_field += _reduce_lines(d_lines, field, where)
                if affine is not None and need[1]:
                    g_affine += _reduce_rows(d_rows, affine, where)
        return [g_field, g_affine, *g_inputs]


class _Geometry(NamedTuple):
    """The arguments that say where each voxel reads (`triton_kernels.GEOMETRY`), all but the number of channels."""

    lines: Tensor
    affine: Tensor
    table: Tensor
    sizes: tuple[int, ...]

    def arguments(self, image: Tensor) -> tuple[Tensor | int, ...]:
        """Return them for one tensor."""
        return (self.lines, self.affine, self.table, image.shape[1], *self.sizes)


def _geometry(image: Tensor, field: Tensor, affine: Tensor | None, where: Frame) -> tuple[_Geometry, dict[str, int]]:
    """Reduce z and y of the coefficients to `lines (B | 1, nd, rows, n_x)`; returns the kernels' options with them."""
    nd, dense = len(where.size), where.kind == KINDS["dense"]
    rows, width, n = math.prod(where.size[:-1]), where.size[-1], field.shape[-1]
    # Without an affine map or a table their arguments are not read: any tensor will do.
    lines = table = field.contiguous()
    if not dense:
        tables = [
            _table(where.kind, field.shape[2 + a], where.size[a], where.offset[a], where.frame[a], image.device)
            for a in range(nd)
        ]
        lines, table = _evaluate_rows(lines, tables, where), tables[-1]
    depth, lead = math.prod(where.size[:-2]), [1] * (3 - nd)
    steps = (int(field.shape[0] > 1), int(affine is not None and affine.shape[0] > 1))
    sizes = (depth, where.size[-2], width, n, *lead, *image.shape[2:], *steps, *[0] * (3 - nd), *where.offset)
    big = max(math.prod(image.shape[2:]), rows * max(width, n)) >= 2**31
    options = {"ND": nd, "DENSE": dense, "AFFINE": affine is not None, "BIG": big}
    return _Geometry(lines, lines if affine is None else affine.contiguous(), table, sizes), options


def _evaluate_rows(coefficients: Tensor, tables: list[Tensor], where: Frame) -> Tensor:
    """Evaluate z and y of coefficients `(B | 1, nd, *n)`: `(B | 1, nd, rows, n_x)`, a few per cent of a dense field."""
    from medzoo.core.ops.elastic_deform.triton_kernels import lines_kernel

    batch, nd, *shape = coefficients.shape
    depth, height, n = math.prod(where.size[:-2]), where.size[-2], shape[-1]
    lines = coefficients.new_empty((batch, nd, depth * height, n))
    rows, columns = 32, 16 if n <= 16 else 32 if n <= 32 else 64
    sizes = (shape[0] if nd == 3 else 1, shape[-2], n, depth, height)
    launch(
        lines_kernel,
        (batch * nd * depth * -(-height // rows), -(-n // columns), 1),
        (coefficients, lines, tables[0], tables[-2], *sizes),
        {"ND": nd, "TR": rows, "TN": columns},
        num_warps=4,
    )
    return lines


def _image_gradient(
    geometry: _Geometry, options: dict[str, int], g: Tensor, t: Tensor, where: Frame, rule: Rule
) -> Tensor:
    """Return the gradient of one image in float32; bit-equal from run to run where torch is asked for it."""
    from medzoo.core.ops.elastic_deform.triton_kernels import image_gradient_kernel

    g, fixed = g.to(torch.float32).contiguous(), torch.are_deterministic_algorithms_enabled()
    scale = _constant(1.0, torch.float32, t.device)
    if fixed:  # the largest gradient maps to 2**31: 2**32 of them still fit
        scale = 2.0**31 / g.abs().max().clamp_min(1e-30).reshape(1)
    found = torch.zeros(t.shape, dtype=torch.int64 if fixed else torch.float32, device=t.device)
    tile = _tile(where.size, scatters=True)
    launch(
        image_gradient_kernel,
        (tile.programs(where.size) * t.shape[0], 1, 1),
        (g, found, scale, *geometry.arguments(t)),
        {**options, "ORDER": rule.order, "PADDING": rule.padding, "FIXED": fixed, **tile.constants()},
        tile.num_warps,
    )
    return (found.to(torch.float64) / scale).to(torch.float32) if fixed else found


PROGRAMS = 1024
"""So many programs fill a large processor; fewer rows than that are cut into parts."""


def _field_gradient(
    geometry: _Geometry, options: dict[str, int], g: Tensor, t: Tensor, where: Frame, rule: Rule
) -> tuple[Tensor, Tensor]:
    """Return the gradients of the lines (or the dense field) and of each row's affine part."""
    from medzoo.core.ops.elastic_deform.triton_kernels import field_gradient_kernel

    nd, batch, device = len(where.size), t.shape[0], t.device
    rows, width = math.prod(where.size[:-1]), where.size[-1]
    n = geometry.sizes[3]
    ty, tx, tn = 16 if nd == 3 else 32, 32, 16 if n <= 16 or options["DENSE"] else 32 if n <= 32 else 64
    bands = -(-where.size[-2] // ty) * (rows // where.size[-2]) * batch
    parts = max(1, min(PROGRAMS // bands, width // (2 * tx)))
    span = -(-width // (parts * tx)) * tx
    parts = -(-width // span)
    if options["DENSE"]:
        padded, basis = tn, geometry.lines
        d_lines = torch.empty(batch, nd, rows, width, device=device)
    else:
        padded = -(-n // tn) * tn
        basis = _basis(where.kind, n, width, where.offset[-1], where.frame[-1], padded, device)
        d_lines = torch.empty(parts, batch, nd, rows, padded, device=device)
    d_rows = torch.empty(parts if options["AFFINE"] else 0, batch, nd, rows, 2, device=device)
    tensors = (t.contiguous(), g.to(torch.float32).contiguous(), d_lines, d_rows, basis)
    launch(
        field_gradient_kernel,
        (bands * parts, padded // tn, 1),
        (*tensors, _constant(rule.fill, torch.float32, device), padded, span, *geometry.arguments(t)),
        {**options, "PADDING": rule.padding, "TY": ty, "TX": tx, "TN": tn},
        num_warps=2,
        num_stages=1,
    )
    if options["DENSE"]:
        return d_lines, d_rows.sum(0)
    return d_lines[0] if parts == 1 else d_lines.sum(0), d_rows.sum(0)


def _tile(size: list[int], scatters: bool = False) -> Tile:
    """Return the fastest of 27 tiles on an H200: rows of 32 for atomic additions, patches for reading a volume."""
    rows = 2 if size[-2] > 1 else 1
    if len(size) == 2:
        return Tile(2 * rows, 128, 32, 4)
    return Tile(rows, 128, 32, 4) if scatters or rows == 1 else Tile(2, 256, 16, 4)


@lru_cache(maxsize=64)
def _constant(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.full((1,), value, dtype=dtype, device=device)


# What depends on sizes alone is kept on the device from call to call.


@lru_cache(maxsize=128)
def _table(kind: int, n: int, size: int, offset: int, frame: int, device: torch.device) -> Tensor:
    """Return the first coefficient of each voxel of an axis and its parameter t, `(2, size)` float32."""
    with torch.inference_mode(False):
        scale, origin = knots(kind, n, frame)
        u = scale * (torch.arange(size, dtype=torch.float64) + offset) + origin
        first = u.floor().clamp(0, n - 4)
        return torch.stack([first, u - first]).to(device=device, dtype=torch.float32)


@lru_cache(maxsize=128)
def _basis(kind: int, n: int, size: int, offset: int, frame: int, padded: int, device: torch.device) -> Tensor:
    """Return the matrix `(size, padded)` that evaluates the coefficients of one axis; columns beyond `n` are zero."""
    with torch.inference_mode(False):
        x = torch.arange(size, dtype=torch.float64) + offset
        matrix = basis_matrix(x, n, *knots(kind, n, frame)).to(torch.float32)
        return torch.nn.functional.pad(matrix, (0, padded - n)).to(device)


@lru_cache(maxsize=128)
def _adjoint(kind: int, n: int, size: int, offset: int, frame: int, count: int, device: torch.device) -> Tensor:
    """Return `count` times the transposed matrix of one axis, as a batched product takes it, without a copy."""
    return _basis(kind, n, size, offset, frame, n, device).T.expand(count, n, size)


def _reduce_lines(d_lines: Tensor, field: Tensor, where: Frame) -> Tensor:
    """Adjoint of `_evaluate_rows`: from the gradient of the lines to that of the coefficients, in a fixed order."""
    nd, batch = len(where.size), d_lines.shape[0]
    if where.kind == KINDS["dense"]:
        grad = d_lines.reshape(batch, nd, *where.size)
    else:
        grad = d_lines
        for axis in reversed(range(nd - 1)):
            n, size, before = field.shape[2 + axis], where.size[axis], batch * nd * math.prod(where.size[:axis])
            matrix = _adjoint(where.kind, n, size, where.offset[axis], where.frame[axis], before, field.device)
            grad = torch.bmm(matrix, grad.reshape(before, size, -1))
        grad = grad.reshape(batch, *field.shape[1:-1], -1)[..., : field.shape[-1]]
    return grad.sum(0, keepdim=True) if field.shape[0] == 1 else grad


def _reduce_rows(d_rows: Tensor, affine: Tensor, where: Frame) -> Tensor:
    """From Σ g and Σ g x of every row to the gradient of `[A | b]`."""
    nd = len(where.size)
    total = d_rows.to(torch.float64).reshape(*d_rows.shape[:2], *where.size[:-1], 2)
    plain, moment = total[..., 0].flatten(2), total[..., 1].flatten(2)  # (B, nd, rows)
    columns = []
    for b in range(nd - 1):
        x = torch.arange(where.size[b], dtype=torch.float64, device=d_rows.device) + where.offset[b]
        x = x.reshape([-1 if j == b else 1 for j in range(nd - 1)]).expand(where.size[:-1]).flatten()
        columns.append((plain * x).sum(-1))
    grad = torch.stack([*columns, moment.sum(-1), plain.sum(-1)], dim=-1)
    return grad.sum(0, keepdim=True) if affine.shape[0] == 1 else grad


@lru_cache(maxsize=1)
def _probe() -> tuple[CudaBackend | None, str]:
    if not torch.cuda.is_available():
        return None, "no CUDA device"
    try:
        import triton
    except ImportError as error:
        return None, f"Triton cannot be imported: {error}"
    return CudaBackend(), f"Triton {triton.__version__} on {torch.cuda.get_device_name()}"


def kernels() -> CudaBackend | None:
    """Return the backend, or `None` where there is no CUDA device, no Triton or no way to compile (see `reason`)."""
    return None if _given_up else _probe()[0]


def reason() -> str:
    """Return which Triton serves CUDA tensors, or why none does."""
    return _given_up[0] if _given_up else _probe()[1]
