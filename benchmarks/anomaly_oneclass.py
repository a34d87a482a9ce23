"""Methods that train on the tested categories beside rules that see the same normal images and train nothing.

    for s in 0 1 2; do medzoo fit --model ssm --seed_everything $s --data.seed $s --run_dir runs/ssm$s; done
    python benchmarks/anomaly_oneclass.py runs/ssm{0,1,2} --data.train 48

The rules get all normal images, those that the trained ones keep for a threshold too. `Gaussian` is one Gaussian over
the colours of 16 × 16 cells. PaDiM and PatchCore have the quick recipe's small network with random weights.

Beside a method that is given labelled abnormal images, which leave the test of all:

    python benchmarks/anomaly_oneclass.py runs/esad{0,1,2} --data.test 64 --data.known 4 --data.known_kinds scratch

`known` and `new` are the image AUROC with abnormal images of labelled kinds alone, and of the others.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from medzoo.anomaly.data.categories import Labelled
from medzoo.anomaly.data.textures import TexturePhantoms
from medzoo.anomaly.images.fewshot import FewShot
from medzoo.anomaly.images.gaussian import PositionGaussians
from medzoo.anomaly.padim.module import PaDiM
from medzoo.anomaly.patchcore.module import PatchCore
from medzoo.core.io import read_json
from medzoo.core.metrics.anomaly import aupro, auroc, region_weights

SMALL: dict[str, Any] = {"size": [64, 64], "widths": [32, 64, 128], "weights": "none", "smooth": 1.0}
CELLS = 16
METRICS = ("image_auroc", "pixel_auroc", "aupro", "known_auroc", "new_auroc")


def pixels(supports: Tensor, images: Tensor) -> Tensor:
    """Return the Mahalanobis distance of whole small images, `(B,)`."""
    flat = [functional.adaptive_avg_pool2d(x, CELLS).flatten(1)[:, :, None, None] for x in (supports, images)]
    return PositionGaussians.fit(flat[0]).distance(flat[1])[:, 0, 0]


def ranked(scores: Tensor, labels: Tensor, labelled: list[bool]) -> dict[str, float]:
    """Return the AUROC of images, and with abnormal ones of labelled kinds and of new kinds alone."""
    found = {"image_auroc": auroc(scores, labels)}
    if labelled:
        known = torch.tensor(labelled)
        for key, part in (("known_auroc", known), ("new_auroc", ~known)):
            kept = (labels == 0) | part
            found[key] = auroc(scores[kept], labels[kept])
    return found


@torch.no_grad()
def rules(seed: int, train: int, test: int, count: int, kinds: list[str]) -> dict[str, dict[str, float]]:
    """Return the means over the tested categories of every rule."""
    data = TexturePhantoms(
        train=train, test=test, pixels=64, shots=None, size=64, seed=seed, known=count, known_kinds=kinds
    )
    items, supports = Labelled(data.tested, (64, 64)), data.supports()
    torch.manual_seed(seed)
    nets: dict[str, FewShot[Any]] = {"PaDiM": PaDiM(**SMALL).eval()}
    nets["PatchCore"] = PatchCore(**SMALL, backbone="resnet18", share=0.05).eval()
    found: dict[str, list[dict[str, float]]] = {}
    for domain, category in enumerate(data.tested):
        chosen = [items[i] for i, group in enumerate(items.groups) if group == domain]
        images, labels = (torch.stack([s[key] for s in chosen]) for key in ("image", "label"))
        weights = torch.stack([region_weights(s["mask"]) for s in chosen])
        labelled = [s["kind"] in kinds for s in chosen] if count else []
        normal = supports[category.name].float()
        found.setdefault("Gaussian", []).append(ranked(pixels(normal, images), labels, labelled))
        for name, net in nets.items():
            scores, maps = net.score(net.reference(normal), images)
            row = ranked(scores, labels, labelled) | {
                "pixel_auroc": auroc(maps, weights),
                "aupro": aupro(maps, weights),
            }
            found.setdefault(name, []).append(row)
    return {name: {key: sum(r[key] for r in rows) / len(rows) for key in rows[0]} for name, rows in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", help="run folders of fits, one a seed")
    parser.add_argument("--data.train", dest="train", type=int, default=48)
    parser.add_argument("--data.test", dest="test", type=int, default=32)
    parser.add_argument("--data.known", dest="known", type=int, default=0)
    parser.add_argument("--data.known_kinds", dest="kinds", nargs="+", default=[])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    rows: dict[str, list[dict[str, float]]] = {}
    for run in options.runs:
        results = cast(dict[str, Any], read_json(Path(run) / "results.json"))
        rows.setdefault(str(results["model"]), []).append(
            {m: results["metrics"][f"mean/{m}"] for m in METRICS if f"mean/{m}" in results["metrics"]}
        )
    for seed in options.seeds:
        for name, figures in rules(seed, options.train, options.test, options.known, options.kinds).items():
            rows.setdefault(name, []).append(figures)
    for name, each in rows.items():
        cells = []
        for metric in each[0]:
            values = torch.tensor([figures[metric] for figures in each])
            spread = f" ± {values.std():.3f}" if len(each) > 1 else ""
            cells.append(f"{metric} {values.mean():.3f}{spread} ({', '.join(f'{v:.3f}' for v in values)})")
        print(f"{name:10}", "  ".join(cells), flush=True)


if __name__ == "__main__":
    main()
