"""Every packaged recipe: its resolved settings against the published code's, its size, and a dry run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medzoo.core.testing.recipes import dry_run, packaged, parameters, resolved

DOMAINS = {
    "head": [str(i) for i in range(19)],
    "hand": [str(i) for i in range(37)],
    "chest": [str(i) for i in range(6)],
}
HEAD = {"head": DOMAINS["head"]}
VGG19 = {"vgg_widths": [64, 128, 256, 512, 512], "vgg_depths": [2, 2, 4, 4, 4], "vgg_norm": "none", "embedding": 16}
STAGE2 = {"size": 384, "radius": 0.05, "target": "disc", "heat_weight": 2.0, "detect_lr": 3e-4, "detect_batch": 4}

# Settings of the methods' public code. Epochs count an image once: its lists repeat it 11 times in stage 1, 10 times
# in stage 2.
PUBLISHED: dict[str, dict[str, Any]] = {
    "uod/paper": {
        **VGG19, "stage": "all", "match_size": 384, "patch": 256, "points": 1, "window": 6, "temperature": 1.0,
        "clamp": True, "shared_network": False, "match_lr": 1e-5, "match_epochs": 1500, "match_steps": None,
        "match_batch": 6, "upsampling": "nearest", "fuse": "product", "vgg_weights": "vgg19",
        "size": 576, "embed": 128, "depths": [2, 2, 18, 2], "heads": [4, 8, 16, 32], "attention_window": 7,
        "attention": "query", "detect_lr": 1e-4, "detect_epochs": 300, "detect_steps": None, "detect_batch": 4,
        "target": "alpha_power", "sigma": 10.0, "decoder": "component_mean", "swin_weights": "swin_base",
        "schedule": "paper", "rehearsal": 0.0, "augment": 0.0,
    },
    "cc2d/paper": {
        **VGG19, **STAGE2, "stage": "all", "loss": "classic", "match_size": 384, "patch": 256, "window": 6,
        "match_lr": 1e-5, "match_decay": [50 * 11, 0.8], "match_epochs": 1280 * 11, "match_steps": None,
        "match_batch": 8, "upsampling": "nearest", "detect_decay": [30 * 10, 0.1], "detect_epochs": 90 * 10,
        "detect_steps": None, "schedule": "paper", "augment": 0.0,
    },
    "cc2d/v2": {
        **VGG19, **STAGE2, "stage": "all", "loss": "v2", "match_size": 384, "patch": 192, "window": 11, "embedding": 64,
        "upsampling": "bilinear", "match_lr": 1e-3, "match_decay": [50 * 11, 0.5], "match_epochs": 300 * 11,
        "match_batch": 8, "detect_epochs": 90 * 10, "schedule": "paper",
    },
    "igu-aug/paper": {
        **VGG19, "stage": "all", "loss": "classic", "size": 384, "patch": 64, "window": 9, "lr": 1e-4,
        "decay": [50 * 11, 0.8], "epochs": 400 * 11, "steps": None, "batch": 8, "alpha": 0.3, "mi": "counts",
        "mi_side": 64, "entropy": "original", "radius": 10, "upsampling": "bilinear", "vgg_weights": "vgg19",
        "schedule": "paper", "augment": 0.0,
    },
    "gu2net/paper": {
        "size": [512, 512], "width": 64, "global_width": 128, "target": "patch", "sigma": 3.0, "decoder": "argmax",
        "augment": 0.0, "lr": 1e-4, "schedule": "paper", "epochs": 100, "steps": None, "batch": 4, "rehearsal": 0.0,
    },
    "han/paper": {
        "widths": [64, 128, 320, 512, 1024], "target": "msra", "sigmas": [2.0, 2.0, 4.0], "decoder": "quarter",
        "heads": "mean", "lr": 4.5e-4, "epochs": 200, "steps": None, "batch": 1, "neck": 256, "rehearsal": 0.0,
    },
    "enlvam/paper": {
        "image": "amm", "widths": [6, 12, 24, 48], "columns": 64, "size": 128, "trained": "map", "lr": 1e-3,
        "schedule": "paper", "epochs": 100, "steps": None, "batch": 1,
    },
}  # fmt: skip
SIZES = {
    ("uod/default", "stage1"): 1_657_456, ("uod/default", "stage2"): 1_083_645,
    ("uod/paper", "stage1"): 188_863_776, ("uod/paper", "stage2"): 216_268_598,
    ("cc2d/default", "stage1"): 4_385_808, ("cc2d/default", "stage2"): 1_294_266,
    ("cc2d/paper", "stage1"): 246_494_304, ("cc2d/paper", "stage2"): 72_914_298,
    ("cc2d/v2", "stage1"): 174_022_272, ("cc2d/v2", "stage2"): 72_914_298,
    ("igu-aug/default", "round1"): 4_385_808, ("igu-aug/default", "round2"): 4_385_808,
    ("igu-aug/paper", "round1"): 246_494_304, ("igu-aug/paper", "round2"): 246_494_304,
    ("gu2net/default", None): 320_444, ("gu2net/paper", None): 4_381_052,  # 4.381 M in the public code
    ("han/default", None): 550_384, ("han/paper", None): 77_240_080,  # one head, 77.24 M in the public code
    ("heatmap/default", None): 937_326,
    ("enlvam/default", None): 68_524, ("enlvam/paper", None): 68_524,
    ("wiselvam/default", None): 137_132,  # no paper's recipe: the method is a reconstruction
}  # fmt: skip
SMALL = {
    "uod/paper": {"vgg_weights": "null", "swin_weights": "null", "match_size": 96, "patch": 64, "size": 112,
                  "match_batch": 2, "detect_batch": 2},
    "cc2d/paper": {"vgg_weights": "null", "match_size": 96, "patch": 64, "size": 96, "match_batch": 2,
                   "detect_batch": 2},
    "cc2d/v2": {"vgg_weights": "null", "match_size": 96, "patch": 64, "size": 96, "match_batch": 2,
                   "detect_batch": 2},
    "igu-aug/paper": {"vgg_weights": "null", "size": 96, "batch": 2},
    "gu2net/paper": {"size": "[128,128]"},
    "han/paper": {"size": "[128,128]"},
    "enlvam/paper": {"size": "32"},
}  # fmt: skip


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_a_paper_recipe_has_the_published_settings(recipe: str) -> None:
    config = resolved(recipe)
    settings = config["model"]["init_args"]
    assert {name: settings[name] for name in PUBLISHED[recipe]} == PUBLISHED[recipe]
    assert config["trainer"]["gradient_clip_val"] is None  # a habit of the quick recipes
    if recipe == "enlvam/paper":
        return  # clips have no shots
    shots = "all" if recipe in ("gu2net/paper", "han/paper") else 1
    assert config["data"]["init_args"]["shots"] == shots


@pytest.mark.parametrize(("recipe", "stage"), SIZES)
def test_a_recipe_builds_a_network_of_its_size(recipe: str, stage: str | None) -> None:
    domains = HEAD if recipe.startswith("han") else DOMAINS
    arguments = {} if recipe.startswith(("enlvam", "wiselvam")) else {"domains": domains}
    assert parameters(recipe, **arguments, **({"stage": stage} if stage else {})) == SIZES[recipe, stage]


@pytest.mark.parametrize("recipe", SMALL)
def test_a_paper_recipe_trains_and_tests_at_reduced_image_size(recipe: str, workdir: Path) -> None:
    data = {"data.n_train": 4, "data.n_test": 2}
    data |= {"data.image_size": 32, "data.n_val": 0} if recipe.startswith("enlvam") else {"data.domains": "[head]"}
    assert dry_run(recipe, {**{f"model.{name}": value for name, value in SMALL[recipe].items()}, **data}) == 0


def test_every_packaged_recipe_is_tested_here() -> None:
    found = packaged(("uod", "cc2d", "igu-aug", "gu2net", "han", "heatmap", "enlvam", "wiselvam"))
    assert found == {recipe for recipe, _ in SIZES}
    assert {recipe for recipe in found if not recipe.endswith("/default")} == PUBLISHED.keys() == SMALL.keys()
