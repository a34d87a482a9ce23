"""CARZero through the command line: the contract of the house, recipes, and what it promises of its own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image

from medzoo.core.classifier.data.phantoms import ClassPhantoms
from medzoo.core.errors import CheckpointError, ConfigError
from medzoo.core.testing import ModelContract
from medzoo.core.testing.recipes import packaged, parameters, resolved
from medzoo.vlm.carzero.module import CARZero
from medzoo.vlm.data.phantoms import ReportPhantoms
from medzoo.vlm.data.table import ReportTable

TINY: dict[str, Any] = {
    "model.size": 32, "model.width": 32, "model.inner": 32, "model.layers": 1, "model.batch": 8,
    "data.train": 24, "data.val": 6, "data.test": 9, "data.pixels": 32,
}  # fmt: skip
SMALL: dict[str, Any] = {
    "backbone": "test_efficientnet", "size": 32, "fit": "stretch", "zoom": 1.0, "stride": 8, "width": 32,
    "text_layers": 2, "words": 32, "layers": 1, "inner": 32, "head": "linear", "batch": 8,
}  # fmt: skip


class TestCARZero(ModelContract):
    name: ClassVar[str] = "carzero"
    tiny: ClassVar[dict[str, Any]] = TINY


class TestCabs(ModelContract):
    name: ClassVar[str] = "carzero"
    tiny: ClassVar[dict[str, Any]] = {**TINY, "model.negatives": False, "model.fusion": "cabs"}
    resumes: ClassVar[int | None] = 2


def data(**options: Any) -> ReportPhantoms:
    return ReportPhantoms(**{"train": 24, "val": 6, "test": 9, "pixels": 32, **options})


def trained(**options: Any) -> CARZero:
    torch.manual_seed(0)
    model = CARZero(**{**SMALL, **options})
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **quiet).fit(model, datamodule=data())
    return model.eval()


@pytest.fixture(scope="module")
def model() -> CARZero:
    return trained()


def test_a_training_on_other_labels_has_thresholds_of_its_own() -> None:
    """Those of the training before would call findings by images and weights that are not these."""
    first, other = trained(), data(diagnoses=True)
    assert first.cuts
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **quiet).fit(first, datamodule=other)
    assert first.classes == tuple(first.hparams["network"]["classes"]) == other.classes
    assert first.cuts
    assert set(first.cuts) <= set(other.classes)
    assert "thresholds" not in first.initial_weights(first.state_dict(), {})


PAPER: dict[str, Any] = {
    "backbone": "vit_base_patch16_224", "size": [224, 224], "fit": "pad", "mean": 0.4978, "spread": 0.2449,
    "width": 768, "words": 97, "fusion": "simr", "layers": 4, "inner": 1024, "head": "mlp", "dropout": 0.1,
    "targets": "diagonal", "sentences": 1, "prompts": "carzero", "negatives": False,
    "lr": 5e-5, "epochs": 15, "batch": 256,
}  # fmt: skip
BERT_BASE = {
    "size": {"vocabulary": 28_996, "width": 768, "layers": 12, "heads": 12, "inner": 3072, "positions": 512,
             "dropout": 0.1},
    "vocabulary": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
}  # fmt: skip


def test_the_recipes_are_these_and_the_paper_has_the_published_settings() -> None:
    assert packaged(["carzero"]) == {"carzero/default", "carzero/paper"}
    settings = resolved("carzero/paper")["model"]["init_args"]
    assert {name: settings[name] for name in PAPER} == PAPER
    assert settings["zoom"] == pytest.approx(256 / 224)
    assert resolved("carzero/default")["data"]["class_path"].endswith("ReportPhantoms")


def test_recipes_build_networks_of_their_size() -> None:
    """ViT-B/16 85.8 M, BERT-base without pooler 107.7 M, fusion 17.2 M; the reference has 9.5 M dead ones besides."""
    assert parameters("carzero/paper") == 85_798_656 + 17_205_761
    whole = parameters("carzero/paper", network={"text": BERT_BASE, "classes": []})
    assert whole == 85_798_656 + 107_719_680 + 17_205_761


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("fusion", "sum", "--model.fusion: expected simr, cabs, cosine, got sum"),
        ("prompts", "gpt", "--model.prompts: expected biovil, carzero"),
        ("backbone", "resnet_no", "--model.backbone: timm has no model"),
        ("stride", 7, "--model.backbone: test_efficientnet has maps of strides 2, 4, 8, 16, 32, not 7"),
        ("words", 2, "--model.words: expected at least 3, got 2"),
        ("zoom", 0.5, "--model.zoom: expected at least 1"),
        ("candidates", 0, "--model.candidates: expected at least 1, got 0"),
    ],
)
def test_a_wrong_option_costs_one_line(option: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        CARZero(**{**SMALL, option: value})
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_a_logit_depends_on_its_pair_alone(model: CARZero) -> None:
    batch = next(iter(data(size=32).test_dataloader()))
    texts = ["There is pneumothorax", "There is no pleural effusion", "Low inspiratory volumes of the left lung"]
    with torch.no_grad():
        image, text = model.encode_image(batch["image"]), model.encode_text(texts)
        together = model.similarity(image, text)
        rows = [model.similarity(model.encode_image(one[None]), text) for one in batch["image"]]
        columns = [model.similarity(image, model.encode_text([one])) for one in texts]
        model.hparams["chunk"] = 2
        chunked = model.similarity(image, text)
        model.hparams["chunk"] = None
    for other in (torch.cat(rows), torch.cat(columns, 1), chunked):
        assert torch.allclose(together, other, atol=1e-6, rtol=0)


def test_prompts_are_encoded_once_for_any_number_of_images(model: CARZero, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    encode = model.encode_text
    monkeypatch.setattr(model, "encode_text", lambda texts: (seen.extend(texts), encode(texts))[1])
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.test(model, datamodule=data(batch_size=2), verbose=False)
    assert [text for text in seen if seen.count(text) > 2] == []
    assert seen.count("There is pneumothorax") <= 2  # as a prompt, and where a report says just this


def test_a_label_of_which_the_model_knows_no_word_is_called_one_of_the_data(model: CARZero, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for level, name in enumerate("abcd"):
        Image.new("L", (32, 32), 60 + level).save(images / f"{name}.png")
    (tmp_path / "t.csv").write_text("id,text,found\n" + "".join(f"{name},There is mass.,字\n" for name in "abcd"))
    table = ReportTable(str(images), table=str(tmp_path / "t.csv"), labels=["found"])
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    with pytest.raises(ConfigError, match="labels of the data: the model knows no word of '字'"):
        trainer.test(model, datamodule=table, verbose=False)


def test_data_without_reports_cost_one_line(model: CARZero) -> None:
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    with pytest.raises(ConfigError, match="ClassPhantoms has no reports; choose") as error:
        trainer.test(model, datamodule=ClassPhantoms(train=4, val=2, test=2, pixels=32), verbose=False)
    assert "\n" not in str(error.value)


def test_at_most_so_many_reports_are_candidates_and_others_have_no_rank() -> None:
    model = trained(candidates=4)
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.test(model, datamodule=data(), verbose=False)
    assert model.evaluation is not None
    ranks = [row["rank"] for row in model.evaluation.rows()]
    assert sum(not math.isnan(rank) for rank in ranks) == 4
    assert trainer.callback_metrics["phantoms/candidates"] == 4


def test_no_label_reaches_training() -> None:
    loader = data(size=32, batch_size=4).train_dataloader()
    batch = next(iter(loader))
    assert "label" not in batch
    assert "text" not in batch
    assert len(batch["captions"]) == 4


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"conv.weight": torch.ones(3)}, path)
    with pytest.raises(CheckpointError, match=r"only 0 of \d+ tensors fit"):
        trained(weights=str(path))


def test_frozen_encoders_stay_as_they_are() -> None:
    model = trained(frozen=True)
    torch.manual_seed(0)
    fresh = CARZero(**SMALL, frozen=True)
    own, start = dict(model.image.named_parameters()), dict(fresh.image.named_parameters())
    assert all(torch.equal(own[name], start[name]) for name in own)
