"""Checks of arguments at the public door: every message names the argument, what was expected and what came."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medzoo.core.ops.elastic_deform.cpu import LARGEST
from medzoo.core.ops.elastic_deform.sampling import ORDERS, PADDINGS, Rule
from medzoo.core.ops.elastic_deform.spline import KINDS

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)


def check_inputs(inputs: Sequence[Tensor], name: str = "input") -> int:
    """Check the tensors to warp against each other and return the number of spatial axes."""
    if not inputs:
        raise ValueError(f"{name} is an empty list, expected at least one tensor (B, C, *S)")
    for t in inputs:
        if not isinstance(t, Tensor):
            raise TypeError(f"{name} must be a tensor or a list of tensors, got {type(t).__name__}")
        if t.dtype not in FLOATS + INTEGERS:
            raise TypeError(f"{name} has dtype {t.dtype}, expected a real float of 16 to 64 bits, an integer or bool")
        if t.ndim not in (4, 5):
            raise ValueError(f"{name} must have shape (B, C, H, W) or (B, C, D, H, W), got {tuple(t.shape)}")
    first = inputs[0]
    for t in inputs:
        if t.shape[0] != first.shape[0] or t.shape[2:] != first.shape[2:]:
            raise ValueError(
                f"{name}: tensors must agree in batch and spatial size, got {tuple(first.shape)} and {tuple(t.shape)}"
            )
        if t.device != first.device:
            raise ValueError(f"{name}: all tensors must be on one device, got {first.device} and {t.device}")
    if first.shape[0] < 1 or min(first.shape[2:]) < 1:
        raise ValueError(f"{name} must have at least one sample and one voxel, got shape {tuple(first.shape)}")
    if max(first.shape[2:]) >= LARGEST:
        raise ValueError(
            f"{name} must be smaller than {LARGEST} voxels along each axis, got shape {tuple(first.shape)}"
        )
    return first.ndim - 2


def check_kind(spline: str) -> int:
    """Return the number of a parametrisation."""
    if spline not in ("interpolate", "coefficients"):
        raise ValueError(f"spline must be 'interpolate' or 'coefficients', got {spline!r}")
    return KINDS[spline]


def check_control(control: Tensor, nd: int, batch: int | None, *, name: str = "control") -> None:
    """Check a control grid `(B | 1, nd, *G)`."""
    _check_float(control, name)
    if control.ndim != nd + 2 or control.shape[1] != nd:
        grid = ", ".join("DHW"[3 - nd :])
        raise ValueError(f"{name} must have shape (B, {nd}, {grid}) for {nd} spatial axes, got {tuple(control.shape)}")
    if min(control.shape[2:]) < 4:
        raise ValueError(f"{name} needs at least 4 control points along each axis, got {tuple(control.shape[2:])}")
    check_batch(control, batch, name)


def check_affine(affine: Tensor, nd: int, batch: int | None) -> None:
    """Check an affine `(B | 1, nd, nd + 1)`."""
    _check_float(affine, "affine")
    if affine.ndim != 3 or affine.shape[1:] != (nd, nd + 1):
        raise ValueError(f"affine must have shape (B, {nd}, {nd + 1}), got {tuple(affine.shape)}")
    check_batch(affine, batch, "affine")


def check_batch(tensor: Tensor, batch: int | None, name: str) -> None:
    """Check that the first axis is the batch (or 1, to be shared by all samples)."""
    if tensor.shape[0] < 1 or (batch is not None and tensor.shape[0] not in (1, batch)):
        raise ValueError(f"{name} must have a batch of {batch or 'at least 1'} or 1, got {tensor.shape[0]}")


def _check_float(tensor: Tensor, name: str) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
    if tensor.dtype not in FLOATS:
        raise TypeError(f"{name} must be a floating-point tensor, got {tensor.dtype}")


def check_finite(tensor: Tensor | None, name: str) -> None:
    """Refuse NaN and infinity; skipped on devices (it would wait for them) and while tracing."""
    if tensor is None or tensor.device.type != "cpu" or torch.compiler.is_compiling():
        return
    if not bool(torch.isfinite(tensor.detach()).all()):
        raise ValueError(f"{name} must be finite, got NaN or infinity")


def check_size(size: Sequence[int], nd: int, name: str, least: int = 1) -> list[int]:
    """Return `size` as a list of `nd` integers."""
    if isinstance(size, int | str) or len(size) != nd:
        raise ValueError(f"{name} must hold {nd} integers, got {size!r}")
    values = list(size)
    for v in values:
        if isinstance(v, float | bool) or not least <= v < LARGEST:
            raise ValueError(f"{name} must hold integers from {least} to {LARGEST - 1}, got {values}")
    return values


def check_window(offset: Sequence[int], size: list[int], size_in: list[int]) -> list[int]:
    """Return `offset` as a list after checking that the window lies within the input, where the field is defined."""
    start = check_size(offset, len(size), "offset", least=1 - LARGEST)
    for o, n, full in zip(start, size, size_in, strict=True):
        if o < 0 or o + n > full:
            raise ValueError(
                f"offset {start} with output size {size} leaves the input of {size_in}; to pad, omit offset"
            )
    return start


def rules_for(inputs: Sequence[Tensor], order: object, padding: object) -> list[Rule]:
    """Return the sampling rule of each tensor from values for all or a list with one for each."""
    orders = _per_tensor(order, len(inputs), "order")
    paddings = _per_tensor(padding, len(inputs), "padding")
    return [_rule(t, o, p) for t, o, p in zip(inputs, orders, paddings, strict=True)]


def _per_tensor(value: object, n: int, name: str) -> list[object]:
    if not isinstance(value, list | tuple):
        return [value] * n
    if len(value) != n:
        raise ValueError(f"{name} must be one value or one for each of the {n} tensors, got {len(value)}")
    return list(value)


def _rule(tensor: Tensor, order: object, padding: object) -> Rule:
    if isinstance(order, bool) or not isinstance(order, int | str) or order not in ORDERS:
        raise ValueError(f"order must be 0 (nearest), 1 (linear) or 'label', got {order!r}")
    number = ORDERS[order]
    if isinstance(padding, str):
        if padding not in ("border", "zeros", "reflection"):
            raise ValueError(f"padding must be 'border', 'zeros', 'reflection' or a number, got {padding!r}")
        return Rule(number, PADDINGS["constant" if padding == "zeros" else padding], 0.0)
    if isinstance(padding, bool) or not isinstance(padding, int | float):
        raise TypeError(f"padding must be 'border', 'zeros', 'reflection' or a number, got {padding!r}")
    if number != 1 and tensor.dtype in INTEGERS:
        low, high = (
            (0, 1) if tensor.dtype == torch.bool else (torch.iinfo(tensor.dtype).min, torch.iinfo(tensor.dtype).max)
        )
        if (
            padding != padding
            or padding in (float("inf"), -float("inf"))
            or int(padding) != padding
            or not low <= padding <= high
        ):
            raise ValueError(f"padding {padding} is not a value of {tensor.dtype}, the dtype of the tensor it fills")
        if abs(padding) > 2**53:
            raise ValueError(f"padding {padding} is not exact in double precision, expected at most 2**53 in size")
    return Rule(number, PADDINGS["constant"], float(padding))
