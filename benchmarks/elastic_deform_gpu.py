"""Elastic deformation on a CUDA device: values against the CPU, then time against torch and MONAI, in minutes.

    python benchmarks/elastic_deform_gpu.py [--json FILE]

Times are medians of events around one call (`triton.testing.do_bench`, caches flushed between calls), in ps per output
voxel; the share is that of a device-to-device copy measured in the same run, which reads and writes each voxel once.
"Whole" adds the random control grid, drawn on the host; calls of small images are timed by the clock of the host, with
Python. Ratios within one run are the result, absolute times are not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from medzoo.core.ops.elastic_deform import displacement_field, elastic_deform, knot_spacing, random_control

GRID = 8
CASES = {
    "256³": (1, 1, (256, 256, 256)),
    "4 x 256³": (4, 1, (256, 256, 256)),
    "256³, 4 channels": (1, 4, (256, 256, 256)),
    "128³": (1, 1, (128, 128, 128)),
    "8 x 1024²": (8, 1, (1024, 1024)),
    "512²": (1, 1, (512, 512)),
}


def control(batch: int, size: tuple[int, ...]) -> Tensor:
    """Return random control vectors on the device, drawn on the host."""
    bound = [0.2 * h for h in knot_spacing([GRID] * len(size), size)]
    return random_control(batch, [GRID] * len(size), size, max_displacement=bound, device="cuda")


def naive(image: Tensor, ctrl: Tensor) -> Tensor:
    """The obvious formulation: field, flip, scale, add the identity, grid_sample."""
    size = image.shape[2:]
    field_xy = displacement_field(ctrl, size).flip(1).movedim(1, -1)
    scale = torch.tensor([2 / (n - 1) for n in reversed(size)], device=image.device)
    axes = [torch.linspace(-1, 1, n, device=image.device) for n in size]
    identity = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], -1)
    return F.grid_sample(image, field_xy * scale + identity, padding_mode="border", align_corners=True)


def on_device(job: Callable[[], object]) -> float:
    """Return seconds of one call on the device, the median."""
    from triton.testing import do_bench

    return float(do_bench(job, warmup=50, rep=200, return_mode="median")) / 1e3


def on_host(job: Callable[[], object], calls: int = 200) -> float:
    """Return seconds of one call by the host's clock, the median of five runs, the device waited for at their end."""
    seconds = []
    for _ in range(6):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            job()
        torch.cuda.synchronize()
        seconds.append((time.perf_counter() - start) / calls)
    return statistics.median(seconds[1:])


def gradient(backend: str, image: Tensor, ctrl: Tensor, both: bool) -> Callable[[], object]:
    """Return the backward of one call (the forward is run once, outside)."""
    image, ctrl = image.clone().requires_grad_(both), ctrl.clone().requires_grad_()
    run = naive if backend == "naive" else lambda i, c: elastic_deform(i, c, backend=backend)
    out, leaves = run(image, ctrl), [image, ctrl] if both else [ctrl]
    g = torch.rand_like(out)
    return lambda: torch.autograd.grad(out, leaves, g, retain_graph=True)


def values(rows: dict[str, float]) -> None:
    """Compare with the CPU: the same control grid, image and gradients."""
    for size in ((200, 300), (40, 50, 70)):
        image, ctrl = torch.rand(2, 2, *size), control(2, size).cpu()
        host = elastic_deform(image, ctrl, order=1)
        rows[f"largest difference to the CPU, {len(size)}-D"] = float(
            (elastic_deform(image.cuda(), ctrl.cuda()).cpu() - host).abs().max()
        )


def speed(rows: dict[str, float], patience: bool) -> None:
    """Fill `rows` with ps per voxel, shares of the copy and ratios."""
    source = torch.rand(2**28, device="cuda")
    target = torch.empty_like(source)
    copy = on_device(lambda t=target, s=source: t.copy_(s)) / source.numel()
    rows["copy, ps per voxel"] = copy * 1e12
    del source, target
    for name, (batch, channels, size) in CASES.items():
        image, ctrl = torch.rand(batch, channels, *size, device="cuda"), control(batch, size)
        voxels = image.numel()
        ours = on_device(lambda i=image, c=ctrl: elastic_deform(i, c)) / voxels
        rows[f"{name}: medzoo, ps per voxel"] = ours * 1e12
        rows[f"{name}: share of the copy"] = copy / ours
        rivals = {"torch folded": lambda i, c: elastic_deform(i, c, backend="torch"), "torch naive": naive}
        for rival, run in rivals.items():
            rows[f"{name}: times faster than {rival}"] = (
                on_device(lambda i=image, c=ctrl, r=run: r(i, c)) / voxels / ours
            )
        if name in ("256³", "8 x 1024²"):
            for both in (False, True):
                what = "image + control" if both else "control"
                back = on_device(gradient("auto", image, ctrl, both)) / voxels
                rows[f"{name}: backward of {what}, ps per voxel"] = back * 1e12
                rows[f"{name}: backward of {what}, share of the copy"] = (2 if both else 1) * copy / back
                rows[f"{name}: backward of {what}, times faster than torch folded"] = (
                    on_device(gradient("torch", image, ctrl, both)) / voxels / back
                )
        del image, ctrl
    for name in ("512²", "128³"):
        batch, channels, size = CASES[name]
        image, ctrl = torch.rand(batch, channels, *size, device="cuda"), control(batch, size)
        rows[f"{name}: one call with Python, µs"] = on_host(lambda i=image, c=ctrl: elastic_deform(i, c)) * 1e6
        rows[f"{name}: torch folded with Python, µs"] = (
            on_host(lambda i=image, c=ctrl: elastic_deform(i, c, backend="torch")) * 1e6
        )
    if patience:
        whole_against_monai(rows)


def whole_against_monai(rows: dict[str, float]) -> None:
    """Random numbers, field and interpolation of a volume, against MONAI on the same device."""
    try:
        from monai.transforms import Rand2DElastic, Rand3DElastic
    except ImportError:
        print("MONAI is not installed: its rows are left out")
        return
    for name, transform, size in (
        ("256³", Rand3DElastic((9, 11), (20, 30), prob=1.0, padding_mode="border"), (256, 256, 256)),
        ("1024²", Rand2DElastic((32, 32), (1, 2), prob=1.0, padding_mode="border"), (1024, 1024)),
    ):
        image = torch.rand(1, *size, device="cuda")
        transform.set_random_state(0)
        if hasattr(transform, "device"):
            transform = type(transform)(  # the field is made where the transform is told to
                *((9, 11), (20, 30)) if len(size) == 3 else ((32, 32), (1, 2)),
                prob=1.0,
                padding_mode="border",
                device=image.device,
            )
        peer = on_host(lambda t=transform, i=image: t(i), calls=3)
        ours = on_host(lambda i=image, s=size: elastic_deform(i[None], control(1, s)), calls=20)
        rows[f"{name}: whole, medzoo, µs"] = ours * 1e6
        rows[f"{name}: whole, times faster than MONAI"] = peer / ours


def main() -> None:
    """Print every row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--no-peers", action="store_true", help="leave MONAI out")
    arguments = parser.parse_args()
    rows: dict[str, float] = {}
    values(rows)
    speed(rows, not arguments.no_peers)
    machine = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    for name, value in rows.items():
        print(f"{name:70} {value:.4g}")
    print(machine)
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
