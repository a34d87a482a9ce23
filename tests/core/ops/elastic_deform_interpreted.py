"""Compare the Triton kernels, run by Triton's interpreter on the CPU, with the torch formulation in double precision.

A script, because TRITON_INTERPRET must be set before Triton is imported: `TRITON_INTERPRET=1 python
elastic_deform_interpreted.py`.
"""

from __future__ import annotations

import random
import sys

import torch

from medzoo.core.ops.elastic_deform import cpu
from medzoo.core.ops.elastic_deform.cuda import TritonBackend
from medzoo.core.ops.elastic_deform.fallback import TorchBackend
from medzoo.core.ops.elastic_deform.sampling import Frame, Rule, Warp

CASES = [  # kind, nd, order, padding, affine, image size, output size
    (1, 2, 1, 0, True, (7, 20), (8, 18)),
    (1, 3, 1, 0, False, (4, 9, 40), (4, 9, 40)),
    (2, 3, 1, 1, True, (4, 5, 20), (3, 5, 22)),
    (2, 2, 1, 2, False, (9, 20), (9, 20)),
    (0, 2, 1, 0, False, (9, 21), (8, 30)),
    (0, 3, 1, 2, False, (5, 6, 9), (4, 5, 11)),
    (1, 2, 0, 1, True, (12, 20), (12, 20)),
    (1, 3, 0, 2, False, (6, 7, 20), (6, 7, 20)),
    (1, 2, 2, 0, True, (9, 20), (9, 20)),
    (2, 3, 2, 1, False, (5, 6, 17), (5, 6, 17)),
    (1, 3, 1, 0, True, (1, 1, 9), (1, 5, 9)),
]


def compare(number: int) -> None:
    kind, nd, order, padding, has_affine, size_in, size_out = CASES[number]
    torch.manual_seed(number)
    rng = random.Random(number)
    batch, channels = 2, rng.choice([1, 2])
    shared = rng.choice([1, batch])
    grid = size_out if kind == 0 else [rng.randint(4, 18) for _ in range(nd)]
    field = (torch.rand(shared, nd, *grid) * 2 - 1) * 3
    affine = 0.2 * torch.randn(rng.choice([1, batch]), nd, nd + 1, dtype=torch.float64) if has_affine else None
    image = torch.randint(0, 4, (batch, channels, *size_in)) if order == 2 else torch.rand(batch, channels, *size_in)
    where = Frame(kind, list(size_out), [0] * nd, list(size_out))
    rules = [Rule(order, padding, 2.0 if padding == 1 else 0.0)]
    (found,) = TritonBackend().forward(Warp([image], field, affine, where, rules))
    wide = image.double() if order == 1 else image
    (expected,) = TorchBackend().forward(Warp([wide], field.double(), affine, where, rules))
    difference = (found.double() - expected.double()).abs()
    limit = 1e-5 if has_affine else 3e-6
    assert (difference.max() <= limit) if order == 1 else ((difference > 0).float().mean() <= 0.005), (
        number,
        difference.max(),
    )
    if order == 2:
        return
    g = torch.rand_like(found)
    for deterministic in (False, True):
        torch.use_deterministic_algorithms(deterministic)
        need = [order == 1, order == 1 and has_affine, True]
        gradients = TritonBackend().backward([g], Warp([image], field, affine, where, rules), need)
        torch.use_deterministic_algorithms(False)
        reference = TorchBackend().backward(
            [g.double()], Warp([image.double()], field.double(), affine, where, rules), need
        )
        for f, e in zip(gradients, reference, strict=True):
            assert e.numel() == 0 or (f.double() - e).abs().max() <= 1e-4 * e.abs().max() + 1e-6, (
                number,
                deterministic,
            )


def compare_ties() -> None:
    """Half a voxel along every axis gives equal weights: the same label wins as in the C++."""
    library = cpu.library()
    for size in ((8, 9), (4, 5, 6)) if library is not None else ():
        nd = len(size)
        image, field = torch.randint(0, 4, (1, 1, *size)), torch.full((1, nd, *size), 0.5)
        where, rules = Frame(0, list(size), [0] * nd, list(size)), [Rule(2, 0, 0.0)]
        (found,), (expected,) = (
            b.forward(Warp([image], field, None, where, rules)) for b in (TritonBackend(), library)
        )
        assert torch.equal(found, expected), nd


if __name__ == "__main__":
    if sys.argv[1:] == ["ties"]:
        compare_ties()
        print("agree")
        sys.exit()
    for case in map(int, sys.argv[1:] or range(len(CASES))):
        compare(case)
    print("agree")
