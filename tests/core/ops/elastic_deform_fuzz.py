"""Random calls of the compiled backend: shapes, strides, dtypes and extreme values; compares with the torch
formulation.

Run as a script, so that it also runs in a process with AddressSanitizer loaded:
`python elastic_deform_fuzz.py --cases 2000 --seed 0 --library PATH`.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medzoo.core.ops.elastic_deform import cpu, elastic_deform, warp

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool]


def strided(rng: random.Random, t: Tensor) -> Tensor:
    """Return equal values under other strides."""
    choice = rng.randrange(5)
    if choice == 0 and t.numel():
        return t.transpose(-1, -2).contiguous().transpose(-1, -2)
    if choice == 1:
        return torch.stack([t, t], -1)[..., 1]
    if choice == 2 and t.numel():
        return t.flip(-1).contiguous().flip(-1)
    if choice == 3 and t.ndim == 4 and t.numel():
        return t.contiguous(memory_format=torch.channels_last)
    return t


def one_case(seed: int) -> None:
    rng = random.Random(seed)
    torch.manual_seed(seed)
    nd, batch, channels = rng.choice([2, 3]), rng.choice([1, 1, 2, 3]), rng.choice([0, 1, 1, 2])
    size = [rng.choice([1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 40, 64]) for _ in range(nd)]
    if nd == 3:
        size[0] = min(size[0], 18)
    order: Any = rng.choice([0, 1, 1, 1, "label"])
    dtype = rng.choice(FLOATS + INTEGERS)
    scale = rng.choice([0.0, 0.5, 3.0, 30.0, 1e4, 1e20])
    padding: Any = rng.choice(["border", "zeros", "reflection", 1])
    precise = rng.random() < 0.4
    image = torch.rand(batch, channels, *size, dtype=torch.float64) * (1 if dtype == torch.bool else 5)
    image = strided(
        rng,
        image.round().to(dtype)
        if dtype not in FLOATS or order == "label"
        else image.to(torch.float64 if precise else dtype),
    )
    kind = torch.float64 if precise else torch.float32
    options: dict[str, Any] = {"order": order, "padding": padding}
    if rng.random() < 0.25:
        out = [rng.choice([1, 5, 16, 35]) for _ in range(nd)]
        options["offset"] = [rng.randint(-20, 20) for _ in range(nd)]
        field = strided(rng, (torch.rand(rng.choice([1, batch]), nd, *out, dtype=kind) * 2 - 1) * scale)
        if rng.random() < 0.2:
            field = field.clone(memory_format=torch.contiguous_format)
            field.view(-1)[rng.randrange(field.numel())] = rng.choice([torch.nan, torch.inf, -torch.inf])
        call, leaves = warp, [image, field]
        tame = scale <= 30 and bool(field.isfinite().all())
    else:
        field = strided(
            rng,
            (torch.rand(rng.choice([1, batch]), nd, *[rng.randint(4, 12) for _ in range(nd)], dtype=kind) * 2 - 1)
            * scale,
        )
        options["spline"] = rng.choice(["interpolate", "coefficients"])
        wild = rng.choice([0.1, 1.0, 1e3, 1e12])
        if rng.random() < 0.5:
            options["affine"] = torch.eye(nd, nd + 1) + wild * torch.randn(rng.choice([1, batch]), nd, nd + 1)
        if rng.random() < 0.4:
            options["out_size"] = [rng.randint(1, n) for n in size]
            if rng.random() < 0.5:
                options["offset"] = [rng.randint(0, n - o) for n, o in zip(size, options["out_size"], strict=True)]
            else:
                options["out_size"] = [rng.choice([1, 9, 40]) for _ in size]
        call, leaves = elastic_deform, [image, field]
        tame = scale <= 30 and ("affine" not in options or wild <= 1)
    differentiate = rng.random() < 0.5 and image.is_floating_point() and order != "label"
    if differentiate:
        leaves = [t.detach().clone().requires_grad_() for t in leaves]
    out = call(*leaves, **options, backend="cpp")
    assert out.shape[:2] == (batch, channels)
    if differentiate and out.requires_grad:
        torch.autograd.grad(out.float().sum(), leaves, allow_unused=True)
    if tame and precise and order == 1:
        other = call(*[t.detach() for t in leaves], **options, backend="torch")
        assert out.numel() == 0 or (out.double() - other.double()).abs().max() <= (
            1e-3 if out.dtype == torch.float32 else 1e-7
        ), seed


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--library", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(2)
    cpu._LOADER.tried, cpu._LOADER.library = True, cpu.Library(args.library, args.library.stem)
    for seed in range(args.seed, args.seed + args.cases):
        try:
            one_case(seed)
        except Exception:
            print(f"case {seed} failed", file=sys.stderr)
            raise
    print(f"{args.cases} cases")


if __name__ == "__main__":
    main()
