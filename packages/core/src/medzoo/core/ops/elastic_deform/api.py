"""The functions: warp tensors by a spline field, an affine map or a dense field; look at the field."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import overload

import torch
from torch import Tensor

from medzoo.core.ops.elastic_deform import checks, cpu, cuda
from medzoo.core.ops.elastic_deform.op import elastic_warp, native_backend
from medzoo.core.ops.elastic_deform.sampling import Frame, Rule, Warp, sample
from medzoo.core.ops.elastic_deform.spline import KINDS, coefficients, evaluate, evaluate_gradient
from medzoo.core.seams import watched

Order = int | str
Padding = str | float
BACKENDS = ("auto", "torch", "cpp", "triton")


@overload
def elastic_deform(
    input: Tensor,
    control: Tensor | None = ...,
    *,
    spline: str = ...,
    order: Order | Sequence[Order] = ...,
    padding: Padding | Sequence[Padding] = ...,
    affine: Tensor | None = ...,
    out_size: Sequence[int] | None = ...,
    offset: Sequence[int] | None = ...,
    backend: str = ...,
) -> Tensor: ...
@overload
def elastic_deform(
    input: Sequence[Tensor],
    control: Tensor | None = ...,
    *,
    spline: str = ...,
    order: Order | Sequence[Order] = ...,
    padding: Padding | Sequence[Padding] = ...,
    affine: Tensor | None = ...,
    out_size: Sequence[int] | None = ...,
    offset: Sequence[int] | None = ...,
    backend: str = ...,
) -> list[Tensor]: ...
def elastic_deform(
    input: Tensor | Sequence[Tensor],  # noqa: A002
    control: Tensor | None = None,
    *,
    spline: str = "interpolate",
    order: Order | Sequence[Order] = 1,
    padding: Padding | Sequence[Padding] = "border",
    affine: Tensor | None = None,
    out_size: Sequence[int] | None = None,
    offset: Sequence[int] | None = None,
    backend: str = "auto",
) -> Tensor | list[Tensor]:
    """Warp images by a cubic B-spline displacement and an affine map in one interpolation.

    Output voxel `x` reads the input at `φ(x) = M (x - c_out) + c_in + τ + d(x)` with `c = (N - 1) / 2`: index space,
    axes in tensor order (z, y, x), displacements in voxels of the input. Differentiable once, to `input`, `control` and
    `affine`.

    Args:
        input: Tensor `(B, C, H, W)` or `(B, C, D, H, W)`, or several with the same batch and size, which then share
            the field.
        control: Control vectors `(B, nd, *G)`, or `(1, nd, *G)` for one field shared by the batch; at least 4 along
            each axis. `None` displaces nothing, for an affine map or a crop alone.
        spline: `"interpolate"`: the field passes through the control vectors, the first and last on the corner voxels;
            `"coefficients"`: they are B-spline coefficients, laid out as in ITK.
        order: 1 linear; 0 nearest; `"label"` the label with the largest share of the linear weights. One, or one a
            tensor.
        padding: Outside the input: `"border"`, `"zeros"`, `"reflection"` or a value. One, or one a tensor.
        affine: `[M | τ]` as `(B, nd, nd + 1)` or `(1, nd, nd + 1)`; `None` is the identity.
        out_size: Size of the output; that of the input if `None`.
        offset: First voxel of the output within the full result: the output is then the window `[offset, offset +
            out_size)` of what a call without both returns, and must lie within it. If `None`, field and affine refer
            to the output itself, which is centred.
        backend: `"auto"`, or `"torch"`, `"cpp"`, `"triton"` to insist on one.

    Returns:
        Warped tensors in the structure of `input`, `(B, C, *out_size)`. Linear sampling keeps floating dtypes (half
        precision is computed in float32) and turns integers into float32; nearest and label keep every dtype.

    Raises:
        ValueError: If shapes, values or options do not fit; the message names the argument.
        TypeError: If an argument has the wrong type or dtype.
    """
    inputs = [input] if isinstance(input, Tensor) else list(input)
    nd = checks.check_inputs(inputs)
    batch, size_in = inputs[0].shape[0], list(inputs[0].shape[2:])
    kind = checks.check_kind(spline)
    rules = checks.rules_for(inputs, order, padding)
    size = size_in if out_size is None else checks.check_size(out_size, nd, "out_size")
    start = [0] * nd if offset is None else checks.check_window(offset, size, size_in)
    frame = size if offset is None else size_in
    if control is not None:
        checks.check_control(control, nd, batch)
    if affine is not None:
        checks.check_affine(affine, nd, batch)
    with _SinglePrecision(inputs[0].device):
        precision = _precision(inputs, rules, control)
        if control is None:
            kind = KINDS["coefficients"]
            field = torch.zeros(1, nd, *_spans(frame), dtype=precision, device=inputs[0].device)
        else:
            field = coefficients(control.to(device=inputs[0].device, dtype=precision), kind)
        moved = _shift(affine, frame, size_in, inputs[0].device)
        outputs = _run(inputs, field, moved, Frame(kind, size, start, frame), rules, backend)
    return outputs[0] if isinstance(input, Tensor) else outputs


def warp(
    input: Tensor,  # noqa: A002
    displacement: Tensor,
    *,
    order: Order = 1,
    padding: Padding = "border",
    offset: Sequence[int] | None = None,
    backend: str = "auto",
) -> Tensor:
    """Warp an image by a dense displacement: output voxel `x` reads the input at `x + offset + d(x)`.

    Args:
        input: `(B, C, *S)`.
        displacement: `(B, nd, *T)` or `(1, nd, *T)` in voxels of the input, axes in tensor order; `T` is the output's
            size. Values beyond 2**28 voxels and NaN read as far outside.
        order: As `elastic_deform`.
        padding: As `elastic_deform`.
        offset: Voxel of the input that lies under the first of the output; zeros if `None`.
        backend: As `elastic_deform`.

    Returns:
        `(B, C, *T)`.
    """
    nd = checks.check_inputs([input])
    rules = checks.rules_for([input], order, padding)
    checks._check_float(displacement, "displacement")
    if displacement.ndim != nd + 2 or displacement.shape[1] != nd or min(displacement.shape[2:]) < 1:
        raise ValueError(f"displacement must have shape (B, {nd}, *size), got {tuple(displacement.shape)}")
    checks.check_batch(displacement, input.shape[0], "displacement")
    start = [0] * nd if offset is None else checks.check_size(offset, nd, "offset", least=1 - cpu.LARGEST)
    size = checks.check_size(list(displacement.shape[2:]), nd, "displacement size")
    with _SinglePrecision(input.device):
        field = displacement.to(device=input.device, dtype=_precision([input], rules, displacement))
        return _run([input], field, None, Frame(KINDS["dense"], size, start, size), rules, backend)[0]


def displacement_field(control: Tensor, size: Sequence[int], spline: str = "interpolate") -> Tensor:
    """Return the displacement `(B, nd, *size)` in voxels that `elastic_deform` evaluates for `control (B, nd, *G)`."""
    nd = len(size)
    checks.check_control(control, nd, None)
    kind = checks.check_kind(spline)
    full = checks.check_size(size, nd, "size")
    with _SinglePrecision(control.device):
        coef = coefficients(control.to(_at_least_float32(control.dtype)), kind)
        return evaluate(coef, kind, full, [0] * nd, full)


def jacobian_determinant(control: Tensor, size: Sequence[int], spline: str = "interpolate") -> Tensor:
    """Return `det(I + ∇d)` at every voxel, `(B, *size)`: positive everywhere where the deformation does not fold."""
    nd = len(size)
    checks.check_control(control, nd, None)
    kind = checks.check_kind(spline)
    full = checks.check_size(size, nd, "size")
    with _SinglePrecision(control.device):
        coef = coefficients(control.to(_at_least_float32(control.dtype)), kind)
        slope = evaluate_gradient(coef, kind, full).movedim(1, -2)  # (B, *size, nd, nd)
        j = slope + torch.eye(nd, dtype=slope.dtype, device=slope.device)
    if nd == 2:
        return j[..., 0, 0] * j[..., 1, 1] - j[..., 0, 1] * j[..., 1, 0]
    volume: Tensor = (j[..., 0, :] * torch.linalg.cross(j[..., 1, :], j[..., 2, :])).sum(-1)
    return volume


def backend_info() -> dict[str, str]:
    """Return which backend serves each device and why; compiles the C++ backend if that was not tried yet."""
    compiled = cpu.library()
    return {
        "cpu": "cpp" if compiled is not None else "torch",
        "cpu reason": cpu.reason(),
        "cuda": "triton" if cuda.kernels() is not None else "torch",
        "cuda reason": cuda.reason(),
    }


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _precision(inputs: Sequence[Tensor], rules: Sequence[Rule], field: Tensor | None) -> torch.dtype:
    """Compute in double where a tensor that is interpolated is double; without one, follow the field."""
    linear = [t.dtype for t, r in zip(inputs, rules, strict=True) if r.order == 1]
    if not linear:
        return torch.float32 if field is None else _at_least_float32(field.dtype)
    return torch.float64 if torch.float64 in linear else torch.float32


def _spans(frame: Sequence[int]) -> list[int]:
    """Return the grid of an empty field: an affine map is linear on a span, short ones along rows keep it accurate."""
    return [4] * (len(frame) - 1) + [frame[-1] // 64 + 4]


def _shift(affine: Tensor | None, frame: Sequence[int], size_in: Sequence[int], device: torch.device) -> Tensor | None:
    """Return `[A | b]` with `A x + b = M (x - c_out) + c_in + τ - x` in float64, or `None` where that is zero.

    Computed where the affine map is: one of the host costs a device one small copy.
    """
    if affine is None:
        return None if list(frame) == list(size_in) else _centring(tuple(frame), tuple(size_in), device)[2]
    about, rest, _ = _centring(tuple(frame), tuple(size_in), affine.device)
    full = affine.to(torch.float64)
    constant = (full * about).sum(-1, keepdim=True)
    return (torch.cat([full[:, :, : len(frame)], constant], dim=2) + rest).to(device)


def _centring(frame: tuple[int, ...], size_in: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return `[-c_out | 1]`, `[-I | c_in]` and the `[A | b]` of the identity map."""
    # A tensor kept from an earlier call cannot enter a traced graph.
    make = _make_centring.__wrapped__ if torch.compiler.is_compiling() else _make_centring
    found: tuple[Tensor, Tensor, Tensor] = make(frame, size_in, device)
    return found


@lru_cache(maxsize=64)
def _make_centring(
    frame: tuple[int, ...], size_in: tuple[int, ...], device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    nd = len(frame)
    with torch.inference_mode(False):
        about = torch.tensor([[[(1 - n) / 2 for n in frame] + [1.0]]], dtype=torch.float64)
        rest, alone = -torch.eye(nd, nd + 1, dtype=torch.float64)[None], torch.zeros(1, nd, nd + 1, dtype=torch.float64)
        rest[0, :, nd] = torch.tensor([(n - 1) / 2 for n in size_in], dtype=torch.float64)
        alone[0, :, nd] = rest[0, :, nd] + about[0, 0, :nd]
        return about.to(device), rest.to(device), alone.to(device)


class _SinglePrecision:
    """Switch autocast off where it is on: displacements in half precision would be wrong by whole voxels."""

    def __init__(self, device: torch.device) -> None:
        on = device.type != "meta" and torch.is_autocast_enabled(device.type)
        self.context = torch.autocast(device.type, enabled=False) if on else None

    def __enter__(self) -> None:
        if self.context is not None:
            self.context.__enter__()

    def __exit__(self, *error: object) -> None:
        if self.context is not None:
            self.context.__exit__(*error)


def _run(
    inputs: Sequence[Tensor], field: Tensor, affine: Tensor | None, where: Frame, rules: Sequence[Rule], backend: str
) -> list[Tensor]:
    ready = [t.to(field.dtype) if r.order == 1 else t for t, r in zip(inputs, rules, strict=True)]
    if _use_torch(backend, field.device):
        checks.check_finite(field if where.kind != KINDS["dense"] else None, "control")
        checks.check_finite(affine, "affine")
        outputs = sample(Warp(ready, field, affine, where, list(rules)))
    else:
        orders, paddings, fills = [r.order for r in rules], [r.padding for r in rules], [r.fill for r in rules]
        warp_now = elastic_warp if _alone([*ready, field, affine]) else torch.ops.medzoo.elastic_warp
        outputs = warp_now(
            ready, field, affine, where.kind, where.size, where.offset, where.frame, orders, paddings, fills
        )
    return [o.to(t.dtype) if t.is_floating_point() else o for o, t in zip(outputs, inputs, strict=True)]


def _alone(tensors: Sequence[Tensor | None]) -> bool:
    """Return whether nothing needs torch's dispatcher, which takes as long as a small launch."""
    grad = torch.is_grad_enabled()
    return not watched() and all(t is None or (type(t) is Tensor and not (grad and t.requires_grad)) for t in tensors)


def _use_torch(backend: str, device: torch.device) -> bool:
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    if backend == "torch":
        return True
    if backend == "auto":
        # In a traced graph the operator decides when it runs; eagerly the torch formulation differentiates without it.
        return not torch.compiler.is_compiling() and native_backend(device) is None
    expected = {"cpp": "cpu", "triton": "cuda"}[backend]
    if device.type != expected:
        raise ValueError(f"backend {backend!r} works on {expected} tensors, got input on {device}")
    if not torch.compiler.is_compiling() and native_backend(device) is None:
        raise ValueError(
            f"backend {backend!r} is not available: {cpu.reason() if expected == 'cpu' else cuda.reason()}"
        )
    return False
