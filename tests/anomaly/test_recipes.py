"""Every packaged recipe: its resolved settings, its size, and a dry run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medzoo.core.testing.recipes import dry_run, packaged, parameters, resolved

# RegAD: the public code's. PaDiM, PatchCore: their papers'. NormNet: its networks; the optimiser is not published.
# Sim2Real: the public code's first stage for the brain. ITF: nothing of its settings is published.
PAPER: dict[str, dict[str, Any]] = {
    "regad/paper": {"size": [224, 224], "backbone": "resnet18", "weights": "imagenet", "mode": "rotation_scale",
                    "batch": 32, "epochs": 50, "lr": 1e-4, "transformer_lr": None, "smooth": 4.0, "widths": None},
    "careg/paper": {"size": [224, 224], "backbone": "wide_resnet50_2", "weights": "imagenet", "head": "patches",
                    "inside": 256, "share": 0.1, "nearest": 9, "batch": 2, "epochs": 50, "lr": 1e-4, "smooth": 4.0,
                    "widths": None, "train_shots": None},
    "ssm/paper": {"size": [128, 128], "width": 64, "cells": [2, 4, 8], "mask_weight": 1.0, "rounds": 2, "tile": 8,
                  "tile_share": 0.8, "normal_threshold": 0.9843, "smooth": 7.0, "batch": 32, "epochs": 50, "lr": 1e-4},
    "arnet/paper": {"size": [32, 32], "width": 64, "angles": [0, 90, 180, 270], "colour": True, "mirror": True,
                    "batch": 32, "epochs": 125, "lr": 0.1},
    "esad/paper": {"tied": False, "spoil": "shuffle", "norm_weight": 1.0, "agree_weight": 1.0, "latent": 128,
                   "batch": 128},
    "itf/paper": {"size": [32, 32], "backbone": "resnet18", "widths": None, "latent": 128, "information": "contrast",
                  "entropy": "gaussian", "entropy_weight": 0.02, "temperature": 0.1, "mirror": True, "batch": 512,
                  "epochs": 500, "lr": 0.1, "weight_decay": 5e-4},
    "padim/paper": {"size": [224, 224], "backbone": "resnet18", "weights": "imagenet", "channels": 100, "smooth": 4.0},
    "patchcore/paper": {"size": [224, 224], "backbone": "wide_resnet50_2", "weights": "imagenet", "smooth": 4.0,
                        "nearest": 9, "share": 0.1},
    "mcf/paper": {"leads": 12, "rate": 500.0, "length": 4800, "beat": 480, "hidden": 50, "tail": 15, "norm": "lead",
                  "masked": 0.3, "batch": 32, "epochs": 50, "lr": 1e-4, "weight_decay": 1e-5},
    "ecg-ssl/paper": {"printout": True, "rate": 500.0, "length": 4800, "beat": 480, "hidden": 50, "tail": 15,
                      "head": [1360, 136], "norm": "lead", "masked": 0.3, "batch": 32, "epochs": 50, "lr": 1e-4},
    "ecg-longtail/paper": {"printout": True, "rate": 500.0, "length": 4800, "beat": 480, "hidden": 50, "tail": 15,
                           "head": [1360, 136], "masked": 0.3, "batch": 32, "epochs": 50, "lr": 1e-4, "negative": 4.0,
                           "margin": 0.05, "width": 128, "blocks": 16, "kernel": 16, "groups": 32, "dropout": 0.5},
    "ecg-rare/paper": {"printout": True, "rate": 500.0, "length": 4800, "beat": 480, "attribute_weight": 1.0,
                       "batch": 32, "epochs": 50, "lr": 1e-4, "width": 128, "blocks": 16, "kernel": 16, "groups": 32},
    "sim2real/paper": {"width": 32, "levels": 4, "patch": [128, 128, 128], "volume_mm3": [7000.0, 200000.0],
                       "even": True, "contrast": [1.0, 3.0], "blend": [0.2, 0.8], "healthy": 0.0, "epochs": 500,
                       "batch": 2, "lr": 0.01, "weight_decay": 3e-5, "threshold": 0.5},
    "normnet/paper": {"widths": [32, 64, 128, 256, 320], "members": 5, "threshold_hu": -500.0, "patch": [96, 96, 96]},
}  # fmt: skip
SIZES = {
    "normnet/default": 161_394, "normnet/paper": 78_348_005, "regad/default": 1_955_689, "regad/paper": 7_686_697,
    "careg/default": 409_984, "careg/paper": 25_388_352,
    "ssm/default": 1_177_096, "ssm/paper": 33_301_188,
    "arnet/default": 473_112, "arnet/paper": 13_395_840,
    "ecg-longtail/default": 842_122, "ecg-longtail/paper": 25_762_502,  # the classifier comes with the labels
    "ecg-rare/default": 842_122, "ecg-rare/paper": 25_762_502,
    "ecg-ssl/default": 842_122, "ecg-ssl/paper": 25_762_502,
    "sim2real/default": 323_862, "sim2real/paper": 2 * 19_073_795,  # the network and its teacher
    "itf/default": 98_528, "itf/paper": 2_815_552,
    "esad/default": 198_579, "esad/paper": 2_365_635,
    "mcf/default": 665735, "mcf/paper": 7_085_779,
    "padim/default": 327_296, "padim/paper": 2_782_784, "patchcore/default": 1_219_136, "patchcore/paper": 24_862_528,
}  # fmt: skip
IMAGES = {"model.size": "[64,64]", "model.weights": "none", "data.train": 4, "data.test": 4}
BARE = (
    "normnet",
    "sim2real",
    "esad",
    "itf",
    "ssm",
    "arnet",
    "mcf",
    "ecg-ssl",
    "ecg-longtail",
    "ecg-rare",
)  # without a backbone whose weights could be asked for
OWN = {"model.size": "[32,32]", "data.train": 10, "data.test": 4, "data.shots": "null", "data.pixels": 64}
SMALL = {
    "normnet/paper": {"model.patch": "[32,32,32]", "model.members": 1, "data.train": 2, "data.val": 1, "data.test": 1},
    "sim2real/paper": {
        "model.patch": "[16,16,16]",
        "data.train": 2,
        "data.val": 0,
        "data.test": 1,
        "data.unlabelled": 1,
        "data.size": "[20,24,28]",
    },
    "mcf/paper": {"data.train": 4, "data.val": 2, "data.test": 4, "model.batch": 2},
    "ecg-ssl/paper": {"data.train": 4, "data.val": 2, "data.test": 4, "model.batch": 2},
    "ecg-longtail/paper": {"data.normal": 4, "data.train": 4, "data.val": 2, "data.test": 4, "model.batch": 2},
    "ecg-rare/paper": {"data.normal": 4, "data.train": 4, "data.val": 2, "data.test": 4, "model.batch": 2},
    "regad/paper": IMAGES,
    "careg/paper": IMAGES | {"model.share": 0.01},
    "ssm/paper": OWN,
    "arnet/paper": OWN,
    "esad/paper": OWN | {"data.test": 8, "data.known": 1},
    "itf/paper": OWN,
    "padim/paper": IMAGES,
    "patchcore/paper": IMAGES,
}


@pytest.mark.parametrize("recipe", PAPER)
def test_a_paper_recipe_has_the_published_settings(recipe: str) -> None:
    config = resolved(recipe)
    settings = config["model"]["init_args"]
    assert {name: settings[name] for name in PAPER[recipe]} == PAPER[recipe]
    assert config["trainer"]["gradient_clip_val"] is None  # a habit of a quick recipe


@pytest.mark.parametrize("recipe", SIZES)
def test_a_recipe_builds_a_network_of_its_size(recipe: str) -> None:
    assert parameters(recipe, **({} if recipe.startswith(BARE) else {"weights": "none"})) == SIZES[recipe]


@pytest.mark.parametrize("recipe", SMALL)
def test_a_paper_recipe_trains_and_tests_at_reduced_image_size(recipe: str, workdir: Path) -> None:
    assert dry_run(recipe, SMALL[recipe]) == 0


def test_every_packaged_recipe_is_tested_here() -> None:
    found = packaged((*BARE, "regad", "careg", "padim", "patchcore"))
    assert found == SIZES.keys()
    assert {recipe for recipe in found if not recipe.endswith("/default")} == PAPER.keys() == SMALL.keys()
