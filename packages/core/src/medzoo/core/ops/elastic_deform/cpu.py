"""The compiled CPU backend: load the library and call it with raw pointers, the interpreter lock released."""

from __future__ import annotations

import ctypes
import logging
import os
import struct
import threading
from pathlib import Path

import torch
from torch import Tensor

from medzoo.core.ops.elastic_deform.build import BuildError, best_instruction_set, library_path
from medzoo.core.ops.elastic_deform.sampling import Rule, Warp
from medzoo.core.ops.elastic_deform.spline import KINDS, knots

_CALL = struct.Struct("=8q3q3q3q3q3d3d6q")
_ITEM = struct.Struct("=7qdq")
LARGEST = 2**28
"""Exclusive bound of any size or offset, so that index arithmetic in 32 bits cannot overflow."""


class Library:
    """A loaded library; `forward` and `backward` as in `op.Backend`.

    Args:
        path: The shared library.
        instruction_set: What it was compiled for, for reports.
    """

    def __init__(self, path: Path, instruction_set: str) -> None:
        self.path, self.instruction_set = path, instruction_set
        loaded = ctypes.CDLL(str(path))
        self._forward, self._backward = loaded.elastic_forward, loaded.elastic_backward
        for function in (self._forward, self._backward):
            function.argtypes, function.restype = [ctypes.c_char_p, ctypes.c_char_p], ctypes.c_int64

    def forward(self, warp: Warp) -> list[Tensor]:
        """Return the warped inputs."""
        warp = _contiguous(warp)
        outputs = [t.new_empty(t.shape[0], t.shape[1], *warp.where.size) for t in warp.inputs]
        items = b"".join(_item(t, o, 0, rule) for t, o, rule in zip(warp.inputs, outputs, warp.rules, strict=True))
        _check(self._forward(_call(warp, (0, 0, 0)), items))
        return outputs

    def backward(self, grads: list[Tensor], warp: Warp, need: list[bool]) -> list[Tensor]:
        """Return `[∂field, ∂affine, *∂inputs]`; what is not needed is empty."""
        warp = _contiguous(warp)
        inputs, field, affine, where, rules = warp
        dense = where.kind == KINDS["dense"]
        batch, shared = inputs[0].shape[0], field.shape[0] == 1
        none = field.new_empty(0)
        # Tensors of order 0 keep their dtype, their gradients are summed in that of the field.
        grads = [g.to(field.dtype).contiguous() if n else g for g, n in zip(grads, need[2:], strict=True)]
        g_inputs = [
            torch.zeros_like(t, dtype=field.dtype) if n else none for t, n in zip(inputs, need[2:], strict=True)
        ]
        g_field = none
        if need[0]:  # coefficients are summed in double; displacements are written once, for each sample
            g_field = (
                field.new_empty(batch, *field.shape[1:]) if dense else torch.zeros_like(field, dtype=torch.float64)
            )
        g_affine = torch.zeros_like(affine) if affine is not None and need[1] else none
        items = b"".join(
            _item(t, g, gi.data_ptr() if n else 0, rule)
            for t, g, gi, n, rule in zip(inputs, grads, g_inputs, need[2:], rules, strict=True)
        )
        pointer = g_field.data_ptr() if need[0] else 0
        outputs = (0 if dense else pointer, pointer if dense else 0, g_affine.data_ptr() if g_affine.numel() else 0)
        _check(self._backward(_call(warp, outputs), items))
        if need[0]:
            g_field = (g_field.sum(0, keepdim=True) if dense and shared and batch > 1 else g_field).to(field.dtype)
        return [
            g_field,
            g_affine,
            *(g.to(t.dtype) if n else g for g, t, n in zip(g_inputs, inputs, need[2:], strict=True)),
        ]


def _check(status: int) -> None:
    if status == 1:
        raise ValueError("control (or affine) must be finite, got NaN or infinity")
    if status == 2:
        raise MemoryError("elastic_deform cannot allocate its scratch memory")


def _item(tensor: Tensor, out: Tensor, grad: int, rule: Rule) -> bytes:
    bits = 0
    if rule.fill and rule.order != 1:
        raw = torch.tensor([rule.fill], dtype=tensor.dtype).view(torch.uint8).numpy().tobytes()
        bits = int.from_bytes(raw.ljust(8, b"\0"), "little", signed=True)
    return _ITEM.pack(
        tensor.data_ptr(),
        out.data_ptr(),
        grad,
        tensor.shape[1],
        tensor.element_size(),
        rule.order,
        rule.padding,
        rule.fill,
        bits,
    )


def _contiguous(warp: Warp) -> Warp:
    affine = warp.affine if warp.affine is None else warp.affine.contiguous()
    return Warp([t.contiguous() for t in warp.inputs], warp.field.contiguous(), affine, warp.where, warp.rules)


def _call(warp: Warp, outputs: tuple[int, int, int]) -> bytes:
    inputs, field, affine, where, _ = warp
    nd, first = len(where.size), inputs[0]
    lead = [1] * (3 - nd)
    dense = where.kind == KINDS["dense"]
    n_coef = [1] * nd if dense else list(field.shape[2:])
    steps = [(0.0, 0.0) if dense else knots(where.kind, n, f) for n, f in zip(n_coef, where.frame, strict=True)]
    padded = [(0.0, 0.0)] * (3 - nd) + steps
    return _CALL.pack(
        nd,
        where.kind,
        field.dtype == torch.float64,
        first.shape[0],
        field.shape[0] > 1,
        affine is not None and affine.shape[0] > 1,
        torch.get_num_threads(),
        len(inputs),
        *lead,
        *where.size,
        *([0] * (3 - nd)),
        *where.offset,
        *lead,
        *first.shape[2:],
        *lead,
        *n_coef,
        *(s for s, _ in padded),
        *(o for _, o in padded),
        field.data_ptr(),
        0 if affine is None else affine.data_ptr(),
        *outputs,
        _TEAM[0],
    )


def _openmp() -> int:
    """Return the address of OpenMP's entry that torch's own threads serve, or 0 (macOS, builds without OpenMP)."""
    try:
        return ctypes.cast(ctypes.CDLL(None).GOMP_parallel, ctypes.c_void_p).value or 0
    except (AttributeError, OSError, TypeError):
        return 0


_TEAM = [_openmp()]
# A forked process inherits the pool without its threads, and OpenMP would wait for them: it starts some for each call.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _TEAM.__setitem__(0, 0))


class _Loader:
    """Loads the best library once per process and remembers why it could not."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tried = False
        self.library: Library | None = None
        self.reason = "not needed yet"

    def load(self) -> Library | None:
        if not self.tried:
            with self.lock:
                if not self.tried:
                    self._try()
                    self.tried = True
        return self.library

    def _try(self) -> None:
        try:
            name = best_instruction_set()
            path = library_path(name)
            self.library = Library(path, name)
            self.reason = f"compiled for {name}, {path}"
        except (BuildError, OSError, AttributeError) as error:
            self.reason = str(error)
            logging.getLogger(__name__).warning("elastic_deform: %s; the slower torch formulation serves", self.reason)


_LOADER = _Loader()


def library() -> Library | None:
    """Return the library for this processor, compiled on first use, or `None` where that fails (see `reason`)."""
    return _LOADER.load()


def reason() -> str:
    """Return which library is loaded, or why none is."""
    return _LOADER.reason
