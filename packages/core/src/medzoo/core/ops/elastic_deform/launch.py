"""Starting a Triton kernel with little work on the host, and the tiles that its programs compute."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor


class Tile(NamedTuple):
    """What one program computes (see `triton_sampling.places`)."""

    TY: int
    TX: int
    LX: int
    num_warps: int

    def constants(self) -> dict[str, int]:
        """Return the part that is an argument of the kernels."""
        return {"TY": self.TY, "TX": self.TX, "LX": self.LX}

    def programs(self, size: Sequence[int]) -> int:
        """Return how many tiles cover one sample."""
        lanes = 32 // self.LX
        height, width = self.TY * lanes, self.TX // lanes
        return math.prod(size[:-2]) * -(-size[-2] // height) * -(-size[-1] // width)


class Startable(Protocol):
    """A kernel, or its compiled code: `kernel[programs](*arguments)` starts it."""

    def __getitem__(self, programs: tuple[int, int, int]) -> Callable[..., object]:
        """Return what starts so many programs."""
        ...


class Kernel(Startable, Protocol):
    """A Triton kernel: `kernel[programs]` compiles where needed, starts, and returns the compiled code."""

    arg_names: list[str]


_compiled: dict[tuple[object, ...], tuple[Startable, tuple[int, ...]]] = {}


def launch(
    kernel: Kernel,
    programs: tuple[int, int, int],
    arguments: Sequence[Tensor | int],
    constants: Mapping[str, int],
    num_warps: int = 4,
    num_stages: int = 3,
) -> None:
    """Start a kernel whose arguments are not specialised by value.

    Triton's own search for the compiled code takes longer than the start itself; since no value decides, the dtypes,
    the constants and the device name it.

    Args:
        kernel: What to start.
        programs: How many, along the three axes of the grid.
        arguments: In the order of the kernel's parameters; integers are below 2**31.
        constants: The rest of the parameters by name, which the kernel is compiled for.
        num_warps: Threads of a program by 32.
        num_stages: Iterations of a loop whose loads overlap.
    """
    first = arguments[0]
    device = first.device if isinstance(first, Tensor) else torch.device("cpu")
    types = [a.dtype for a in arguments if isinstance(a, Tensor)]
    key = (kernel, device, num_warps, num_stages, *types, *constants.items())
    if (known := _compiled.get(key)) is not None:
        code, rest = known
        code[programs](*arguments, *rest)
        return
    options = {"num_warps": num_warps, "num_stages": num_stages, "enable_fp_fusion": True}
    found = kernel[programs](*arguments, **constants, **options)
    if device.type == "cuda":  # elsewhere it is interpreted, or only compiled
        rest = tuple(int(constants[name]) for name in kernel.arg_names[len(arguments) :])
        _compiled[key] = (cast(Startable, found), rest)
