"""Elastic deformation side by side: medzoo, plain torch, and the libraries that medical imaging uses.

Every contender does the whole job on the same image: draw random parameters, make the field, interpolate linearly.
Contenders take turns within each round, so that load and clock changes hit all of them; figures are medians of
processor time on one thread (wall clock for two) in ns per output voxel. Ratios within one run are the result,
absolute times are not. Slow contenders get fewer rounds (`--patience`); how many stands in the JSON file.

    python benchmarks/elastic_deform.py --quick
    python benchmarks/elastic_deform.py --json docs/benchmarks/elastic_deform.json
        --plot docs/figures/elastic_deform_speed.png

Libraries that are not installed are left out, with the reason printed. Parametrisations: "spline" = 8 control points
along each axis, ±0.2 knot spacings; "gauss" = dense noise smoothed with σ = 10; "other" = the library's own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from medzoo.core.ops.elastic_deform import (
    backend_info,
    build,
    cpu,
    displacement_field,
    elastic_deform,
    knot_spacing,
    random_control,
    transform_points,
)

GRID, SIGMA = 8, 10.0
RNG = np.random.default_rng(0)
Job = Callable[[], object]


@dataclass
class Case:
    """One image size; `batch` images of one channel."""

    name: str
    batch: int
    size: tuple[int, ...]
    image: Tensor = field(repr=False, default_factory=lambda: torch.empty(0))

    @property
    def voxels(self) -> int:
        """Voxels of the whole batch."""
        return self.batch * int(np.prod(self.size))

    def load(self) -> None:
        """Make the images; they are dropped after the case."""
        self.image = torch.rand(self.batch, 1, *self.size, generator=torch.Generator().manual_seed(0))


class Skip(Exception):  # noqa: N818 - not an error
    """Raised by a contender that does not take part in a case; the text says why."""


def control(case: Case) -> Tensor:
    bound = [0.2 * h for h in knot_spacing([GRID] * len(case.size), case.size)]
    return random_control(case.batch, [GRID] * len(case.size), case.size, max_displacement=bound)


def naive(image: Tensor, ctrl: Tensor) -> Tensor:
    """The obvious formulation: field, flip, scale, add the identity, grid_sample."""
    size = image.shape[2:]
    field_xy = displacement_field(ctrl, size).flip(1).movedim(1, -1)
    scale = torch.tensor([2 / (n - 1) for n in reversed(size)])
    identity = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, n) for n in size], indexing="ij")[::-1], -1)
    return F.grid_sample(image, field_xy * scale + identity, padding_mode="border", align_corners=True)


def warper(kind: str) -> Callable[[Tensor, Tensor], Tensor]:
    if kind == "naive":
        return naive
    return lambda image, ctrl: elastic_deform(image, ctrl, backend=kind)


def ours(kind: str) -> Callable[[Case], Job]:
    def make(case: Case) -> Job:
        run = warper(kind)
        return lambda: run(case.image, control(case))

    return make


def gradients(kind: str, both: bool) -> Callable[[Case], Job]:
    def make(case: Case) -> Job:
        run, image = warper(kind), case.image.clone().requires_grad_(both)
        ctrl, g = control(case).requires_grad_(), torch.rand(case.image.shape)
        leaves = [image, ctrl] if both else [ctrl]
        return lambda: torch.autograd.grad(run(image, ctrl), leaves, g)

    return make


def instruction_set(name: str) -> Callable[[Case], Job]:
    def make(case: Case) -> Job:
        order = list(build.INSTRUCTION_SETS)
        if order.index(name) > order.index(build.best_instruction_set()):
            raise Skip(f"this processor has no {name}")
        chosen, usual = cpu.Library(build.library_path(name), name), cpu.library()

        def job() -> None:
            cpu._LOADER.library = chosen
            elastic_deform(case.image, control(case), backend="cpp")
            cpu._LOADER.library = usual

        return job

    return make


def each(case: Case, one: Callable[[np.ndarray], object]) -> Job:
    images = case.image[:, 0].numpy()
    return lambda: [one(image) for image in images]


def scipy_spline(case: Case) -> Job:
    from scipy import ndimage

    index = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in case.size], indexing="ij")
    bound = [0.2 * h for h in knot_spacing([GRID] * len(case.size), case.size)]

    def one(image: np.ndarray) -> object:
        place = []
        for axis, limit in zip(index, bound, strict=True):
            nodes = RNG.uniform(-limit, limit, [GRID] * image.ndim).astype(np.float32)
            place.append(axis + ndimage.zoom(nodes, [n / GRID for n in image.shape], order=3))
        return ndimage.map_coordinates(image, place, order=1, mode="nearest")

    return each(case, one)


def scipy_gauss(case: Case) -> Job:
    from scipy import ndimage

    index = np.meshgrid(*[np.arange(n) for n in case.size], indexing="ij")

    def one(image: np.ndarray) -> object:
        noise = [ndimage.gaussian_filter(RNG.uniform(-1, 1, image.shape), SIGMA) * 300 for _ in index]
        return ndimage.map_coordinates(
            image, [i + d for i, d in zip(index, noise, strict=True)], order=1, mode="nearest"
        )

    return each(case, one)


def elasticdeform_c(case: Case) -> Job:
    import elasticdeform

    bound = 0.2 * knot_spacing([GRID], case.size[:1])[0]

    def one(image: np.ndarray) -> object:
        nodes = RNG.uniform(-bound, bound, [image.ndim] + [GRID] * image.ndim)
        return elasticdeform.deform_grid(image, nodes, order=1, mode="nearest")

    return each(case, one)


def monai(case: Case) -> Job:
    from monai.transforms import Rand2DElastic, Rand3DElastic

    if len(case.size) == 2:
        step = tuple((n - 1) / (GRID - 1) for n in case.size)
        transform: Any = Rand2DElastic(step, (5, 5), prob=1.0, padding_mode="border")
    elif case.voxels > 2**22:
        raise Skip("its convolution of 256³ asks for 20 GB of memory")
    else:
        transform = Rand3DElastic((SIGMA, SIGMA), (300, 300), prob=1.0, padding_mode="border")
    return lambda: [transform(image) for image in case.image]


def torchio(case: Case) -> Job:
    import torchio as tio

    bound = [0.2 * h for h in knot_spacing([GRID] * len(case.size), case.size)]
    flat = len(case.size) == 2
    transform = tio.RandomElasticDeformation(GRID, (*bound, 0.0) if flat else tuple(bound))
    images = [image.unsqueeze(-1) if flat else image for image in case.image]
    return lambda: [transform(image) for image in images]


def batchgenerators2(case: Case) -> Job:
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform

    transform = SpatialTransform(
        case.size,
        0,
        False,
        p_elastic_deform=1.0,
        elastic_deform_scale=(0.08, 0.08),
        elastic_deform_magnitude=(0.05, 0.05),
    )
    return lambda: [transform(image=image) for image in case.image]


def kornia(case: Case) -> Job:
    if len(case.size) != 2:
        raise Skip("2-D only")
    from kornia.augmentation import RandomElasticTransform

    transform = RandomElasticTransform(kernel_size=(63, 63), sigma=(SIGMA, SIGMA), alpha=(1.0, 1.0), p=1.0)
    return lambda: transform(case.image)


def torchvision(case: Case) -> Job:
    if len(case.size) != 2:
        raise Skip("2-D only")
    from torchvision.transforms.v2 import ElasticTransform

    transform = ElasticTransform(alpha=300.0, sigma=SIGMA)
    return lambda: [transform(image) for image in case.image]


def opencv(case: Case) -> Job:
    if len(case.size) != 2:
        raise Skip("2-D only")
    import cv2

    cv2.setNumThreads(torch.get_num_threads())
    height, width = case.size
    y, x = np.meshgrid(np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32), indexing="ij")
    bound = 0.2 * knot_spacing([GRID], case.size[:1])[0]

    def one(image: np.ndarray) -> object:
        d = [
            cv2.resize(
                RNG.uniform(-bound, bound, (GRID, GRID)).astype(np.float32),
                (width, height),
                interpolation=cv2.INTER_CUBIC,
            )
            for _ in "xy"
        ]
        return cv2.remap(image, x + d[0], y + d[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    return each(case, one)


def albumentations(case: Case) -> Job:
    if len(case.size) != 2:
        raise Skip("2-D only")
    import albumentations as al
    import cv2

    cv2.setNumThreads(torch.get_num_threads())
    transform = al.ElasticTransform(alpha=300.0, sigma=SIGMA, p=1.0)
    return each(case, lambda image: transform(image=image)["image"])


def simple_itk(case: Case) -> Job:
    import SimpleITK as sitk  # noqa: N813 - as its users write it

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(torch.get_num_threads())
    bound = [0.2 * h for h in knot_spacing([GRID] * len(case.size), case.size)][::-1]

    def one(image: np.ndarray) -> object:
        source = sitk.GetImageFromArray(image)
        transform = sitk.BSplineTransformInitializer(source, [GRID - 3] * image.ndim)
        drawn = [RNG.uniform(-limit, limit, GRID**image.ndim) for limit in bound]
        transform.SetParameters(np.concatenate(drawn).tolist())
        return sitk.GetArrayFromImage(sitk.Resample(source, transform, sitk.sitkLinear))

    return each(case, one)


WHOLE: dict[str, tuple[str, Callable[[Case], Job]]] = {
    "medzoo": ("spline", ours("auto")),
    "torch folded": ("spline", ours("torch")),
    "torch naive": ("spline", ours("naive")),
    "cv2 resize + remap": ("other", opencv),
    "batchgeneratorsv2": ("gauss", batchgenerators2),
    "kornia": ("gauss", kornia),
    "MONAI": ("other", monai),
    "elasticdeform": ("spline", elasticdeform_c),
    "scipy zoom + map_coordinates": ("spline", scipy_spline),
    "scipy gaussian + map_coordinates": ("gauss", scipy_gauss),
    "TorchIO": ("spline", torchio),
    "SimpleITK": ("spline", simple_itk),
    "albumentations": ("gauss", albumentations),
    "torchvision": ("gauss", torchvision),
}
BACKWARD: dict[str, tuple[str, Callable[[Case], Job]]] = {
    f"{name}, {label}": ("spline", gradients(kind, both))
    for name, kind in (("medzoo", "auto"), ("torch folded", "torch"), ("torch naive", "naive"))
    for label, both in (("image + control", True), ("control", False))
}
PORTABLE = {name: ("spline", instruction_set(name)) for name in build.INSTRUCTION_SETS}
FAST = {k: WHOLE[k] for k in ("medzoo", "torch folded", "torch naive", "cv2 resize + remap")}


def measure(
    case: Case, contenders: dict[str, tuple[str, Callable[[Case], Job]]], rounds: int, threads: int, patience: float
) -> list[dict[str, Any]]:
    """Time all contenders in turns: each up to `rounds` times, as often as fits into `patience` seconds."""
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    case.load()
    jobs: dict[str, Job] = {}
    cost: dict[str, float] = {}
    times: dict[str, list[float]] = {}
    for name, (_, make) in contenders.items():
        try:
            with contextlib.redirect_stdout(sys.stderr):
                job = make(case)
                for _ in range(2):
                    start, wall = clock(), time.perf_counter()
                    job()
                    spent, cost[name] = clock() - start, time.perf_counter() - wall
                    if cost[name] > patience / 2:  # the first call is then the measurement
                        break
            jobs[name], times[name] = job, [spent / case.voxels * 1e9] if cost[name] > patience / 2 else []
        except (ImportError, Skip) as error:
            print(f"  {case.name}: {name} left out: {error}", flush=True)
        except Exception as error:  # noqa: BLE001 - a peer that breaks must not stop the others
            print(f"  {case.name}: {name} failed: {type(error).__name__}: {error}", flush=True)
    for turn in range(rounds):
        for name, job in jobs.items():
            if (turn + 1) * cost[name] > patience:
                continue
            repeat = max(1, int(0.05 / max(cost[name], 1e-6)))
            if cost[name] < 0.05:
                job()  # caches and allocator as in steady use, not as the contender before left them
            start = clock()
            for _ in range(repeat):
                job()
            times[name].append((clock() - start) / repeat / case.voxels * 1e9)
    base = statistics.median(times["medzoo"]) if "medzoo" in times else None
    print(f"\n{case.name}, {threads} thread{'s' if threads > 1 else ''}, ns per voxel", flush=True)
    rows = []
    for name, values in times.items():
        median = statistics.median(values)
        row = {
            "case": case.name,
            "threads": threads,
            "contender": name,
            "field": contenders[name][0],
            "median": median,
            "min": min(values),
            "rounds": len(values),
        }
        rows.append(row)
        ratio = f"{median / base:9.1f} x" if base else ""
        print(f"  {name:34s} {contenders[name][0]:7s} {median:10.2f}  min {min(values):10.2f} {ratio}", flush=True)
    case.image = torch.empty(0)
    return rows


def landmarks() -> dict[str, float]:
    """Error of moved points against the exact inverse (float64, 40 Newton steps), mean and largest in pixels."""
    size = (512, 512)
    ctrl = random_control(1, [GRID] * 2, size, generator=torch.Generator().manual_seed(0))
    points = 40 + torch.rand(1, 2000, 2, generator=torch.Generator().manual_seed(1)) * 430
    exact = transform_points(points.double(), ctrl.double(), size, iters=40).points
    d = transform_points(points.double(), ctrl.double(), size, inverse=False).points - points
    errors = {
        "medzoo": transform_points(points, ctrl, size).points - exact,
        "first order (p - d(p))": points - d - exact,
        "left untouched (kornia)": points - exact,
    }
    with contextlib.suppress(ImportError):
        from torchvision.transforms.v2.functional import elastic_keypoints

        field_xy = displacement_field(ctrl, size).flip(1).movedim(1, -1) * 2 / size[0]  # in units of half an image
        xy = elastic_keypoints(points[0].flip(-1), size, field_xy)
        errors["torchvision"] = xy.flip(-1)[None] - exact
    print("\nlandmarks on 512², rms displacement "
          f"{d.square().sum(-1).mean().sqrt():.1f} px: error in pixels, mean and largest")  # fmt: skip
    result = {}
    for name, error in errors.items():
        length = error.norm(dim=-1)
        result[name] = length.mean().item()
        print(f"  {name:34s} {length.mean():.2e} {length.max():.2e}")
    return result


def accuracy() -> dict[str, float]:
    """Largest error against scipy in double precision, image in [0, 1], displacements up to 8 voxels."""
    from scipy import ndimage

    worst = {"medzoo": 0.0, "torch folded": 0.0}
    for seed, size in enumerate(((300, 400), (90, 100, 110))):
        generator = torch.Generator().manual_seed(seed)
        image, ctrl = torch.rand(1, 1, *size, generator=generator), random_control(1, [6] * len(size), size,
                                                                                  generator=generator)  # fmt: skip
        ctrl *= 8 / displacement_field(ctrl, size).abs().max()
        nodes = np.meshgrid(*[np.linspace(0, 5, n) for n in size], indexing="ij")
        place = np.meshgrid(*[np.arange(n, dtype=float) for n in size], indexing="ij")
        for axis, c in zip(place, ctrl[0].double().numpy(), strict=True):
            axis += ndimage.map_coordinates(c, nodes, order=3, mode="mirror")
        expected = ndimage.map_coordinates(image[0, 0].double().numpy(), place, order=1, mode="nearest")
        for name, backend in (("medzoo", "auto"), ("torch folded", "torch")):
            error = np.abs(elastic_deform(image, ctrl, backend=backend)[0, 0].numpy() - expected).max()
            worst[name] = max(worst[name], float(error))
    print(f"\nlargest error in single precision: {worst}")
    return worst


MEMORY = """
import re, torch
from pathlib import Path
from medzoo.core.ops.elastic_deform import elastic_deform

def peak():  # bytes; ru_maxrss would start from the peak of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

torch.set_num_threads(1)
image, control = torch.rand(1, 1, 256, 256, 256), torch.rand(1, 3, 8, 8, 8)
elastic_deform(image[..., :8, :8, :8], control)
before = peak()
out = elastic_deform(image, control)
print((peak() - before) / (out.numel() * 4))
"""


def memory() -> float:
    """Growth of the peak memory by one call, output included, in units of the output."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    print(f"\npeak memory of a 256³ call, in outputs: {float(done.stdout):.2f}")
    return float(done.stdout)


@dataclass
class Target:
    """A row of the specification's targets: a ratio of two medians and its bounds."""

    text: str
    value: float
    accept: float
    good: float
    at_least: bool = False

    @property
    def verdict(self) -> str:
        """Which of the two bounds is reached."""

        def reached(bound: float) -> bool:
            return self.value >= bound if self.at_least else self.value <= bound

        return "good" if reached(self.good) else "accept" if reached(self.accept) else "MISSED"


def targets(rows: list[dict[str, Any]]) -> list[Target]:
    """Compare the ratios of this run with the targets."""
    at = {(r["case"], r["threads"], r["contender"]): r["median"] for r in rows}
    found: list[Target] = []

    def ratio(
        text: str, case: str, a: str, b: str, accept: float, good: float, threads: int = 1, at_least: bool = False
    ) -> None:
        if (case, threads, a) in at and (case, threads, b) in at:
            x, y = at[case, threads, a], at[case, threads, b]
            found.append(Target(f"{case}: {text}", y / x if at_least else x / y, accept, good, at_least))

    for case in ("128³", "256³"):
        ratio("vs torch folded", case, "medzoo", "torch folded", 0.30, 0.20)
        ratio("vs torch naive", case, "medzoo", "torch naive", 0.15, 0.10)
        ratio("vs torch folded, 2 threads", case, "medzoo", "torch folded", 0.16, 0.10, threads=2)
        for peer, accept, good in (
            ("batchgeneratorsv2", 20, 35),
            ("TorchIO", 50, 80),
            ("elasticdeform", 60, 100),
            ("scipy zoom + map_coordinates", 70, 120),
            ("scipy gaussian + map_coordinates", 45, 60),
            ("MONAI", 150 if case == "128³" else 300, 250 if case == "128³" else 500),
        ):
            ratio(f"times faster than {peer}", case, "medzoo", peer, accept, good, at_least=True)
        for other, both, only in (("torch naive", (0.35, 0.25), (0.30, 0.20)), ("torch folded", (0.50, 0.38), None)):
            ratio(f"forward + backward vs {other}", case, "medzoo, image + control", f"{other}, image + control", *both)
            if only:
                ratio(
                    f"forward + backward, control only, vs {other}", case, "medzoo, control", f"{other}, control", *only
                )
    for case in ("512²", "512² x 8", "1024²", "1024² x 8"):
        ratio("vs torch folded", case, "medzoo", "torch folded", 0.65, 0.45)
        ratio("vs torch naive", case, "medzoo", "torch naive", 0.30, 0.20)
        ratio("vs cv2 resize + remap", case, "medzoo", "cv2 resize + remap", 0.60, 0.40)
    for peer, accept, good in (
        ("batchgeneratorsv2", 15, 25),
        ("kornia", 20, 35),
        ("MONAI", 22, 40),
        ("elasticdeform", 30, 50),
        ("TorchIO", 130, 220),
        ("torchvision", 500, 800),
    ):
        ratio(f"times faster than {peer}", "512²", "medzoo", peer, accept, good, at_least=True)
    for peer, least in (("MONAI", 20), ("kornia", 35), ("torchvision", 400)):
        ratio(f"times faster than {peer}", "1024² x 8", "medzoo", peer, least, least, at_least=True)
    for case in ("512²", "128³"):
        ratio("AVX2 vs the scalar loop", case, "avx2", "baseline", 1.2, 0.9)
        ratio("torch folded vs torch naive", case, "torch folded", "torch naive", 0.7, 0.55)
    for case in ("1024²", "1024² x 8", "128³", "256³"):
        one, two = at.get((case, "wall 1", "medzoo")), at.get((case, 2, "medzoo"))
        if one and two:
            found.append(Target(f"{case}: 2 threads against 1, wall clock", one / two, 1.7, 1.9, at_least=True))
    return found


def wall_clock(case: Case, rounds: int) -> list[dict[str, Any]]:
    """Time one and two threads in turns of five calls by wall clock, fastest of each: needs a quiet machine."""
    case.load()
    run = ours("auto")(case)
    best = {1: float("inf"), 2: float("inf")}
    for _ in range(rounds):
        for threads in best:
            torch.set_num_threads(threads)
            run()  # wakes the second processor, which slept through the turn before
            for _ in range(5):
                start = time.perf_counter()
                run()
                best[threads] = min(best[threads], time.perf_counter() - start)
    case.image = torch.empty(0)
    one, two = (f"{t * 1e3:.2f} ms" for t in best.values())
    print(f"\n{case.name}: wall clock, fastest of {5 * rounds}: 1 thread {one}, 2 threads {two}", flush=True)
    scaled = {t: b / case.voxels * 1e9 for t, b in best.items()}
    return [
        {
            "case": case.name,
            "threads": label,
            "contender": "medzoo",
            "field": "spline",
            "median": scaled[t],
            "min": scaled[t],
            "rounds": 5 * rounds,
        }
        for t, label in ((1, "wall 1"), (2, 2))
    ]


def machine() -> dict[str, str]:
    model = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    versions = {}
    for package in (
        "torch",
        "numpy",
        "scipy",
        "monai",
        "torchio",
        "SimpleITK",
        "batchgeneratorsv2",
        "kornia",
        "torchvision",
        "elasticdeform",
        "opencv-python-headless",
        "albumentations",
    ):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "processor": f"{model}, {os.cpu_count()} cores",
        "date": time.strftime("%Y-%m-%d"),
        "system": platform.platform(),
        "python": platform.python_version(),
        **versions,
        **{name: text.split(", ")[0] for name, text in backend_info().items()},  # without the path of the library
    }


def plot(rows: list[dict[str, Any]], info: dict[str, str], path: Path) -> None:
    import matplotlib.pyplot as plt

    cases = [c for c in ("512²", "128³") if any(r["case"] == c and r["contender"] == "TorchIO" for r in rows)] or [
        "512²",
        "128³",
    ]
    figure, axes = plt.subplots(1, len(cases), figsize=(11, 4.2), constrained_layout=True, squeeze=False)
    for axis, case in zip(axes[0], cases, strict=True):
        chosen = sorted(
            (r for r in rows if r["case"] == case and r["threads"] == 1 and r["contender"] in WHOLE),
            key=lambda r: -r["median"],
        )
        bars = axis.barh(
            [r["contender"] for r in chosen],
            [r["median"] for r in chosen],
            color=["#b3541e" if r["contender"] == "medzoo" else "#7f8c9b" for r in chosen],
        )
        axis.bar_label(
            bars, [f"{r['median']:.{1 if r['median'] < 100 else 0}f}" for r in chosen], padding=3, fontsize=8
        )
        axis.set_xscale("log")
        axis.set_xlim(1, axis.get_xlim()[1] * 3)
        axis.set_xlabel("ns per voxel, one thread (log scale)")
        axis.set_title(f"{case}: parameters + field + interpolation")
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    what = info["cpu reason"]
    figure.suptitle(f"{info['processor']}, torch {info['torch']}, {what}, {info['date']}", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two sizes, three rounds")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--patience", type=float, default=12.0, help="seconds a contender may take in a case")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    rounds = 3 if args.quick else args.rounds
    info = machine()
    print("\n".join(f"{k}: {v}" for k, v in info.items()))
    small, volume = Case("512²", 1, (512, 512)), Case("128³", 1, (128, 128, 128))
    rest = [
        Case("512² x 8", 8, (512, 512)),
        Case("1024²", 1, (1024, 1024)),
        Case("1024² x 8", 8, (1024, 1024)),
        Case("256³", 1, (256,) * 3),
    ]
    rows: list[dict[str, Any]] = []
    for case in (small, volume) if args.quick else (small, *rest[:3], volume, rest[3]):
        rows += measure(case, FAST if case in rest[:2] else WHOLE, rounds, 1, args.patience)
    for case in (small, volume):
        rows += measure(case, BACKWARD, rounds, 1, args.patience)
        rows += measure(case, PORTABLE, rounds, 1, args.patience)
    for case in (volume,) if args.quick else (*rest[1:3], volume, rest[3]):
        rows += wall_clock(case, rounds)
        folded = measure(case, {"torch folded": FAST["torch folded"]}, rounds, 2, args.patience)
        rows += folded
    points, errors, peak = landmarks(), accuracy(), memory()
    verdicts = targets(rows)
    verdicts.append(Target("largest error, displacements up to 8 voxels", errors["medzoo"], 5e-6, 3e-6))
    verdicts.append(Target("landmarks, mean error in pixels", points["medzoo"], 0.01, 0.001))
    verdicts.append(Target("peak memory of a call, in outputs (no bound for good)", peak, 1.1, 1.1))
    print("\ntargets (ratio, accept, good)")
    for t in verdicts:
        sign = "≥" if t.at_least else "≤"
        print(f"  {t.verdict:7s} {t.value:9.3g}  {sign} {t.accept:g}  {sign} {t.good:g}  {t.text}")
    if args.json:
        report = {
            "machine": info,
            "rows": rows,
            "landmarks": points,
            "accuracy": errors,
            "memory": peak,
            "targets": [{**asdict(t), "verdict": t.verdict} for t in verdicts],
        }
        args.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    if args.plot:
        plot(rows, info, args.plot)


if __name__ == "__main__":
    main()
