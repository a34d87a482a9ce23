"""NormNet on the CT phantom beside thresholding and an autoencoder, none of which sees a lesion label.

    medzoo fit --model normnet --run_dir runs/normnet-ct
    python benchmarks/anomaly_ct.py runs/normnet-ct/checkpoints/last.ckpt

All thresholds are chosen on healthy validation phantoms with synthetic lesions; the row `oracle` is thresholding with
the best single threshold of the test set, which no method may use.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from medzoo.anomaly.data.ct_phantom import CtPhantoms
from medzoo.anomaly.data.volumes import Patches, Volume
from medzoo.anomaly.lesions import PRESETS
from medzoo.anomaly.lesions.draws import gaussian
from medzoo.anomaly.lesions.generator import Lesions
from medzoo.anomaly.normnet.module import NormNet
from medzoo.anomaly.normnet.segment import Growth, grow, windowed
from medzoo.core.metrics.anomaly import PixelAnomalyMetrics
from medzoo.core.metrics.segmentation import SegmentationMetrics, best_threshold
from medzoo.core.metrics.segmentation import dice as dice_of
from medzoo.core.seeding import mix

Map = Callable[[Tensor, Tensor], Tensor]
"""From windowed image and organ to a score map."""


class Autoencoder(nn.Sequential):
    """A convolutional autoencoder with a narrow middle, trained on healthy patches."""

    def __init__(self, width: int = 12, code: int = 4) -> None:
        def down(i: int, o: int) -> list[nn.Module]:
            return [nn.Conv3d(i, o, 3, stride=2, padding=1), nn.InstanceNorm3d(o), nn.LeakyReLU(0.01)]

        def up(i: int, o: int) -> list[nn.Module]:
            return [
                nn.Upsample(scale_factor=2),
                nn.Conv3d(i, o, 3, padding=1),
                nn.InstanceNorm3d(o),
                nn.LeakyReLU(0.01),
            ]

        super().__init__(
            *down(1, width), *down(width, 2 * width), nn.Conv3d(2 * width, code, 1), *up(code, 2 * width),
            *up(2 * width, width), nn.Conv3d(width, 1, 3, padding=1),
        )  # fmt: skip


def trained(data: CtPhantoms, steps: int) -> Autoencoder:
    torch.manual_seed(0)
    net = Autoencoder()
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    patches = Patches(data.cases.train, (32, 40, 40), 2, None, 0, 2048)
    for step in range(steps):
        sample = patches[(step % len(patches), step // len(patches))]
        x = (windowed(sample["image"]) * sample["organ"])[:, None]
        loss = ((net(x) - x)[sample["organ"][:, None]] ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval()


def made_ill(volume: Volume, index: int) -> tuple[Lesions, Tensor]:
    """Return a healthy volume with synthetic lesions, in [0, 1], and its organ."""
    organ = torch.from_numpy(volume.organ)
    image = windowed(torch.from_numpy(volume.hu)) * organ
    generator = torch.Generator().manual_seed(mix(index, 7))
    return replace(PRESETS["lung"], none=0.0)(image, organ, volume.spacing[::-1], generator), organ


def spoiled(volume: Volume, index: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return image, organ and mask of a healthy volume with synthetic lesions."""
    made, organ = made_ill(volume, index)
    return made.image, organ, made.contribution.abs() >= 0.05


def validated(net: NormNet, count: int) -> None:
    """Print the Dice of whole masks on healthy phantoms with synthetic lesions, to choose a recipe by."""
    found = []
    for index, case in enumerate(CtPhantoms(val=count, test=0).cases.val):
        volume = case.load()
        made, organ = made_ill(volume, index)
        hu = torch.where(made.contribution != 0, made.image * 900 - 800, torch.from_numpy(volume.hu))
        with torch.no_grad():
            _, mask = net.segment(hu, organ, list(volume.spacing[::-1]))
        found.append(dice_of(mask, (made.contribution.abs() >= 0.05) & made.mask))
    print(f"validation: dice {sum(found) / len(found):.4f} of {len(found)} volumes")


def measure(name: str, score: Map, data: CtPhantoms, tests: list[Volume]) -> float:
    rule = Growth(rounds=0)
    pairs = [spoiled(case.load(), i) for i, case in enumerate(data.cases.val)]
    level, _ = best_threshold([score(x, o) for x, o, _ in pairs], [m for *_, m in pairs])
    dice, voxels = SegmentationMetrics(), PixelAnomalyMetrics(0.05)
    maps, masks = [], []
    for index, volume in enumerate(tests):
        organ, truth = torch.from_numpy(volume.organ), torch.from_numpy(volume.lesions) > 0  # type: ignore[arg-type]
        image = windowed(torch.from_numpy(volume.hu)) * organ
        found = score(image, organ)
        mask = grow((found >= level) & organ, torch.zeros_like(image), image, organ, rule, volume.spacing)
        dice.update(mask, truth, index)
        voxels.update(found[None], truth[None], organ[None])
        maps.append(found)
        masks.append(truth)
    show(name, dice, voxels)
    if name == "threshold":
        print(f"{'oracle':22} dice {best_threshold(maps, masks)[1]:.3f}")
    return float(dice.compute()["dice"])


def show(name: str, dice: SegmentationMetrics, voxels: PixelAnomalyMetrics) -> None:
    d, v = ({k: float(x) for k, x in m.compute().items()} for m in (dice, voxels))
    print(
        f"{name:22} dice {d['dice']:.3f} [{d['dice_low']:.3f}, {d['dice_high']:.3f}]  lesions found "
        f"{d['lesion_sensitivity']:.2f}  alarms a volume {d['alarms_per_volume']:.1f}  "
        f"voxel AUROC {v['pixel_auroc']:.3f}  AUPRO@0.05 {v['aupro']:.3f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--test", type=int, default=20, help="test volumes (the fit's own test uses the first 10)")
    parser.add_argument("--val", type=int, help="only the Dice on so many validation phantoms with synthetic lesions")
    parser.add_argument("--steps", type=int, default=400, help="training steps of the autoencoder")
    options = parser.parse_args()
    net = NormNet.load_from_checkpoint(options.checkpoint, map_location="cpu").eval()
    if options.val:
        validated(net, options.val)
        return
    data = CtPhantoms(test=options.test)
    tests = [case.load() for case in data.cases.test]
    dice, voxels = SegmentationMetrics(), PixelAnomalyMetrics(0.05)
    kinds: dict[str, SegmentationMetrics] = {}
    started = time.perf_counter()
    for index, (case, volume) in enumerate(zip(data.cases.test, tests, strict=True)):
        organ, truth = torch.from_numpy(volume.organ), torch.from_numpy(volume.lesions) > 0  # type: ignore[arg-type]
        with torch.no_grad():
            score, mask = net.segment(torch.from_numpy(volume.hu), organ, list(volume.spacing[::-1]))
        dice.update(mask, truth, index)
        kinds.setdefault(case.kind, SegmentationMetrics()).update(mask, truth, index)
        voxels.update(score[None], truth[None], organ[None])
    print(f"{len(tests)} volumes in {time.perf_counter() - started:.0f} s")
    show("NormNet", dice, voxels)
    for kind, metric in kinds.items():
        print(f"  {kind:20} dice {float(metric.compute()['dice']):.3f}")
    best = [
        measure("threshold", lambda x, organ: x, data, tests),
        measure("blurred threshold 1", lambda x, organ: gaussian(x, (1, 1, 1)) * organ, data, tests),
        measure("blurred threshold 2", lambda x, organ: gaussian(x, (2, 2, 2)) * organ, data, tests),
    ]
    net_ae = trained(data, options.steps)

    def residual(x: Tensor, organ: Tensor) -> Tensor:
        with torch.no_grad():
            return (x - net_ae(x[None, None])[0, 0]).clamp_min(0) * organ

    best.append(measure("autoencoder", residual, data, tests))
    best.append(measure("blurred autoencoder", lambda x, o: gaussian(residual(x, o), (1, 1, 1)) * o, data, tests))
    ours = float(dice.compute()["dice"])
    plain = ours / max(best[0], best[3])
    print(f"NormNet / plain threshold or autoencoder: {plain:.2f}; / best of all: {ours / max(best):.2f}")


if __name__ == "__main__":
    main()
