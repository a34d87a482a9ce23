"""`medzoo attack` on every model of the registry: it works, or one line says why not."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medzoo.adversarial.attack.callback import UnderAttack
from medzoo.adversarial.attack.command import run
from medzoo.adversarial.attack.goals import Aim, Setting, aim_at
from medzoo.adversarial.attack.report import Attempt
from medzoo.adversarial.engine import BIM, CrossEntropy, Noise
from medzoo.core import list_models
from medzoo.core.cli import main
from medzoo.core.errors import ConfigError
from medzoo.core.method import Method
from medzoo.core.registry import specs
from medzoo.core.sample import Batch
from medzoo.core.tasks.classification import ClassificationOutputs

POINTS = {"data.domains": ["chest"], "data.n_train": 4, "data.n_test": 2, "data.image_size": 48}
MATCHING = {
    "model.match_size": 64, "model.patch": 48, "model.points": 4, "model.vgg_widths": [4, 4, 4, 4, 4],
    "model.vgg_depths": [1, 1, 1, 1, 1], "model.decoder_widths": [4, 4, 4, 4], "model.embedding": 4, "model.size": 32,
    "model.match_batch": 4, "model.detect_batch": 4, **POINTS,
}  # fmt: skip
IMAGES = {"model.size": 32, "model.widths": [4, 6, 8], "data.train": 6, "data.test": 6, "data.pixels": 48}
CLASSES = {"data.train": 24, "data.val": 16, "data.test": 6, "data.pixels": 32}
SMALL = {"backbone": "test_resnet", "size": [32, 32], "batch": 8, "epochs": 1}
FITS: dict[str, dict[str, Any]] = {
    "heatmap": {"model.width": 4, "model.size": 32, **POINTS},
    "gu2net": {"model.size": [32, 32], "model.width": 2, "model.global_width": 4, "model.batch": 4, **POINTS},
    "cc2d": {**MATCHING, "model.finest_width": 4},
    "padim": IMAGES,
    "patchcore": IMAGES,
    "normnet": {
        "model.widths": [4, 8], "model.patch": [8, 8, 8], "model.members": 1, "model.epochs": 1, "data.train": 2,
        "data.val": 1, "data.test": 1, "data.size": [24, 24, 24],
    },
    "classifier": {**{f"model.{name}": value for name, value in SMALL.items()}, **CLASSES},
    "robust-classifier": {f"model.{name}": value for name, value in {**SMALL, "inner_steps": 1}.items()} | CLASSES,
    "aegis": {
        "model.victim_options": SMALL, "model.eps": [0.1], "model.attack_steps": 1, "model.shield_steps": 2, **CLASSES,
    },
    "hfc": {
        "model.victim_options": SMALL, "model.eps": 0.1, "model.attacks": ["fgsm"], "model.detectors": ["kd"],
        "model.layers": ["network.model.layer4.0.act2"], **CLASSES,
    },
    "ati-fgsm": {
        "model.victim_options": {"width": 4, "decoder_width": 8, "size": [32, 32], "steps": 2, "batch": 2},
        "model.eps": [0.1], "model.attack_steps": 1, **POINTS,
    },
}  # fmt: skip
"""Small fits of models that have gradients from their outputs to their images."""


@pytest.mark.slow
@pytest.mark.parametrize("name", FITS)
def test_a_registered_model_is_attacked(name: str, tmp_path: Path) -> None:
    flags = [p for k, v in FITS[name].items() for p in (f"--{k}", v if isinstance(v, str) else json.dumps(v))]
    own = ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--quiet", "--run_dir", str(tmp_path / "fit")]
    assert main(["fit", "--model", name, *flags, *own]) == 0
    bounds = ["--bounds", "-1100,3000"] if name == "normnet" else []
    eps = "100" if bounds else "32/255"
    path = str(tmp_path / "fit/checkpoints/last.ckpt")
    run([path, "--attack", "bim", "--steps", "3", "--eps", eps, "--run_dir", str(tmp_path / "out"), *bounds])
    with (tmp_path / "out/attack.csv").open() as file:
        clean, attacked = list(csv.DictReader(file))
    assert float(clean["linf"]) == 0
    assert float(attacked["linf"]) > 0
    assert float(attacked["success"]) >= float(clean["success"])
    assert 0 <= float(attacked["success_rounded"]) <= 1


def test_the_models_of_this_package_are_among_them() -> None:
    own = {spec.name for spec in specs("model") if spec.package == "medzoo-adversarial"}
    assert own <= set(FITS) <= set(list_models())


@dataclass
class Sums:
    """Outputs of a task that nobody knows: `(B, 2)`."""

    logits: Tensor


class Foreign(Method):
    """A third party's model."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(16, 2)

    def outputs(self, batch: Batch) -> Sums:
        return Sums(self.layer(batch["image"].flatten(1)))


def batch() -> Batch:
    images = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    names = [str(i) for i in range(6)]
    return {
        "image": images,
        "id": names,
        "path": names,
        "source": ["all"] * 6,
        "bright": (images.mean((1, 2, 3)) > 0.5),
    }


def under_attack(eps: float, steps: int = 3, bounds: tuple[float, float] = (0.0, 1.0)) -> UnderAttack:
    make = lambda loss: BIM(eps=eps, steps=steps, loss=loss)  # noqa: E731
    return UnderAttack(make, bounds, 2.0, 0)


TRAINER: Any = SimpleNamespace(datamodule=None)


def test_a_third_partys_task_is_attacked_once_its_aim_is_registered() -> None:
    with pytest.raises(ConfigError, match=r"knows no aim for Sums; register one with aim_at\.register"):
        under_attack(0.1).on_test_batch_start(TRAINER, Foreign(), batch(), 0)

    @aim_at.register
    def _sums(outputs: Sums, batch: Batch, setting: Setting) -> Aim:
        return Aim(lambda found: found.logits, CrossEntropy(), batch["bright"].long())

    found = {}
    for eps in (0.0, 4 / 255, 1.0):
        attack, one = under_attack(eps, 20), batch()
        attack.on_test_batch_start(TRAINER, Foreign(), one, 0)
        found[eps] = sum(row["success"] for row in attack.rows)
        if eps == 0:
            assert torch.equal(one["image"], batch()["image"])
            assert all(row["linf"] == 0 for row in attack.rows)
    assert found[0.0] <= found[4 / 255] <= found[1.0]
    assert found[1.0] == 6, "a budget of the whole range leads every image astray"


def test_more_steps_are_never_weaker() -> None:
    counts = []
    for steps in (1, 2, 5, 20):
        attack = UnderAttack(lambda loss, n=steps: BIM(eps=0.3, alpha=0.02, steps=n, loss=loss), (0.0, 1.0), 2.0, 0)
        attack.on_test_batch_start(TRAINER, Foreign(), batch(), 0)
        counts.append(sum(row["success"] for row in attack.rows))
    assert counts == sorted(counts)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
def test_a_change_below_half_a_grey_level_is_gone_in_a_file(bounds: tuple[float, float]) -> None:
    one, (low, high) = batch(), bounds
    one["image"] = low + (one["image"] * 255).round() / 255 * (high - low)
    attack = under_attack(0.4 / 255 * (high - low), bounds=bounds)
    torch.testing.assert_close(attack._as_saved(one["image"]), one["image"])
    clean = under_attack(0.0, bounds=bounds)
    attack.on_test_batch_start(TRAINER, Foreign(), dict(one), 0)
    clean.on_test_batch_start(TRAINER, Foreign(), dict(one), 0)
    assert [row["success_rounded"] for row in attack.rows] == [row["success"] for row in clean.rows]


def test_an_attack_on_a_twin_is_judged_on_the_model_itself() -> None:
    other = Foreign()
    with torch.no_grad():
        other.layer.weight.neg_()
        other.layer.bias.neg_()
    own, transferred = under_attack(0.3, 20), under_attack(0.3, 20)
    transferred.twin = other
    own.on_test_batch_start(TRAINER, Foreign(), batch(), 0)
    one = batch()
    transferred.on_test_batch_start(TRAINER, Foreign(), one, 0)
    wrong = Foreign().outputs(one).logits.argmax(dim=1) != one["bright"].long()
    assert [row["success"] for row in transferred.rows] == wrong.float().tolist()
    same = under_attack(0.3, 20)
    same.twin = Foreign()
    same.on_test_batch_start(TRAINER, Foreign(), batch(), 0)
    assert same.rows == own.rows, "of a model itself nothing is lost on the way"


class Classes(Foreign):
    """A classifier whose classes stand in an order of its own."""

    def __init__(self, names: tuple[str, str]) -> None:
        super().__init__()
        self.names = names
        with torch.no_grad():  # the logit of `bright` is the mean of the image less one half
            self.layer.weight.copy_(torch.tensor([[-1.0], [1.0]]).expand(2, 16))
            self.layer.bias.copy_(torch.tensor([8.0, -8.0]))
            if names[1] == "dark":
                self.layer.weight.neg_()
                self.layer.bias.neg_()

    def outputs(self, batch: Batch) -> Any:
        return ClassificationOutputs(self.layer(batch["image"].flatten(1)), self.names)


class Labels(Foreign):
    """A classifier of several labels."""

    def outputs(self, batch: Batch) -> Any:
        return ClassificationOutputs(self.layer(batch["image"].flatten(1)), ("bright", "round"), True)


def test_an_image_of_which_no_label_is_known_is_neither_led_astray_nor_withstands() -> None:
    trainer: Any = SimpleNamespace(datamodule=SimpleNamespace(classes=("bright", "round"), multi_label=True))
    attack, one = under_attack(1.0, 20), batch()
    one["label"] = torch.tensor([[1.0, torch.nan]] * 3 + [[torch.nan, torch.nan]] * 3)
    one["source"] = ["north"] * 3 + ["south"] * 3
    attack.on_test_batch_start(trainer, Labels(), one, 0)
    assert [row["source"] for row in attack.rows] == one["source"]
    assert [math.isnan(row["success"]) for row in attack.rows] == [False] * 3 + [True] * 3
    figures = Attempt({"eps": 1.0}, {}, attack.rows).figures()
    assert figures["success"] == figures["success_rounded"] == 1


@pytest.mark.parametrize("names", [("dark", "bright"), ("bright", "dark")])
@pytest.mark.parametrize("twin", [None, ("dark", "bright"), ("bright", "dark")])
def test_classes_are_found_by_name_whatever_their_order_in_data_model_and_twin(
    names: tuple[str, str], twin: tuple[str, str] | None
) -> None:
    trainer: Any = SimpleNamespace(datamodule=SimpleNamespace(classes=("dark", "bright"), multi_label=False))
    for eps, wrong in ((0.0, 0), (0.6, 6)):
        attack, one = under_attack(eps, 20), batch()
        attack.twin = None if twin is None else Classes(twin)
        one["label"] = one["bright"].long()
        attack.on_test_batch_start(trainer, Classes(names), one, 0)
        assert sum(row["success"] for row in attack.rows) == wrong


@pytest.mark.parametrize("shift", [-0.2, 0.5])
def test_images_beyond_the_bounds_are_refused_and_not_clipped(shift: float) -> None:
    one = batch()
    one["label"], one["image"] = one["bright"].long(), one["image"] + shift
    trainer: Any = SimpleNamespace(datamodule=None)
    with pytest.raises(ConfigError, match=r"^--bounds 0,1: the images of a batch go from .* give the lowest and"):
        under_attack(0.1).on_test_batch_start(trainer, Classes(("dark", "bright")), one, 0)


def test_noise_uses_the_whole_budget_and_is_weaker_than_a_search() -> None:
    counts = {}
    for name, make in (
        ("noise", lambda loss: Noise(eps=0.6, loss=loss)),
        ("bim", lambda loss: BIM(eps=0.6, steps=20, loss=loss)),
    ):
        attack, one = UnderAttack(make, (0.0, 1.0), 2.0, 0), batch()
        attack.on_test_batch_start(TRAINER, Foreign(), one, 0)
        counts[name] = sum(row["success"] for row in attack.rows)
        if name == "noise":
            change = (one["image"] - batch()["image"]).abs()
            inside = (one["image"] > 0) & (one["image"] < 1)
            assert torch.allclose(change[inside], torch.tensor(0.6))
    assert counts["noise"] < counts["bim"]


def test_batches_without_images_cost_one_line() -> None:
    with pytest.raises(ConfigError, match="batches have no 'image'"):
        under_attack(0.1).on_test_batch_start(TRAINER, Foreign(), {"signal": torch.rand(2, 3)}, 0)
