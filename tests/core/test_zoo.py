"""The zoo from Python: what a user guesses first works."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

import medzoo.core
from medzoo.core import CheckpointError, PluginError, create_datamodule, create_model, list_models, load_checkpoint
from medzoo.core.cli import main


def test_models_are_listed_by_pattern() -> None:
    assert list_models("toy*") == ["toy", "toy-stages"]


def test_a_model_is_built_by_name_and_trains_with_a_plain_trainer(tmp_path: Path) -> None:
    model, data = create_model("toy", width=5), create_datamodule("toy-data", n=8)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=False, default_root_dir=tmp_path, enable_progress_bar=False
    )
    trainer.fit(model, data)
    assert any(not torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_an_unknown_model_is_answered_with_the_nearest() -> None:
    with pytest.raises(PluginError, match="did you mean toy"):
        create_model("toyy")


def test_a_checkpoint_gives_the_model_back(workdir: Path) -> None:
    assert main(["fit", "--model", "toy", "--model.width", "5", "--trainer.max_epochs", "1"]) == 0
    path = workdir / "runs/toy/toy-data/0/checkpoints/last.ckpt"
    model = load_checkpoint(path)
    saved = torch.load(path, weights_only=True)["state_dict"]
    assert model.hparams["width"] == 5
    assert all(torch.equal(model.state_dict()[k], v) for k, v in saved.items())
    assert not model.training


def test_a_checkpoint_with_other_weights_is_refused(workdir: Path) -> None:
    assert main(["fit", "--model", "toy", "--trainer.max_epochs", "1"]) == 0
    path = workdir / "runs/toy/toy-data/0/checkpoints/last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["hyper_parameters"]["width"] = 6
    torch.save(checkpoint, "other.ckpt")
    with pytest.raises(CheckpointError, match=r"other.ckpt: does not fit"):
        load_checkpoint("other.ckpt")


def test_every_public_name_of_core_exists() -> None:
    assert all(hasattr(medzoo.core, name) for name in medzoo.core.__all__)
