"""The method hfc: the contract of the house, and what it promises of its own."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from medzoo.adversarial.hfc.module import HFC
from medzoo.core import load_checkpoint
from medzoo.core.classifier.module import Classifier
from medzoo.core.cli import main
from medzoo.core.errors import ConfigError
from medzoo.core.testing import ModelContract
from medzoo.core.testing.recipes import packaged, resolved

VICTIM = {"backbone": "test_resnet", "size": [32, 32], "batch": 8, "epochs": 2}
TINY: dict[str, Any] = {
    "model.victim_options": VICTIM,
    "model.eps": 0.1,
    "model.attacks": ["fgsm", "bim"],
    "model.layers": ["network.model.layer1.0.act2", "network.model.layer4.0.act2"],
    "model.detectors": ["kd", "lid", "maha"],
    "model.attack_steps": 3,
    "model.hidden_steps": 4,
    "data.train": 24,
    "data.val": 24,
    "data.test": 12,
    "data.pixels": 32,
}


class TestHFC(ModelContract):
    name: ClassVar[str] = "hfc"
    tiny: ClassVar[dict[str, Any]] = TINY
    one_process: ClassVar[bool] = True
    resumes: ClassVar[int | None] = 2


def test_the_quick_recipe_is_a_small_classifier_of_two_classes_at_four_grey_levels() -> None:
    assert packaged(["hfc"]) == {"hfc/default"}
    config = resolved("hfc/default")
    settings, data = config["model"]["init_args"], config["data"]["init_args"]
    assert settings["eps"] == pytest.approx(4 / 255)
    assert settings["weight"] == 1.0
    assert (settings["components"], settings["covariance"], settings["hidden_steps"]) == (1, "shrunk", 40)
    assert settings["victim_options"]["backbone"] == "test_resnet"
    assert (data["classes"], data["val"], data["test"]) == (2, 160, 40)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hfc") / "run"
    flags = [p for k, v in TINY.items() for p in (f"--{k}", v if isinstance(v, str) else json.dumps(v))]
    fit = ["fit", "--model", "hfc", *flags, "--trainer.accelerator", "cpu", "--quiet", "--run_dir", str(folder)]
    assert main(fit) == 0
    return folder


def test_the_table_has_a_row_for_every_attack_and_detector(run: Path) -> None:
    with (run / "hiding.csv").open() as file:
        rows = list(csv.DictReader(file))
    attacks, detectors = {row["attack"] for row in rows}, {row["detector"] for row in rows}
    assert attacks == {"fgsm", "fgsm+hfc", "bim", "bim+hfc"}
    assert detectors == {"kd", "lid", "maha"}
    assert len(rows) == len(attacks) * len(detectors)
    for row in rows:
        assert 0 <= float(row["joint"]) <= float(row["success"]) <= 1
        assert float(row["linf"]) <= 0.1 + 1e-6
    for name in ("stress", "directions"):
        assert (run / f"{name}.csv").is_file()


def test_a_checkpoint_is_victim_of_another_and_its_weights_stay(run: Path, tmp_path: Path) -> None:
    first = str(run / "victim" / "checkpoints" / "last.ckpt")
    small = ["--model.eps", "0.1", "--model.attacks", '["fgsm"]', "--model.detectors", '["kd"]']
    data = ["--data.train", "24", "--data.val", "24", "--data.test", "6", "--data.pixels", "32"]
    out = ["--trainer.accelerator", "cpu", "--quiet", "--run_dir", str(tmp_path / "run")]
    assert main(["fit", "--model", "hfc", "--model.victim", first, *small, *data, *out]) == 0
    before, after = (load_checkpoint(p) for p in (first, tmp_path / "run/checkpoints/last.ckpt"))
    assert isinstance(before, HFC)
    assert isinstance(after, HFC)
    assert all(
        torch.equal(a, b)
        for a, b in zip(before.subject.state_dict().values(), after.subject.state_dict().values(), strict=True)
    )
    assert not any(parameter.requires_grad for parameter in after.parameters())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"eps": 0.0}, "--model.eps: expected above 0 and up to 1, got 0.0"),
        ({"attacks": ("magic",)}, "--model.attacks: expected fgsm, bim"),
        ({"detectors": ("magic",)}, "--model.detectors: expected kd, bu"),
        ({"stage": "none"}, "--model.stage: expected all, victim or attack, got none"),
        ({"components": 2, "covariance": "shrunk"}, "covariance: shrunk covariances are of one component"),
        ({"hidden_steps": 0}, "expected at least 1"),
        ({"weight": -1.0}, "--model.weight: expected at least 0"),
    ],
)
def test_a_wrong_option_is_one_line(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        HFC(**options)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--model.victim", "heatmap"], "--data"),
        (["--model.victim", "no/such.ckpt"], "no/such.ckpt: no such checkpoint file"),
        (["--model.victim", "clasifier"], "clasifier"),
        (["--model.victim_options", '{"depth": 3}'], "--model.victim_options: classifier takes no such options"),
        (["--model.layers", '["layer9"]'], "layers: the victim has no layer 'layer9'"),
        (["--data.multi_label", "true"], "exclusive classes"),
        (["--model.victim", "pbbl"], "--model.victim: pbbl is trained in stages; train it first and give its"),
    ],
)
def test_a_victim_that_cannot_be_used_is_one_line(
    flags: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = [p for k, v in TINY.items() for p in (f"--{k}", v if isinstance(v, str) else json.dumps(v))]
    if "--data.multi_label" in flags:
        tiny += ["--data.classes", "3"]
    own = ["--trainer.accelerator", "cpu", "--quiet", "--run_dir", str(tmp_path / "run")]
    assert main(["fit", "--model", "hfc", *tiny, *own, *flags]) == 2
    err = capsys.readouterr().err.strip()
    assert text in err
    assert err.count("\n") == 0, err


def test_a_victim_that_is_trained_has_all_of_its_hooks() -> None:
    """A mean of weights, such as that of fair-baseline, is kept at the end of each step."""

    class Counting(Classifier):
        heard: ClassVar[list[str]] = []

        def on_fit_start(self) -> None:
            self.heard.append("fit")

        def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
            self.heard.append(f"batch {batch_idx}")

    for stage, wanted in (("attack", []), ("victim", ["fit", "batch 3"])):
        model = HFC(stage=stage)
        model.victim = Counting()
        model.on_fit_start()
        model.on_train_batch_end(None, {}, 3)
        assert Counting.heard == wanted
