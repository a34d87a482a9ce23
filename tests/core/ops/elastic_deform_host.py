"""Count the tensor operations with which the CUDA backend prepares its launches; the launches themselves are left out.

A script, because TRITON_INTERPRET must be set before Triton is imported. Prints, in 2-D and 3-D, the operations of a
forward (prefilter included) and of a backward.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from triton.runtime.interpreter import InterpretedFunction

from medzoo.core.ops.elastic_deform.cuda import TritonBackend
from medzoo.core.ops.elastic_deform.sampling import Frame, Rule, Warp
from medzoo.core.ops.elastic_deform.spline import coefficients


class Operations(TorchDispatchMode):
    """Counts the tensor operations that run within."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def main() -> None:
    """Count the second call: the first fills the tables that depend on sizes alone."""
    InterpretedFunction.__getitem__ = lambda self, grid: lambda *args, **options: None  # type: ignore[method-assign]
    for size in ((40, 50), (12, 20, 30)):
        nd = len(size)
        image, control = torch.zeros(2, 1, *size), torch.zeros(2, nd, *[7] * nd)
        where, rules = Frame(1, list(size), [0] * nd, list(size)), [Rule(1, 0, 0.0)]
        for _ in range(2):
            with Operations() as forward:  # two conversions of the prefilter are the CPU's alone
                field = coefficients(control, 1)
                (out,) = TritonBackend().forward(Warp([image], field, None, where, rules))
            with Operations() as backward:
                TritonBackend().backward([out], Warp([image], field, None, where, rules), [True, False, True])
        print(nd, forward.count, backward.count)


if __name__ == "__main__":
    main()
