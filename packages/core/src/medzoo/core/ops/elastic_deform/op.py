"""Registration with `torch.library`: schema, fake kernels, autograd, and one backend per device (see `sampling.Warp`).

`inputs` are `(B, C, *S)`; `field` holds coefficients `(B | 1, nd, *n)` or displacements `(B | 1, nd, *size)` by
`kind` (see `spline.KINDS`); `affine (B | 1, nd, nd + 1)` float64 is added to the displacement as `affine · [x, 1]`;
`orders`, `paddings` and `fills` hold one value per input (see `sampling.ORDERS`, `sampling.PADDINGS`).
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from medzoo.core.ops.elastic_deform import cpu, cuda
from medzoo.core.ops.elastic_deform.fallback import TorchBackend
from medzoo.core.ops.elastic_deform.sampling import Frame, Rule, Warp
from medzoo.core.ops.elastic_deform.spline import KINDS

_WHERE = (
    "Tensor field, Tensor? affine, int kind, SymInt[] size, SymInt[] offset, SymInt[] frame, "
    "int[] orders, int[] paddings, float[] fills"
)
_NAME = "medzoo::elastic_warp"
_BACKWARD = "medzoo::elastic_warp_backward"
_KIND_NUMBERS = frozenset(KINDS.values())


class Backend(Protocol):
    """What a compiled implementation offers; arguments as in the schema."""

    def forward(self, warp: Warp) -> list[Tensor]:
        """Return the warped inputs."""
        ...

    def backward(self, grads: list[Tensor], warp: Warp, need: list[bool]) -> list[Tensor]:
        """Return `[∂field, ∂affine, *∂inputs]`, an empty tensor where `need` (in the same order) is false."""
        ...


def native_backend(device: torch.device) -> Backend | None:
    """Return the compiled backend that serves a device now, or `None` where the torch formulation does."""
    return {"cpu": cpu.library, "cuda": cuda.kernels}.get(device.type, lambda: None)()


def _choose(warp: Warp) -> Backend:
    # No public function asks for both; the compiled code leaves it out.
    both = warp.where.kind == KINDS["dense"] and warp.affine is not None
    return (None if both else native_backend(warp.field.device)) or TorchBackend()


def _verify(warp: Warp) -> None:
    """Refuse what would make compiled code read out of bounds: the operator can be called directly."""
    inputs, field, affine, where, rules = warp
    kind, size, offset, frame = where
    nd, shape, grid, device = len(size), inputs[0].shape, list(field.shape), field.device
    batch, size_in, precision = shape[0], shape[2:], field.dtype
    if kind not in _KIND_NUMBERS or nd not in (2, 3) or not len(offset) == len(frame) == nd:
        raise ValueError(f"kind, size, offset and frame do not fit each other: {where}")
    if min(size) < 1 or max(*size, *size_in) >= cpu.LARGEST or max(map(abs, offset)) >= cpu.LARGEST:
        raise ValueError(f"size and offset must be positive and below {cpu.LARGEST}, got {where}")
    fits = grid[2:] == size if kind == 0 else len(grid) == nd + 2 and min(grid[2:]) >= 4
    if precision not in (torch.float32, torch.float64) or grid[0] not in (1, batch) or grid[1] != nd or not fits:
        raise ValueError(f"field of shape {tuple(grid)} and {precision} does not fit {where} and a batch of {batch}")
    if affine is not None:
        rows = affine.shape
        if (
            affine.dtype != torch.float64
            or affine.device != device
            or rows[0] not in (1, batch)
            or rows[1:] != (nd, nd + 1)
        ):
            raise ValueError(
                f"affine must be float64 (B | 1, {nd}, {nd + 1}) on {device}, got {affine.dtype} {tuple(rows)}"
            )
    for t, rule in zip(inputs, rules, strict=True):
        own = t.shape
        if len(own) != nd + 2 or own[0] != batch or own[2:] != size_in or t.numel() == 0 < own[1] or t.device != device:
            raise ValueError(f"inputs must agree in batch and size, be on {device} and not be empty, got {tuple(own)}")
        if rule.order not in (0, 1, 2) or rule.padding not in (0, 1, 2) or (rule.order == 1 and t.dtype != precision):
            raise ValueError(f"{rule} does not fit a tensor of {t.dtype} and a field of {precision}")


def _rules(orders: list[int], paddings: list[int], fills: list[float]) -> list[Rule]:
    return [Rule(*rule) for rule in zip(orders, paddings, fills, strict=True)]


def elastic_warp(
    inputs: list[Tensor],
    field: Tensor,
    affine: Tensor | None,
    kind: int,
    size: list[int],
    offset: list[int],
    frame: list[int],
    orders: list[int],
    paddings: list[int],
    fills: list[float],
) -> list[Tensor]:
    """Warp `inputs` without gradients; arguments as in the schema.

    Raises:
        ValueError: If shapes, dtypes or numbers do not fit each other.
    """
    warp = Warp(inputs, field, affine, Frame(kind, size, offset, frame), _rules(orders, paddings, fills))
    _verify(warp)
    return _choose(warp).forward(warp)


def _backward(
    grads: list[Tensor],
    inputs: list[Tensor],
    field: Tensor,
    affine: Tensor | None,
    kind: int,
    size: list[int],
    offset: list[int],
    frame: list[int],
    orders: list[int],
    paddings: list[int],
    fills: list[float],
    need: list[bool],
) -> list[Tensor]:
    warp = Warp(inputs, field, affine, Frame(kind, size, offset, frame), _rules(orders, paddings, fills))
    _verify(warp)
    for g, t in zip(grads, inputs, strict=True):
        if list(g.shape) != [*t.shape[:2], *size]:
            raise ValueError(
                f"grads must have the shape of the outputs, got {tuple(g.shape)} for {tuple(t.shape)} and size {size}"
            )
    return _choose(warp).backward([g.contiguous() for g in grads], warp, need)


def _fake_forward(
    inputs: list[Tensor], field: Tensor, affine: Tensor | None, kind: int, size: list[int], *_: Any
) -> list[Tensor]:
    return [t.new_empty(t.shape[0], t.shape[1], *size) for t in inputs]


def _fake_backward(
    grads: list[Tensor], inputs: list[Tensor], field: Tensor, affine: Tensor | None, *rest: Any
) -> list[Tensor]:
    wanted = zip([field, affine, *inputs], rest[-1], strict=True)
    return [field.new_empty(0) if t is None or not n else t.new_empty(t.shape) for t, n in wanted]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    tensors, field, affine, *ctx.rest = inputs
    ctx.has_affine = affine is not None
    ctx.save_for_backward(field, *([affine] if ctx.has_affine else []), *tensors)


def _differentiate(ctx: Any, grads: list[Tensor | None]) -> tuple[Any, ...]:
    field, *tensors = ctx.saved_tensors
    affine = tensors.pop(0) if ctx.has_affine else None
    _, size, *_ = ctx.rest
    dense = [
        t.new_zeros(t.shape[0], t.shape[1], *size) if g is None or not t.is_floating_point() else g
        for g, t in zip(grads, tensors, strict=True)
    ]
    of_inputs = [bool(n) and t.is_floating_point() for n, t in zip(ctx.needs_input_grad[0], tensors, strict=True)]
    need = [bool(ctx.needs_input_grad[1]), affine is not None and bool(ctx.needs_input_grad[2]), *of_inputs]
    found = torch.ops.medzoo.elastic_warp_backward(dense, tensors, field, affine, *ctx.rest, need)
    kept = [g if n else None for g, n in zip(found, need, strict=True)]
    return (kept[2:], kept[0], kept[1], *[None] * len(ctx.rest))


def _no_second_derivative(ctx: Any, *grads: Any) -> tuple[Any, ...]:
    raise NotImplementedError("elastic_deform is differentiable once; its second derivative is not implemented")


_TAGS = (torch.Tag.needs_contiguous_strides, torch.Tag.pt2_compliant_tag)
torch.library.define(_NAME, f"(Tensor[] inputs, {_WHERE}) -> Tensor[]", tags=_TAGS)
torch.library.define(_BACKWARD, f"(Tensor[] grads, Tensor[] inputs, {_WHERE}, bool[] need) -> Tensor[]", tags=_TAGS)
torch.library.impl(_NAME, "CompositeExplicitAutograd", elastic_warp)
torch.library.impl(_BACKWARD, "CompositeExplicitAutograd", _backward)
torch.library.register_fake(_NAME, _fake_forward)
torch.library.register_fake(_BACKWARD, _fake_backward)
torch.library.register_autograd(_NAME, _differentiate, setup_context=_setup)
torch.library.register_autograd(_BACKWARD, _no_second_derivative)
