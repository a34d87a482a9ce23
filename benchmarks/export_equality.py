"""Exports every model that claims to be exportable, from a short training, and measures how its files answer.

    python benchmarks/export_equality.py OUT.json [MODEL ...]

Each model is fitted for a few steps on its own phantoms, exported as ONNX and as .pt2, and compared with itself on 24
images of odd sizes, alone and three in a batch. Writes per model and format the largest difference of each output, the
size of the file and the seconds, or why it cannot be exported.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medzoo.core.cli import main
from medzoo.core.errors import MedzooError
from medzoo.core.export.check import compared, runner
from medzoo.core.export.graph import Graph, graph_of
from medzoo.core.export.write import description, write
from medzoo.core.phantoms import radiograph

POINTS: dict[str, Any] = {"data.domains": ["head", "chest"], "data.n_train": 8, "data.n_test": 2, "data.image_size": 64}
VGG = {"model.vgg_widths": [4] * 5, "model.vgg_depths": [1] * 5, "model.decoder_widths": [4] * 4, "model.embedding": 4}
STAGES = {"model.match_size": 64, "model.points": 4, "model.size": 32, "model.match_batch": 4, "model.detect_batch": 4}
IMAGES: dict[str, Any] = {
    "data.train": 4,
    "data.test": 4,
    "data.pixels": 64,
    "data.shots": 3,
    "data.test_categories": ["gear", "pill"],
    "model.size": [64, 48],
    "model.widths": [8, 12, 16],
}
OWN = {**{key: value for key, value in IMAGES.items() if key != "model.widths"}, "data.train": 10, "data.shots": None}
CLASSES: dict[str, Any] = {"model.backbone": "test_resnet", "model.size": 32, "model.batch": 8, "data.train": 24}
CLASSES |= {"data.val": 9, "data.test": 12, "data.pixels": 32}
SKIN = {**CLASSES, "data.val": 8}
PAIRS = {"data.train": 16, "data.val": 8, "data.test": 8}
REPORTS = {**PAIRS, "model.size": 32, "model.width": 32, "model.batch": 8}
MODELS: dict[str, dict[str, Any]] = {
    "heatmap": {**POINTS, "model.size": [32, 48], "model.width": 4, "model.decoder_width": 8, "model.steps": 60},
    "uod": {**POINTS, **STAGES, **VGG, "model.patch": 64, "model.embed": 8, "model.heads": [1, 1, 2, 2]},
    "cc2d": {**POINTS, **STAGES, **VGG, "model.patch": 48, "model.finest_width": 4, "trainer.max_epochs": 15},
    "igu-aug": {**POINTS, **VGG, "model.size": 64, "model.patch": 48, "model.points": 4, "model.radius": 4,
                "model.medium": 1.0, "model.high": 3.0, "model.references": 2, "model.batch": 4,
                "trainer.max_epochs": 8},
    "gu2net": {**POINTS, "model.size": [32, 32], "model.width": 4, "model.global_width": 4, "model.batch": 4,
               "trainer.max_epochs": 15},
    "han": {**POINTS, "model.size": [64, 32], "model.batch": 4},
    "padim": {**IMAGES, "model.channels": 10},
    "patchcore": IMAGES,
    "regad": {**IMAGES, "model.batch": 16},
    "careg": {**IMAGES, "model.batch": 16, "model.inside": 8, "model.share": 0.05},
    "ssm": {**OWN, "model.width": 2, "model.tile": 4, "model.cells": [4], "model.size": [64, 48]},
    "arnet": {**OWN, "model.width": 2, "model.size": 64},
    "esad": {**OWN, "model.width": 2, "model.latent": 4, "model.size": 64, "data.known": 1},
    "itf": {**OWN, "model.widths": [4, 6, 8], "model.latent": 4, "model.size": 64},
    "normnet": {"data.train": 2, "data.val": 1, "data.test": 2, "data.size": [16, 20, 24], "model.widths": [2, 4],
                "model.patch": [8, 8, 8]},
    "classifier": CLASSES,
    "robust-classifier": CLASSES,
    "fair-baseline": SKIN,
    "fair-adabn": SKIN,
    "jtt": SKIN,
    "lff": SKIN,
    "pbbl": SKIN,
    "ada-abc": {**SKIN, "model.members": 2, "model.hidden": 8},
    "ltml": {**SKIN, "data.structures": 3},
    "mica": REPORTS,
    "xcoop": {**PAIRS, "model.backbone_options": {"size": 32, "width": 32}},
}  # fmt: skip
"""Options with which a model of each kind is fitted in seconds; attacks on other models have no graph of their own."""
SIZES = 24


def images(graph: Graph) -> Iterator[Tensor]:
    """Yield radiographs of odd sizes."""
    for seed in range(SIZES):
        image = torch.from_numpy(radiograph("head", seed, 180).image).float()[None].expand(graph.channels, -1, -1)
        yield image[:, : 33 + 6 * seed, : 179 - 4 * seed].contiguous()


def fitted(name: str, folder: Path) -> Path:
    """Fit a model, and return its checkpoint."""
    options = {"trainer.max_epochs": 1, "trainer.accelerator": "cpu", **MODELS[name]}
    flags = [part for key, value in options.items() for part in (f"--{key}", json.dumps(value).strip('"'))]
    if main(["fit", "--model", name, *flags, "--run_dir", str(folder), "--quiet"]):
        raise SystemExit(f"{name} cannot be fitted")
    return folder / "checkpoints" / "last.ckpt"


def measured(name: str, folder: Path, kinds: tuple[str, ...] = ("onnx", "pt2")) -> dict[str, Any]:
    """Return what the files of a model differ by, or why there are none.

    Args:
        name: One of `MODELS`.
        folder: Where to fit and write.
        kinds: Formats.
    """
    checkpoint = str(fitted(name, folder / name))
    try:
        graph, predictor = graph_of(checkpoint, _first_source(name))
        about = description(graph, predictor, checkpoint)
    except MedzooError as error:
        return {kind: {"refused": str(error).replace(f"{checkpoint}: ", "")} for kind in kinds}
    found: dict[str, Any] = {}
    for kind in kinds:
        path, start = folder / f"{name}.{kind}", time.perf_counter()
        try:
            write(graph, path, kind, about)
        except MedzooError as error:
            found[kind] = {"refused": str(error)}
            continue
        seconds = time.perf_counter() - start
        table = compared(graph, runner(path, list(about["outputs"])), images(graph), about["facts"])
        found[kind] = {"outputs": table, "bytes": path.stat().st_size, "seconds": round(seconds, 1)}
    return found


def _first_source(name: str) -> str | None:
    known = MODELS[name].get("data.domains") or MODELS[name].get("data.test_categories")
    return known[0] if known else None


if __name__ == "__main__":
    target, *chosen = sys.argv[1:]
    results: dict[str, Any] = {}
    for model in chosen or MODELS:
        with tempfile.TemporaryDirectory() as place:
            try:
                results[model] = measured(model, Path(place))
            except Exception as error:  # noqa: BLE001 - one model's failure is a row of the table
                results[model] = {"failed": f"{type(error).__name__}: {error}"[:500]}
        Path(target).write_text(json.dumps(results, indent=1))
