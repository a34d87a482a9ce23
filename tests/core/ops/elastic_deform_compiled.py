"""Compile every variant of the CUDA kernels through Triton's own launch path, for processors that need not be there.

A script, because the stub in the place of the CUDA driver stays for the whole process:
`python elastic_deform_compiled.py 80 quick`. The backend prepares its arguments as on a GPU; each launch goes through
`JITFunction.run`, which specialises arguments (an integer that is 1 becomes a constant) and compiles down to machine
code; only the launch itself is left out.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from medzoo.core.ops.elastic_deform.cuda import TritonBackend
from medzoo.core.ops.elastic_deform.sampling import Frame, Rule, Warp

COMPILED: set[str] = set()


class Processor:
    """What Triton asks its driver before a launch."""

    def __init__(self, capability: int) -> None:
        self.target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        """Return the processor to compile for."""
        return self.target

    def get_current_device(self) -> int:
        """Return the only device."""
        return 0

    def get_current_stream(self, device: int) -> int:
        """Return the default stream."""
        return 0


def compile_only(run: Any) -> Any:
    """Return Triton's launch without its last step."""

    def instead(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        assert len(grid) <= 3
        kernel = run(self, *args, grid=grid, warmup=True, **options)
        assert len(kernel.asm["cubin"]) > 1000
        COMPILED.add(kernel.hash)
        return kernel

    return instead


def variants(quick: bool) -> Iterator[tuple[int, int, tuple[int, ...], int, int, int, int, bool]]:
    """Kind of field, number of axes, image size, batch, channels, order, padding, affine."""
    sizes = {2: [(9, 20), (1, 20), (20, 1), (1, 1)], 3: [(4, 9, 40), (1, 9, 20), (4, 1, 20), (4, 9, 1), (1, 1, 1)]}
    if quick:  # each integer that can be 1, with as few kernels as possible
        yield 1, 2, (1, 1), 1, 1, 1, 0, True
        yield 0, 2, (1, 20), 1, 2, 1, 2, False
        yield 2, 3, (1, 1, 1), 1, 1, 2, 1, True
        yield 1, 2, (9, 20), 2, 3, 0, 1, False
        return
    for nd in (2, 3):
        for kind, order, affine in itertools.product((0, 1, 2), (0, 1, 2), (False, True)):
            if not (kind == 0 and affine):  # the operator gives this one to the torch formulation
                for size, (batch, channels), padding in zip(
                    sizes[nd],
                    itertools.cycle([(2, 3), (1, 1), (2, 1), (1, 2)]),
                    itertools.cycle([0, 1, 2]),
                    strict=False,
                ):
                    yield kind, nd, size, batch, channels, order, padding, affine


def launch(
    kind: int,
    nd: int,
    size: tuple[int, ...],
    batch: int,
    channels: int,
    order: int,
    padding: int,
    affine: bool,
    quick: bool,
) -> None:
    """Run forward and every backward of one variant, with a field of its own for each sample and with a shared one."""
    dtypes = [torch.float32] if order == 1 else [torch.int64] if quick else [torch.float32, torch.int64, torch.bool]
    needs = [[True, affine, True]] if quick else [[True, affine, True], [False, False, True], [True, affine, False]]
    for shared, offset in ((batch, 1),) if quick else ((1, 0), (batch, 1)):
        grid = size if kind == 0 else (4, 5, 6)[:nd]
        field = torch.zeros(shared, nd, *grid)
        matrix = torch.zeros(shared, nd, nd + 1, dtype=torch.float64) if affine else None
        where = Frame(kind, list(size), [offset] * nd, [n + 1 for n in size])
        for dtype in dtypes:
            image = torch.zeros(batch, channels, *size).to(dtype)
            rules = [Rule(order, padding, 0.0)]
            (out,) = TritonBackend().forward(Warp([image], field, matrix, where, rules))
            for deterministic in (True,) if quick else (False, True):
                torch.use_deterministic_algorithms(deterministic)
                for need in needs if order < 2 and (quick or dtype == torch.float32) else []:
                    TritonBackend().backward([out], Warp([image], field, matrix, where, rules), need)
                torch.use_deterministic_algorithms(False)


if __name__ == "__main__":
    driver.set_active(Processor(int(sys.argv[1])))
    JITFunction.run = compile_only(JITFunction.run)
    quick = "quick" in sys.argv
    for variant in variants(quick):
        launch(*variant, quick)
    print(f"compiled {len(COMPILED)}")
