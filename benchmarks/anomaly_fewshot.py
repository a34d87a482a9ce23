"""RegAD beside PaDiM and PatchCore on built-in categories that it never saw. Real images: anomaly_draws.py.

    medzoo fit --model regad --run_dir runs/regad-textures
    python benchmarks/anomaly_fewshot.py runs/regad-textures/checkpoints/last.ckpt --draws 3

The baselines have the same network with random weights of the same seed; `PaDiM 22` is PaDiM with all channels and
RegAD's 22 versions of each support, so that training is all that differs between it and RegAD.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from medzoo.anomaly.data.categories import CategoryDataModule, Labelled
from medzoo.anomaly.data.textures import TexturePhantoms
from medzoo.anomaly.images.fewshot import FewShot
from medzoo.anomaly.images.gaussian import PositionGaussians
from medzoo.anomaly.images.versions import augmented
from medzoo.anomaly.padim.module import PaDiM
from medzoo.anomaly.patchcore.module import PatchCore
from medzoo.anomaly.regad.module import RegAD
from medzoo.core.metrics.anomaly import aupro, auroc, region_weights

SMALL: dict[str, Any] = {"size": [128, 128], "widths": [32, 64, 128], "weights": "none", "smooth": 2.0}


class PaDiM22(PaDiM):
    """PaDiM with RegAD's versions of each support and all channels."""

    @torch.no_grad()
    def reference(self, supports: Tensor) -> PositionGaussians:
        """Estimate from all versions."""
        return PositionGaussians.fit(self.features(augmented(supports)))


def seeded(build: Callable[[], FewShot[Any]]) -> FewShot[Any]:
    torch.manual_seed(0)
    return build().eval()


def measured(model: FewShot[Any], data: CategoryDataModule, domain: int, supports: Tensor) -> dict[str, float]:
    items = Labelled(data.tested, model.size)
    chosen = [items[i] for i, group in enumerate(items.groups) if group == domain]
    reference = model.reference(supports.float())
    scores, maps = [], []
    with torch.no_grad():
        for start in range(0, len(chosen), 32):
            score, part = model.score(reference, torch.stack([s["image"] for s in chosen[start : start + 32]]))
            scores.append(score)
            maps.append(part)
    values, labels = torch.cat(scores), torch.stack([s["label"] for s in chosen])
    found = {"image AUROC": auroc(values, labels)}
    weights = torch.stack([region_weights(s["mask"]) for s in chosen])
    return found | {"pixel AUROC": auroc(torch.cat(maps), weights), "AUPRO": aupro(torch.cat(maps), weights)}


def table(models: dict[str, FewShot[Any]], made: Iterable[CategoryDataModule]) -> None:
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in models}
    for data in made:
        supports = data.supports()
        for name, model in models.items():
            started = time.perf_counter()
            for domain, category in enumerate(data.tested):
                found = measured(model, data, domain, supports[category.name])
                rows[name].append(found)
                print(
                    f"  {name:18} {category.name:12}", "  ".join(f"{k} {v:.3f}" for k, v in found.items()), flush=True
                )
            print(f"  {name:18} {time.perf_counter() - started:.0f} s", flush=True)
    for name, done in rows.items():
        for key in done[0]:
            values = torch.tensor([row[key] for row in done])
            spread = f"  sd over draws and categories {values.std():.3f}" if len(done) > 1 else ""
            print(f"{name:18} {key:12} mean {values.mean():.3f}{spread}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--shots", type=int, default=4)
    parser.add_argument("--anomalib", action="store_true", help="anomalib's Padim and Patchcore too")
    parser.add_argument("--only", nargs="+", help="rows of the table, such as PaDiM")
    options = parser.parse_args()
    models: dict[str, FewShot[Any]] = {
        "RegAD": RegAD.load_from_checkpoint(options.checkpoint, map_location="cpu").eval(),
        "PaDiM": seeded(lambda: PaDiM(**SMALL)),
        "PaDiM 22": seeded(lambda: PaDiM22(**SMALL, channels=0)),
        "PatchCore": seeded(lambda: PatchCore(**SMALL)),
    }
    if options.anomalib:
        from medzoo.anomaly.anomalib.module import AnomalibModel

        own = {"backbone": "resnet18", "pre_trained": False}
        for name in ("Padim", "Patchcore"):
            models[f"anomalib {name}"] = AnomalibModel(name, own, [128, 128]).eval()
    models = {name: model for name, model in models.items() if name in (options.only or models)}
    table(models, (TexturePhantoms(support_draw=d, shots=options.shots, size=128) for d in range(options.draws)))


if __name__ == "__main__":
    main()
