"""Does SCP choose good templates? `python benchmarks/landmark_selection.py RUN_FOLDER ...`, runs of trained matchers.

A folder is that of a run, or of its matching stage, as `runs/cc2d/landmark-phantoms/0/stage1`.

Every training image is tried as the one annotated image, with its true landmarks, on all test images. SCP itself sees
no label.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import yaml
from scipy.stats import spearmanr
from torch import Tensor

from medzoo.core import create_datamodule, load_checkpoint
from medzoo.core.geometry.points import to_network, to_original
from medzoo.core.registry import specs
from medzoo.landmark.data import LandmarkDataModule
from medzoo.landmark.data.datasets import LabelledImages
from medzoo.landmark.matching import search
from medzoo.landmark.method import LandmarkMethod
from medzoo.landmark.scp.search import greedy
from medzoo.landmark.scp.selector import SCP
from medzoo.landmark.shots import standardise

_SETS = 20


def error_of(model: LandmarkMethod, features: list[Tensor], templates: list[Tensor], tests: dict[str, Tensor]) -> float:
    """Mean radial error of these templates `(S, K, L)` at each stride, in the domain's unit."""
    cascade = model.cascade  # type: ignore[attr-defined]
    found = search.find(features, templates, model.embedder.strides, cascade.fuse, cascade.upsampling)  # type: ignore[union-attr]
    points = found.points
    away = (to_original(points, tests["affine"]) - tests["landmarks"]) * tests["scale"][:, None]
    return float(away.norm(dim=2)[tests["visible"]].mean())


def stacked(samples: LabelledImages) -> dict[str, Tensor]:
    """Return all samples as one batch."""
    rows = [samples[i] for i in range(len(samples))]
    keys = ("image", "affine", "landmarks", "visible", "scale")
    return {key: torch.stack([row[key] for row in rows]) for key in keys}  # type: ignore[literal-required]


@torch.no_grad()
def compare(model: LandmarkMethod, data: LandmarkDataModule, index: int) -> list[str]:
    """Return the row of one domain."""
    source, network = data.sources[index], model.embedder
    assert network is not None
    pool, tests = (
        stacked(LabelledImages(data._images([(index, name) for name in names]), data.sources))
        for names in (source.split.train, source.split.test)
    )
    features = network(standardise(tests["image"]), index)
    points = to_network(pool["landmarks"], pool["affine"])
    bilinear = model.cascade.upsampling == "bilinear"  # type: ignore[attr-defined]
    templates = search.take_templates(network(standardise(pool["image"]), index), points, network.strides, bilinear)
    one = np.array([error_of(model, features, [t[i : i + 1] for t in templates], tests) for i in range(len(points))])
    images = data._images([(index, name) for name in source.split.train])
    similarity = SCP().similarity(network, images, index)
    score, chosen = similarity.mean(axis=1), greedy(similarity, 3)
    three = error_of(model, features, [t[chosen] for t in templates], tests)
    rng = np.random.default_rng(0)
    sets = [rng.permutation(len(points))[:3] for _ in range(_SETS)]
    others = [error_of(model, features, [t[rows] for t in templates], tests) for rows in sets]
    return [
        f"{source.domain.name}, {source.domain.unit}",
        f"{np.median(one):.2f}",
        f"{one[chosen[0]]:.2f}",
        f"{100 * (one < one[chosen[0]]).mean():.0f} %",
        f"{one.min():.2f}",
        f"{spearmanr(score, one).statistic:.2f}",
        f"{np.median(others):.2f}",
        f"{three:.2f}",
        f"{100 * np.mean(np.array(others) < three):.0f} %",
    ]


def main() -> None:
    """Print a row for each domain of each matcher."""
    print(
        "| run | domain | 1 random (median) | 1 by SCP | better ones | best | Spearman | 3 random | 3 by SCP | better |"
    )
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for argument in sys.argv[1:]:
        folder = Path(argument)
        run = next(at for at in (folder, folder.parent) if (at / "config.yaml").is_file())
        config = yaml.safe_load((run / "config.yaml").read_text())["data"]
        name = next(s.name for s in specs("datamodule") if s.class_path == config["class_path"])
        model = load_checkpoint(folder / "checkpoints/last.ckpt")
        assert isinstance(model, LandmarkMethod)
        data = create_datamodule(name, **{**config["init_args"], "size": list(model.input_size)})
        assert isinstance(data, LandmarkDataModule)
        for index in range(len(data.domains)):
            print("| " + " | ".join([run.name, *compare(model, data, index)]) + " |", flush=True)


if __name__ == "__main__":
    main()
