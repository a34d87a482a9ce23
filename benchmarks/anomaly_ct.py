"""NormNet on the CT phantom beside thresholds of brightness and an autoencoder, over several seeds.

    for s in 0 1 2; do medzoo fit --model normnet --seed_everything $s --data.seed $s --run_dir runs/ct$s; done
    python benchmarks/anomaly_ct.py runs/ct{0,1,2}/checkpoints/last.ckpt --test 40

A seed has patients of its own, to train on and to test. All thresholds are chosen on its healthy validation phantoms
with synthetic lesions, but for the fixed one and for rows named `oracle`, which take the best threshold of the test
volumes themselves, as no method may.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from medzoo.anomaly.data.cases import Volume
from medzoo.anomaly.data.ct_phantom import CtPhantoms
from medzoo.anomaly.data.volumes import PatchDataset
from medzoo.anomaly.lesions import PRESETS
from medzoo.anomaly.lesions.draws import gaussian
from medzoo.anomaly.lesions.generator import Lesions
from medzoo.anomaly.normnet.module import NormNet
from medzoo.anomaly.normnet.segment import Growth, grow, level_of, windowed
from medzoo.core.metrics.anomaly import PixelAnomalyMetrics
from medzoo.core.metrics.segmentation import SegmentationMetrics, best_threshold
from medzoo.core.metrics.segmentation import dice as dice_of
from medzoo.core.seeding import derive_seed

Map = Callable[[Tensor, Tensor], Tensor]
"""From windowed image and organ to a score map."""
Parts = tuple[Tensor, Tensor, Tensor]
"""Windowed image, organ and mask of the lesions."""


class Seen(NamedTuple):
    """What the rules of one seed see: validation volumes with synthetic lesions, test volumes, mm along x, y, z."""

    spoiled: list[Parts]
    tests: list[Parts]
    spacing: tuple[float, float, float]


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
    patches = PatchDataset(data.cases.train, (32, 40, 40), 2, None, 0, 2048)
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
    generator = torch.Generator().manual_seed(derive_seed(index, 7))
    return replace(PRESETS["lung"], none=0.0)(image, organ, volume.spacing[::-1], generator), organ


def spoiled(volume: Volume, index: int) -> Parts:
    """Return image, organ and mask of a healthy volume with synthetic lesions."""
    made, organ = made_ill(volume, index)
    return made.image, organ, made.contribution.abs() >= 0.05


def validated(net: NormNet, count: int, seed: int) -> None:
    """Print the Dice of whole masks on healthy phantoms with synthetic lesions, to choose a recipe by."""
    found = []
    for index, case in enumerate(CtPhantoms(val=count, test=0, seed=seed).cases.val):
        volume = case.load()
        made, organ = made_ill(volume, index)
        hu = torch.where(made.contribution != 0, made.image * 900 - 800, torch.from_numpy(volume.hu))
        with torch.no_grad():
            _, mask = net.segment(hu, organ, list(volume.spacing[::-1]))
        found.append(dice_of(mask, (made.contribution.abs() >= 0.05) & made.mask))
    print(f"validation: dice {sum(found) / len(found):.4f} of {len(found)} volumes")


def measure(name: str, score: Map, seen: Seen, level: float | None = None) -> float:
    """Print the figures of one rule and return its Dice; without a level the one that validation chooses is taken."""
    if level is None:
        pairs = seen.spoiled
        level, _ = best_threshold([score(x, o) for x, o, _ in pairs], [m for *_, m in pairs])
    rule = Growth(rounds=0)
    dice, voxels = SegmentationMetrics(), PixelAnomalyMetrics(0.05)
    for index, (image, organ, truth) in enumerate(seen.tests):
        found = score(image, organ)
        mask = grow((found >= level) & organ, torch.zeros_like(image), image, organ, rule, seen.spacing)
        dice.update(mask, truth, index)
        voxels.update(found[None], truth[None], organ[None])
    show(name, dice, voxels)
    return float(dice.compute()["dice"])


def oracle(name: str, score: Map, seen: Seen) -> float:
    """Print and return the best Dice that any one threshold reaches on the test volumes."""
    _, value = best_threshold([score(x, o) for x, o, _ in seen.tests], [truth for *_, truth in seen.tests])
    print(f"{name:22} dice {value:.3f}", flush=True)
    return value


def show(name: str, dice: SegmentationMetrics, voxels: PixelAnomalyMetrics) -> None:
    d, v = ({k: float(x) for k, x in m.compute().items()} for m in (dice, voxels))
    print(
        f"{name:22} dice {d['dice']:.3f} [{d['dice_low']:.3f}, {d['dice_high']:.3f}]  lesions found "
        f"{d['lesion_sensitivity']:.2f}  alarms a volume {d['alarms_per_volume']:.1f}  "
        f"voxel AUROC {v['pixel_auroc']:.3f}  AUPRO@0.05 {v['aupro']:.3f}",
        flush=True,
    )


def blurred(voxels: int) -> Map:
    return lambda x, organ: gaussian(x, (voxels,) * 3) * organ if voxels else x


def compared(checkpoint: str, data: CtPhantoms, steps: int) -> dict[str, float]:
    """Print the figures of NormNet and of every rule on the phantoms of one seed and return their Dice."""
    net = NormNet.load_from_checkpoint(checkpoint, map_location="cpu").eval()
    volumes = [case.load() for case in data.cases.test]
    spacing = volumes[0].spacing
    dice, voxels = SegmentationMetrics(), PixelAnomalyMetrics(0.05)
    kinds: dict[str, list[float]] = {}
    seen = Seen([spoiled(case.load(), i) for i, case in enumerate(data.cases.val)], [], spacing)
    started = time.perf_counter()
    for index, (case, volume) in enumerate(zip(data.cases.test, volumes, strict=True)):
        hu, organ, truth = (torch.from_numpy(part) for part in (volume.hu, volume.organ, volume.lesions))
        with torch.no_grad():
            score, mask = net.segment(hu, organ, list(spacing[::-1]))
        dice.update(mask, truth > 0, index)
        kinds.setdefault(case.kind, []).append(dice_of(mask, truth > 0))
        voxels.update(score[None], (truth > 0)[None], organ[None])
        seen.tests.append((windowed(hu) * organ, organ, truth > 0))
    print(f"{len(volumes)} volumes in {time.perf_counter() - started:.0f} s")
    show("NormNet", dice, voxels)
    found = {"NormNet": float(dice.compute()["dice"])}
    found |= {f"NormNet, {kind}": sum(values) / len(values) for kind, values in kinds.items()}
    found["fixed -600 HU"] = measure("fixed -600 HU", blurred(0), seen, level_of(-600))
    for width in range(3):
        name = f"threshold, blur {width}"
        found[name] = measure(name, blurred(width), seen)
        found[f"oracle, blur {width}"] = oracle(f"oracle, blur {width}", blurred(width), seen)
    net_ae = trained(data, steps)

    def residual(x: Tensor, organ: Tensor) -> Tensor:
        with torch.no_grad():
            return (x - net_ae(x[None, None])[0, 0]).clamp_min(0) * organ

    for width in range(2):
        name = f"autoencoder, blur {width}"
        found[name] = measure(name, lambda x, o, w=width: gaussian(residual(x, o), (w,) * 3) * o, seen)
    return found


def summary(found: list[dict[str, float]]) -> None:
    """Print means and standard deviations over seeds, and the ratios of NormNet to the rules seed by seed."""
    print("| rule | Dice, mean ± sd over seeds | each |\n|---|--:|---|")
    for name in found[0]:
        values = torch.tensor([row[name] for row in found])
        spread = float(values.std()) if len(found) > 1 else 0.0
        print(f"| {name} | {values.mean():.3f} ± {spread:.3f} | {', '.join(f'{v:.3f}' for v in values)} |")
    fair = [n for n in found[0] if n.startswith(("fixed", "threshold", "autoencoder"))]
    for told, names in (
        ("the best rule without labels", fair),
        ("the best plain threshold of the test set itself", ["oracle, blur 0"]),
        ("the best threshold of the test set itself, blurred or not", [n for n in found[0] if n.startswith("oracle")]),
    ):
        ratios = [row["NormNet"] / max(row[n] for n in names) for row in found]
        print(f"NormNet / {told}: {', '.join(f'{r:.2f}' for r in ratios)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument(
        "--seeds", type=int, nargs="+", help="--data.seed of each checkpoint's fit; 0, 1, … if not given"
    )
    parser.add_argument("--test", type=int, default=40, help="test volumes of each seed")
    parser.add_argument("--val", type=int, help="only the Dice on so many validation phantoms with synthetic lesions")
    parser.add_argument("--steps", type=int, default=150, help="training steps of the autoencoder")
    options = parser.parse_args()
    seeds = options.seeds or range(len(options.checkpoints))
    found = []
    for checkpoint, seed in zip(options.checkpoints, seeds, strict=True):
        if options.val:
            validated(NormNet.load_from_checkpoint(checkpoint, map_location="cpu").eval(), options.val, seed)
            continue
        print(f"--- seed {seed}")
        found.append(compared(checkpoint, CtPhantoms(test=options.test, seed=seed), options.steps))
    if found:
        summary(found)


if __name__ == "__main__":
    main()
