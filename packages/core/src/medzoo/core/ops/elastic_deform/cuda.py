"""The CUDA backend: prepares rows of coefficients with small matrix products and launches the Triton kernels."""

from __future__ import annotations

import logging
import math
import subprocess
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from medzoo.core.errors import first_line
from medzoo.core.ops.elastic_deform.fallback import TorchBackend
from medzoo.core.ops.elastic_deform.sampling import Frame, Rule
from medzoo.core.ops.elastic_deform.spline import KINDS, basis_matrix, knots


class _Launch(NamedTuple):
    """Arguments that all kernels share."""

    lines: Tensor
    affine: Tensor
    spans: Tensor
    ts: Tensor
    sizes: tuple[int, ...]
    nd: int
    dense: bool
    has_affine: bool


class CudaBackend:
    """The kernels on the device of their tensors; the torch formulation where they do not compile, said once."""

    def forward(
        self, inputs: list[Tensor], field: Tensor, affine: Tensor | None, where: Frame, rules: list[Rule]
    ) -> list[Tensor]:
        """Return the warped inputs."""
        try:
            with torch.cuda.device_of(field):
                return TritonBackend().forward(inputs, field, affine, where, rules)
        except _build_errors() as error:
            _give_up(error)
            return TorchBackend().forward(inputs, field, affine, where, rules)

    def backward(
        self,
        grads: list[Tensor],
        inputs: list[Tensor],
        field: Tensor,
        affine: Tensor | None,
        where: Frame,
        rules: list[Rule],
        need: list[bool],
    ) -> list[Tensor]:
        """Return `[∂field, ∂affine, *∂inputs]`; what is not needed is empty."""
        try:
            with torch.cuda.device_of(field):
                return TritonBackend().backward(grads, inputs, field, affine, where, rules, need)
        except _build_errors() as error:
            _give_up(error)
            return TorchBackend().backward(grads, inputs, field, affine, where, rules, need)


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

    def forward(
        self, inputs: list[Tensor], field: Tensor, affine: Tensor | None, where: Frame, rules: list[Rule]
    ) -> list[Tensor]:
        """Return the warped inputs, one launch each."""
        from medzoo.core.ops.elastic_deform import triton_kernels

        if field.dtype == torch.float64:
            return TorchBackend().forward(inputs, field, affine, where, rules)
        launch = _prepare(inputs[0], field, affine, where)
        outputs = []
        for t, rule in zip(inputs, rules, strict=True):
            out = t.new_empty(t.shape[0], t.shape[1], *where.size)
            outputs.append(out)
            if out.numel():
                image, target = (
                    (t.contiguous().view(torch.uint8), out.view(torch.uint8))
                    if t.dtype == torch.bool
                    else (t.contiguous(), out)
                )
                rows, width = launch.sizes[0], launch.sizes[2]
                ty, tx = _tile(width)
                fill = _constant(rule.fill, torch.float32 if rule.order == 1 else image.dtype, t.device)
                triton_kernels.forward_kernel[(-(-rows // ty) * -(-width // tx) * t.shape[0],)](
                    image, target, launch.lines, launch.affine, launch.spans, launch.ts, fill, t.shape[1],
                    *launch.sizes, ND=launch.nd, DENSE=launch.dense, AFFINE=launch.has_affine, ORDER=rule.order,
                    PADDING=rule.padding, TY=ty, TX=tx, num_warps=4,
                )  # fmt: skip
        return outputs

    def backward(
        self,
        grads: list[Tensor],
        inputs: list[Tensor],
        field: Tensor,
        affine: Tensor | None,
        where: Frame,
        rules: list[Rule],
        need: list[bool],
    ) -> list[Tensor]:
        """Return `[∂field, ∂affine, *∂inputs]`; what is not needed is empty."""
        if field.dtype == torch.float64:
            return TorchBackend().backward(grads, inputs, field, affine, where, rules, need)
        launch = _prepare(inputs[0], field, affine, where)
        none = field.new_empty(0)
        g_field = torch.zeros_like(field) if need[0] else none
        g_affine = torch.zeros_like(affine) if affine is not None and need[1] else none
        g_inputs = []
        for g, t, rule, wanted in zip(grads, inputs, rules, need[2:], strict=True):
            result = torch.zeros_like(t, memory_format=torch.contiguous_format) if wanted else none
            linear = rule.order == 1 and (need[0] or need[1])
            if t.numel() and (linear or (wanted and rule.order != 2)):
                d_image, d_lines, d_rows = self._scatter(launch, g, t, where, rule, wanted, linear)
                if wanted:
                    result = d_image.to(t.dtype)
                if linear and need[0]:
                    g_field += _reduce_lines(d_lines, field, where)
                if linear and affine is not None and need[1]:
                    g_affine += _reduce_rows(d_rows, affine, where)
            g_inputs.append(result)
        return [g_field, g_affine, *g_inputs]

    def _scatter(
        self, launch: _Launch, g: Tensor, t: Tensor, where: Frame, rule: Rule, wanted: bool, linear: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of the image, of the lines (or the dense field) and the sums of each row."""
        from medzoo.core.ops.elastic_deform import triton_kernels

        g, device = g.to(torch.float32).contiguous(), t.device
        rows, width, batch = launch.sizes[0], launch.sizes[2], t.shape[0]
        fixed = torch.are_deterministic_algorithms_enabled()
        scale = _constant(1.0, torch.float32, device)
        if fixed:  # the largest gradient maps to 2**31: 2**32 of them still fit
            scale = 2.0**31 / g.abs().max().clamp_min(1e-30).reshape(1)
        d_image = torch.zeros(t.shape if wanted else (1,), dtype=torch.int64 if fixed else torch.float32, device=device)
        d_lines, d_rows = torch.empty(1, device=device), torch.empty(1, device=device)
        common: dict[str, Any] = {
            "ND": launch.nd,
            "DENSE": launch.dense,
            "AFFINE": launch.has_affine,
            "PADDING": rule.padding,
            "FIXED": fixed,
        }
        if rule.order == 0:
            ty, tx = _tile(width)
            triton_kernels.nearest_backward_kernel[(-(-rows // ty) * -(-width // tx) * batch,)](
                g, d_image, launch.lines, launch.affine, launch.spans, launch.ts, scale, t.shape[1], *launch.sizes,
                TY=ty, TX=tx, num_warps=4, **common,
            )  # fmt: skip
        else:
            tn, padded = 16, 16
            basis = _constant(0.0, torch.float32, device)
            if launch.dense:
                d_lines = torch.empty(batch, launch.nd, rows, width, device=device)
            else:
                n = launch.sizes[3]
                tn = 16 if n <= 16 else 32 if n <= 32 else 64
                padded = -(-n // tn) * tn
                d_lines = torch.empty(batch, launch.nd, rows, padded, device=device)
                basis = _tables(where.kind, n, width, where.offset[-1], where.frame[-1], padded, device).basis
            d_rows = torch.empty(batch, launch.nd, rows, 2, device=device)
            fill = _constant(rule.fill, torch.float32, device)
            triton_kernels.backward_kernel[(-(-rows // 16) * batch, padded // tn)](
                t.contiguous(), g, d_image, d_lines, d_rows, launch.lines, launch.affine, launch.spans, launch.ts,
                basis, fill, scale, t.shape[1], *launch.sizes[:4], padded, *launch.sizes[4:],
                NEED_IMAGE=wanted, NEED_FIELD=linear, TY=16, TX=32, TN=tn, num_warps=4, **common,
            )  # fmt: skip
        return (d_image.to(torch.float64) / scale).to(torch.float32) if fixed else d_image, d_lines, d_rows


def _tile(width: int) -> tuple[int, int]:
    """Rows and columns of a program: 512 voxels, wide where the image is."""
    return (4, 128) if width > 64 else (8, 64) if width > 32 else (16, 32)


@lru_cache(maxsize=64)
def _constant(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.full((1,), value, dtype=dtype, device=device)


class _Tables(NamedTuple):
    """What depends on sizes alone, kept on the device from call to call."""

    matrix: Tensor
    """`(size, n)`: evaluates the coefficients of one axis."""
    basis: Tensor
    """The same with columns of zeros up to a whole number of tiles."""
    spans: Tensor
    ts: Tensor


@lru_cache(maxsize=128)
def _tables(kind: int, n: int, size: int, offset: int, frame: int, padded: int, device: torch.device) -> _Tables:
    with torch.inference_mode(False):
        x = torch.arange(size, dtype=torch.float64) + offset
        scale, origin = knots(kind, n, frame)
        u = scale * x + origin
        first = u.floor().clamp(0, n - 4)
        matrix = basis_matrix(x, n, scale, origin).to(torch.float32)
        basis = torch.nn.functional.pad(matrix, (0, padded - n))
        tables = (matrix, basis, first.to(torch.int32), (u - first).to(torch.float32))
        return _Tables(*(t.contiguous().to(device) for t in tables))


@lru_cache(maxsize=128)
def _matrix(
    kind: int, n: int, size: int, offset: int, frame: int, count: int, transposed: bool, device: torch.device
) -> Tensor:
    """Return `count` times the matrix of one axis, as a batched product takes it, without a copy."""
    matrix = _tables(kind, n, size, offset, frame, n, device).matrix
    return (matrix.T if transposed else matrix).expand(count, *((n, size) if transposed else (size, n)))


def _prepare(image: Tensor, field: Tensor, affine: Tensor | None, where: Frame) -> _Launch:
    """Reduce z and y of the coefficients to `lines (B | 1, nd, rows, n_x)`, a few per cent of a dense field."""
    nd, device = len(where.size), image.device
    dense = where.kind == KINDS["dense"]
    rows, width = math.prod(where.size[:-1]), where.size[-1]
    zero = _constant(0.0, torch.float32, device)
    spans, ts, lines, n = _constant(0, torch.int32, device), zero, field.contiguous(), width
    if not dense:
        n = field.shape[-1]
        spans, ts = _tables(where.kind, n, width, where.offset[-1], where.frame[-1], n, device)[2:]
        before = lines.shape[0] * nd
        for axis in range(nd - 1):
            g, m = field.shape[2 + axis], where.size[axis]
            matrix = _matrix(where.kind, g, m, where.offset[axis], where.frame[axis], before, False, device)
            lines = torch.bmm(matrix, lines.view(before, g, -1))
            before *= m
    lead = [1] * (3 - nd)
    sizes = (
        rows,
        where.size[-2],
        width,
        n,
        *lead,
        *image.shape[2:],
        int(field.shape[0] > 1),
        int(affine is not None and affine.shape[0] > 1),
        *[0] * (3 - nd),
        *where.offset,
    )
    full = _constant(0.0, torch.float64, device) if affine is None else affine.contiguous()
    return _Launch(lines, full, spans, ts, sizes, nd, dense, affine is not None)


def _reduce_lines(d_lines: Tensor, field: Tensor, where: Frame) -> Tensor:
    """Adjoint of `_prepare`: from the gradient of the lines to that of the coefficients, in a fixed order."""
    nd, device = len(where.size), field.device
    if where.kind == KINDS["dense"]:
        grad = d_lines.reshape(d_lines.shape[0], d_lines.shape[1], *where.size)
    else:
        n = field.shape[-1]
        grad = d_lines[..., :n].reshape(*d_lines.shape[:2], *where.size[:-1], n)
        for axis in reversed(range(nd - 1)):
            g, m = field.shape[2 + axis], where.size[axis]
            before = d_lines.shape[0] * nd * math.prod(where.size[:axis])
            matrix = _matrix(where.kind, g, m, where.offset[axis], where.frame[axis], before, True, device)
            grad = torch.bmm(matrix, grad.reshape(before, m, -1))
        grad = grad.reshape(d_lines.shape[0], *field.shape[1:])
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
