"""The method classifier: the contract of the house, and what it promises of its own."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import timm
import torch
from lightning.pytorch import Trainer

from medzoo.core.classifier.data.phantoms import ClassPhantoms
from medzoo.core.classifier.losses import balanced_weights, classes_loss, labels_loss
from medzoo.core.classifier.module import Classifier
from medzoo.core.classifier.network import ClassifierNetwork
from medzoo.core.cli import main
from medzoo.core.errors import ConfigError
from medzoo.core.tasks.classification import model_labels
from medzoo.core.testing import ModelContract
from medzoo.core.testing.recipes import packaged, parameters, resolved

TINY: dict[str, Any] = {
    "model.backbone": "test_resnet",
    "model.size": 32,
    "model.batch": 8,
    "data.train": 24,
    "data.val": 9,
    "data.test": 12,
    "data.pixels": 32,
}


class TestClassifier(ModelContract):
    name: ClassVar[str] = "classifier"
    tiny: ClassVar[dict[str, Any]] = TINY


class TestSeveralLabels(ModelContract):
    name: ClassVar[str] = "classifier"
    tiny: ClassVar[dict[str, Any]] = {**TINY, "data.multi_label": True, "data.missing": 0.2, "model.balanced": True}
    resumes: ClassVar[int | None] = 2


def table(path: str) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def fitted(data: Any, **options: Any) -> Classifier:
    model = Classifier(backbone="test_resnet", size=32, batch=8, **options)
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    return model


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit"])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_network_takes_images_in_the_unit_interval(name: str, channels: int) -> None:
    network = ClassifierNetwork(name, channels, 4, (64, 64)).eval()
    image = torch.rand(2, channels, 64, 64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    logits = network(image)
    assert logits.shape == (2, 4)
    with torch.no_grad():
        bare = network.model((image - network.mean) / network.spread)
    assert torch.equal(logits, bare)
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), image)
    assert gradient.abs().amax() > 0


def test_an_unknown_network_costs_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^--model\.backbone: timm has no model 'resnet_no'; known are .*resnet"):
        Classifier(["a", "b"], False, 1, backbone="resnet_no")


def test_the_quick_recipe_is_a_small_network_on_phantoms() -> None:
    assert packaged(["classifier"]) == {"classifier/default"}
    config = resolved("classifier/default")
    settings, data = config["model"]["init_args"], config["data"]["init_args"]
    assert (data["train"], data["augment"]) == (600, 0.3)
    assert {name: settings[name] for name in ("backbone", "size", "epochs")} == {
        "backbone": "test_resnet", "size": [64, 64], "epochs": 10,
    }  # fmt: skip
    assert parameters("classifier/default", classes=["a", "b", "c"], multi_label=False, channels=1) == 372_691


def test_a_logit_does_not_depend_on_what_else_is_in_the_batch() -> None:
    model = fitted(ClassPhantoms(16, 4, 6, pixels=32)).eval()
    batch = next(iter(ClassPhantoms(4, 4, 6, pixels=32, size=32).test_dataloader()))
    together = model.outputs(batch).logits
    alone = torch.cat([model.outputs({**batch, "image": batch["image"][i : i + 1]}).logits for i in range(6)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_weights_of_the_same_network_are_taken_but_for_the_head() -> None:
    source = timm.create_model("test_resnet", pretrained=False, num_classes=7)
    network = ClassifierNetwork("test_resnet", 1, 3)
    network.fill(source.state_dict())
    given, own = source.state_dict(), network.model.state_dict()
    head = [name for name, value in own.items() if given[name].shape[:1] != value.shape[:1]]
    assert sorted(head) == ["fc.bias", "fc.weight"]
    first = next(name for name, value in own.items() if value.ndim == 4)
    assert torch.equal(own[first], given[first].sum(1, keepdim=True))
    assert all(torch.equal(own[n], given[n]) for n in own if n not in (*head, first))
    with pytest.raises(ValueError, match="missing or of another shape"):
        network.fill(timm.create_model("test_convnext", pretrained=False).state_dict())


def test_losses_are_their_definitions() -> None:
    generator = torch.Generator().manual_seed(1)
    logits, label = torch.randn(6, 3, generator=generator), torch.tensor([0, 2, 1, 1, 0, 2])
    p = logits.softmax(1)
    assert classes_loss(logits, label).item() == pytest.approx(-p[range(6), label].log().mean().item())
    marks = torch.tensor([[1.0, 0.0, math.nan]] * 6)
    q = logits.sigmoid()
    by_hand = -torch.cat([q[:, 0].log(), (1 - q[:, 1]).log()]).mean()
    assert labels_loss(logits, marks).item() == pytest.approx(by_hand.item(), rel=1e-5)
    logits.requires_grad_(True)
    (gradient,) = torch.autograd.grad(labels_loss(logits, marks), logits)
    assert gradient[:, 2].abs().max() == 0
    assert gradient[:, :2].abs().min() > 0
    assert labels_loss(logits, torch.full((6, 3), math.nan)).item() == 0


def test_balanced_weights_give_each_class_the_same_sum() -> None:
    have = [30, 10, 0, 60]
    weights = balanced_weights(have, [100] * 4, False)
    assert np.multiply(weights, have).tolist() == pytest.approx([100 / 3, 100 / 3, 0, 100 / 3])
    assert balanced_weights([5, 0, 8], [20, 20, 8], True) == [3.0, 1.0, 1.0]


def test_classes_of_the_model_may_be_in_another_order_than_those_of_the_data() -> None:
    torch.manual_seed(0)
    plain = fitted(ClassPhantoms(16, 4, 6, pixels=32, classes=2))
    torch.manual_seed(0)
    turned = fitted(ClassPhantoms(16, 4, 6, pixels=32, classes=2), classes=["nodules", "clear"])
    assert plain.hparams["classes"] == ["clear", "nodules"]
    assert (plain.hparams["multi_label"], plain.hparams["channels"]) == (False, 1)
    image = torch.rand(64, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1])
    outputs = turned._answer(turned(image))
    assert model_labels(labels, outputs, ("clear", "nodules"), False).tolist() == [1, 0]
    with pytest.raises(ConfigError, match="has a class 'nodules', the model knows clear, lump"):
        fitted(ClassPhantoms(16, 4, 6, pixels=32, classes=2), classes=["clear", "lump", "rod"])


def test_data_of_another_task_or_colour_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"its images are grey, the model takes colour; see --data\.colour"):
        fitted(ClassPhantoms(8, 4, 4, pixels=32), channels=3)
    with pytest.raises(ConfigError, match="has several labels an image, the model gives one class an image"):
        fitted(ClassPhantoms(8, 4, 4, pixels=32, multi_label=True), multi_label=False)
    with pytest.raises(ConfigError, match=r"--model\.dropout: expected 0 to below 1, got 1"):
        Classifier(dropout=1.0)


def test_a_test_leaves_rows_figures_and_a_confusion_matrix(workdir: Path) -> None:
    flags = [part for key, value in TINY.items() for part in (f"--{key}", str(value))]
    cpu = ["--trainer.accelerator", "cpu", "--quiet"]
    assert main(["fit", "--model", "classifier", *flags, *cpu, "--trainer.max_epochs", "1", "--run_dir", "run"]) == 0
    names = {p.relative_to("run").as_posix() for p in Path("run").rglob("*") if p.is_file()}
    assert {"samples.csv", "confusion_phantoms.csv", "figures/phantoms_confusion.png"} <= names
    rows = table("run/samples.csv")
    accuracy = json.loads(Path("run/results.json").read_text())["metrics"]["phantoms/accuracy"]
    assert 1 - np.mean([float(row["error"]) for row in rows]) == pytest.approx(accuracy, abs=1e-6)
    assert "val/auroc" in table("run/metrics.csv")[0]
    assert main(["predict", "--ckpt_path", "run/checkpoints/last.ckpt", *cpu, "--run_dir", "predicted"]) == 0
    predicted = {row["id"]: row for row in table("predicted/predictions.csv")}
    assert {row["id"]: row["prediction"] for row in rows} == {n: row["prediction"] for n, row in predicted.items()}
