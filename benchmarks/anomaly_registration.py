"""What training does for RegAD and CAReg, and how much of it is registration, on pictures that differ in pose.

    for s in 0 1 2; do
        medzoo fit --model regad --data.pose free --seed_everything $s --data.seed $s --run_dir runs/regad$s
    done
    python benchmarks/anomaly_registration.py runs/regad{0,1,2}/checkpoints/last.ckpt --pose free --draws 10

Networks of a seed: initial weights, drawn or of ImageNet, whose batch normalisation has seen the training pictures,
with no step of the optimiser; trained; of RegAD, trained with every spatial transformer set back to the identity; of
CAReg, both with the head of Gaussians. All get the same draws of the supports. Differences are paired: the same seed,
draw and category.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from medzoo.anomaly.careg.module import CAReg
from medzoo.anomaly.data.categories import Labelled
from medzoo.anomaly.data.items import Category
from medzoo.anomaly.data.textures import TexturePhantoms
from medzoo.anomaly.images.siamese import RegisteringMethod
from medzoo.anomaly.regad.module import RegAD
from medzoo.anomaly.regad.network import SpatialTransformer
from medzoo.core import load_checkpoint
from medzoo.core.metrics.anomaly import auroc

Net = RegisteringMethod[Any]

Tests = list[tuple[Tensor, Tensor, Tensor]]
"""Images, labels and masks of each tested category."""


def tests(data: TexturePhantoms, size: tuple[int, int]) -> Tests:
    items = Labelled(data.tested, size)
    samples = [items[i] for i in range(len(items))]
    found = []
    for domain in range(len(data.tested)):
        chosen = [s for s in samples if s["domain"] == domain]
        found.append(tuple(torch.stack([s[key] for s in chosen]) for key in ("image", "label", "mask")))
    return found  # type: ignore[return-value]


def initial(trained: Net, seed: int) -> Net:
    """Return the network as it was before training, of a seed; with ImageNet's weights if it began with them."""
    torch.manual_seed(seed)
    return type(trained)(**dict(trained.hparams))


def gaussian(net: Net) -> Net:
    """Return CAReg with the same weights and the head of Gaussians."""
    twin = CAReg(**{**dict(net.hparams), "weights": "none", "head": "gaussian"})
    twin.load_state_dict(net.state_dict())
    return twin.eval()


@torch.no_grad()
def calibrated(make: Callable[[], Net], others: tuple[Category, ...]) -> Net:
    """Return a network after its batch normalisation has seen eight pictures of each training category."""
    net = make().train()
    for _ in range(4):
        for category in others:
            net.aligned(torch.stack([torch.from_numpy(item.load()) for item in category.train[:8]]))
    return net.eval()


@torch.no_grad()
def still(net: RegAD) -> RegAD:
    """Return the network with transformers that leave everything in its place."""
    fixed = copy.deepcopy(net)
    for part, fresh in zip(fixed.modules(), initial(net, 0).modules(), strict=True):
        if isinstance(part, SpatialTransformer) and isinstance(fresh, SpatialTransformer):
            part.last.load_state_dict(fresh.last.state_dict())  # the identity before training
    return fixed.eval()


@torch.no_grad()
def figures(net: Net, supports: dict[str, Tensor], seen: Tests) -> Tensor:
    """Return image and pixel AUROC of every tested category, `(categories, 2)`."""
    rows = []
    for images, (pictures, labels, masks) in zip(supports.values(), seen, strict=True):
        reference = net.reference(images.float())
        parts = [net.score(reference, part) for part in pictures.split(16)]
        scores, maps = (torch.cat(values) for values in zip(*parts, strict=True))
        rows.append([float(auroc(scores, labels)), float(auroc(maps, masks.long()))])
    return torch.tensor(rows)


def shown(name: str, values: Tensor) -> None:
    """Print mean and spread of `(seeds, draws, categories, 2)`."""
    for index, metric in enumerate(("image AUROC", "pixel AUROC")):
        part = values[..., index]
        seeds = part.mean((1, 2))
        print(
            f"{name:34} {metric}  mean {part.mean():+.3f}  each seed {', '.join(f'{v:+.3f}' for v in seeds)}"
            f"  sd over draws {part.mean(2).std(1).mean():.3f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument(
        "--seeds", type=int, nargs="+", help="--data.seed of each checkpoint's fit; 0, 1, … if not given"
    )
    parser.add_argument("--pose", default="free")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--test", type=int, default=32, help="pictures of each tested category")
    options = parser.parse_args()
    found: dict[str, list[Tensor]] = {}
    seeds = options.seeds or range(len(options.checkpoints))
    for seed, checkpoint in zip(seeds, options.checkpoints, strict=True):
        trained = load_checkpoint(checkpoint).eval()
        assert isinstance(trained, RegisteringMethod)
        plain = TexturePhantoms(test=options.test, pose=options.pose, seed=seed)
        before = partial(calibrated, partial(initial, trained, seed), plain.others)
        makers: dict[str, Callable[[], Net]] = {"initial": before, "trained": partial(copy.copy, trained)}
        if isinstance(trained, RegAD):
            makers["trained, transformers still"] = partial(still, trained)
        else:
            makers["initial, Gaussians"] = partial(lambda make: gaussian(make()), before)
            makers["trained, Gaussians"] = partial(gaussian, trained)
        seen = tests(plain, trained.size)
        offered = [
            TexturePhantoms(test=0, pose=options.pose, seed=seed, support_draw=draw, size=list(trained.size)).supports()
            for draw in range(options.draws)
        ]
        for name, make in makers.items():
            net = make()
            found.setdefault(name, []).append(torch.stack([figures(net, supports, seen) for supports in offered]))
            print(f"  seed {seed} {name}: {found[name][-1].mean((0, 1)).tolist()}", flush=True)
    tables = {name: torch.stack(rows) for name, rows in found.items()}
    for name, values in tables.items():
        shown(name, values)
    shown("training", tables["trained"] - tables["initial"])
    if "trained, Gaussians" in tables:
        shown("training, Gaussians", tables["trained, Gaussians"] - tables["initial, Gaussians"])
    else:
        shown("registration", tables["trained"] - tables["trained, transformers still"])


if __name__ == "__main__":
    main()
