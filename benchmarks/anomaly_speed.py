"""AUPRO and coreset beside anomalib's on the same inputs, and NormNet's inference beside MONAI's window alone.

python benchmarks/anomaly_speed.py                    # what needs no other package
pip install anomalib && python benchmarks/anomaly_speed.py --anomalib
python benchmarks/anomaly_speed.py --volume 300 512 512   # writes a volume and predicts it, with the peak memory
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from medzoo.anomaly.images.coreset import coreset
from medzoo.anomaly.normnet.module import NormNet
from medzoo.anomaly.normnet.segment import windowed
from medzoo.core.geometry.boxes import box_of
from medzoo.core.io.nifti_out import write_nifti
from medzoo.core.metrics.anomaly import aupro, region_weights
from medzoo.core.phantoms.ct import lung_ct


def seconds(work: Callable[[], object], repeats: int = 5) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def maps(count: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    masks = ndimage.gaussian_filter(rng.normal(size=(count, side, side)), (0, 8, 8)) > 0.05
    masks[::3] = False
    scores = ndimage.gaussian_filter(rng.normal(size=masks.shape), (0, 4, 4)) + 0.05 * masks
    return torch.from_numpy(scores).float(), torch.from_numpy(masks)


def compare_aupro(with_anomalib: bool) -> None:
    scores, masks = maps(40, 256)

    def ours() -> float:
        return aupro(scores, torch.stack([region_weights(mask) for mask in masks]))

    print(f"AUPRO of 40 maps of 256 x 256: {ours():.6f} in {seconds(ours):.3f} s")
    if not with_anomalib:
        return
    from anomalib.metrics.aupro import _AUPRO  # type: ignore[import-not-found]

    def theirs() -> float:
        metric = _AUPRO()
        metric.update(scores, masks.int())
        return float(metric.compute())

    value, spent = theirs(), seconds(theirs, 3)
    print(
        f"  anomalib: {value:.6f} in {spent:.3f} s; differ by {abs(value - ours()):.1e}; {spent / seconds(ours):.1f}x"
    )


def compare_coreset(with_anomalib: bool) -> None:
    points = torch.from_numpy(np.random.default_rng(1).normal(size=(8000, 128))).float()
    print(f"coreset of 800 from 8000 x 128: {seconds(lambda: coreset(points, 800), 3):.3f} s")
    if not with_anomalib:
        return
    from anomalib.models.components import KCenterGreedy  # type: ignore[import-not-found]

    sampler = KCenterGreedy(points, 0.1)
    chosen: list[int] = []

    def theirs() -> None:
        chosen[:] = [int(index) for index in sampler.select_coreset_idxs()]

    spent = seconds(theirs, 3)
    projected = sampler.features  # theirs chooses among randomly projected points: ours gets the same ones
    mine = seconds(lambda: coreset(projected, 800, chosen[0]), 3)
    same = coreset(projected, 800, chosen[0]).tolist() == chosen
    print(f"  anomalib: {spent:.3f} s, ours on the same points {mine:.3f} s, {spent / mine:.1f}x; equal: {same}")


def compare_window() -> None:
    from monai.inferers import sliding_window_inference

    net = NormNet(widths=[8, 16, 32], patch=[32, 40, 40], members=1).eval()
    made = lung_ct(0, (80, 96, 112))
    hu, organ = torch.from_numpy(made.image), torch.from_numpy(made.lungs)
    box = box_of(made.lungs, 4)
    part = (windowed(hu) * organ)[box][None, None]

    def alone() -> None:
        with torch.no_grad():
            sliding_window_inference(part, (32, 40, 40), 1, net.networks[0], overlap=0.5, mode="gaussian")

    def whole() -> None:
        with torch.no_grad():
            net.segment(hu, organ, [2.75, 2.6, 2.86])

    pairs = [(seconds(alone, 1), seconds(whole, 1)) for _ in range(5)]  # by turns: other work disturbs both alike
    a, b = (statistics.median(times) for times in zip(*pairs, strict=True))
    rate = part.numel() / 1e6
    print(
        f"window: MONAI alone {rate / a:.3f} M voxels/s, segment() {rate / b:.3f} M voxels/s, overhead {b / a - 1:+.1%}"
    )


def large_volume(size: list[int], threads: int) -> None:
    made = lung_ct(1, (75, 128, 128), ("consolidation",))
    zoom = [n / m for n, m in zip(size, made.image.shape, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        big = ndimage.zoom(made.image, zoom, order=1).astype(np.int16)
        spacing = [s * m / n for s, m, n in zip(made.spacing, made.image.shape[::-1], size[::-1], strict=True)]
        write_nifti(root / "data" / "image" / "big.nii.gz", big, spacing=spacing)
        write_nifti(root / "data" / "organ" / "big.nii.gz", ndimage.zoom(made.lungs, zoom, order=0), spacing=spacing)
        tiny = "--data.train 2 --data.val 1 --data.test 0 --model.members 1 --model.epochs 1 --model.overlap 0.25"
        fit = f"fit --model normnet {tiny} --trainer.check_val_every_n_epoch 1 --run_dir {root / 'run'}"
        ckpt = root / "run" / "checkpoints" / "last.ckpt"
        predict = (
            f"predict --ckpt_path {ckpt} --data nifti-volumes --data.root {root / 'data'} --run_dir {root / 'out'}"
        )
        call = [sys.executable, "-c", f"import torch; torch.set_num_threads({threads}); " + _MAIN]
        subprocess.run([*call, *fit.split()], check=True, capture_output=True)
        started = time.perf_counter()
        done = subprocess.run([*call, *predict.split()], check=True, capture_output=True, text=True)
        spent = time.perf_counter() - started
    peak = int(done.stderr.split("peak ")[1].split()[0]) / 2**20
    print(f"volume {' x '.join(map(str, size))}: predicted in {spent:.0f} s, peak memory {peak:.2f} GiB")


_MAIN = (
    "import sys, resource; from medzoo.core.cli import main; code = main(sys.argv[1:]); "
    "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr); sys.exit(code)"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--anomalib", action="store_true")
    parser.add_argument("--volume", type=int, nargs=3, metavar=("D", "H", "W"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.volume:
        large_volume(options.volume, options.threads)
        return
    compare_aupro(options.anomalib)
    compare_coreset(options.anomalib)
    compare_window()


if __name__ == "__main__":
    main()
