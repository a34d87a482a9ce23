"""Which settings run: a packaged recipe, never one on top of another, then files, then flags; and how long."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from medzoo_toy.model import Toy
from PIL import Image

from medzoo.core import create_model, list_models
from medzoo.core.cli import main

CKPT = "runs/toy/toy-data/0/checkpoints/last.ckpt"


def fit(*args: str) -> int:
    return main(["fit", *args, "--quiet"])


def printed(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, dict[str, object]]:
    capsys.readouterr()
    assert main(["fit", *args, "--print_config"]) == 0
    return dict(yaml.safe_load(capsys.readouterr().out))


def trained(run: Path) -> tuple[int, int]:
    """Epochs and steps that a run's checkpoint has behind it."""
    checkpoint = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    return len(list(csv.reader((run / "metrics.csv").open()))) - 1, checkpoint["global_step"]


def test_a_packaged_recipe_has_nothing_of_the_default_one(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "--model", "toy")["trainer"]["max_epochs"] == 3  # of toy/default
    recipe = printed(capsys, "--config", "toy/long")
    assert recipe["trainer"]["max_epochs"] == 5
    assert recipe["model"]["init_args"]["width"] == 12
    bare = printed(capsys, "--config", "toy/bare")
    assert bare["trainer"]["max_epochs"] is None
    assert bare["data"]["class_path"] == "medzoo_toy.data.ToyData"  # the card's
    assert bare["data"]["init_args"]["n"] == 10  # of the recipe, which names no class


def test_a_packaged_recipe_lies_below_a_file_in_whatever_order(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.yaml").write_text("trainer: {max_epochs: 2}\n")
    for order in (["toy/long", "mine.yaml"], ["mine.yaml", "toy/long"]):
        flags = [part for name in order for part in ("--config", name)]
        config = printed(capsys, *flags)
        assert config["trainer"]["max_epochs"] == 2
        assert config["model"]["init_args"]["width"] == 12


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--config", "toy/long", "--config", "toy/bare"], "one packaged recipe"),
        (["--config", "toy/long", "--model", "toy-stages"], "a recipe of toy"),
        (["--config", "toy/lnog"], "known: toy/bare, toy/default, toy/long"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(
    workdir: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    assert main(["fit", *flags]) == 2
    assert words in capsys.readouterr().err


def test_help_shows_the_recipe(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", "toy/long", "--help"]) == 0
    page = capsys.readouterr().out
    assert "default: 12)" in page
    assert "the recipe has 5" in page
    assert "toy/long" in page


def test_python_and_the_command_line_mean_the_same_recipe(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for recipe in ("default", "long"):
        config = printed(capsys, "--config", f"toy/{recipe}")
        model = create_model("toy", recipe)
        assert {k: model.hparams[k] for k in config["model"]["init_args"]} == config["model"]["init_args"]
    assert create_model("toy", "long", width=4).hparams["width"] == 4


def test_max_steps_is_obeyed_by_a_method_counted_in_epochs(workdir: Path) -> None:
    assert fit("--model", "toy", "--trainer.max_steps", "5", "--trainer.max_epochs", "-1") == 0
    assert trained(workdir / "runs/toy/toy-data/0")[1] == 5


def test_a_finished_checkpoint_has_nothing_left_to_train(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--model", "toy", "--trainer.max_epochs", "1") == 0
    assert fit("--ckpt_path", CKPT, "--trainer.max_epochs", "1") == 2
    assert "nothing left to train" in capsys.readouterr().err
    assert fit("--ckpt_path", CKPT, "--trainer.max_epochs", "2") == 0
    assert {p.name for p in Path("runs/toy/toy-data").iterdir()} == {"0", "1"}  # the refused run left nothing


def test_all_stages_at_once_take_no_checkpoint(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--model", "toy", "--trainer.max_epochs", "1") == 0
    for flag in ("--ckpt_path", "--init_from"):
        assert fit("--model", "toy-stages", "--model.stage", "all", flag, CKPT) == 2
    assert "add --model.stage" in capsys.readouterr().err


def test_initial_weights_come_from_a_checkpoint_and_nothing_else_does(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit("--model", "toy", "--trainer.max_epochs", "1") == 0
    start = torch.load(CKPT, weights_only=True)["state_dict"]
    still = ["--model.lr", "0.0", "--trainer.max_epochs", "1"]
    assert fit("--model", "toy", "--init_from", CKPT, *still) == 0
    end = torch.load("runs/toy/toy-data/1/checkpoints/last.ckpt", weights_only=True)
    parameters = [name for name, _ in create_model("toy").named_parameters()]
    assert all(torch.equal(start[name], end["state_dict"][name]) for name in parameters)
    assert end["epoch"] == 0
    assert "8 of 8 tensors loaded" in capsys.readouterr().out


def test_initial_weights_bring_the_settings_of_their_model_under_those_of_the_command(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit("--model", "toy", "--model.width", "11", "--model.lr", "0.5", "--trainer.max_epochs", "1") == 0
    again = printed(capsys, "--init_from", CKPT, "--data", "toy-data", "--model.lr", "0.1")
    assert again["model"]["init_args"]["width"] == 11
    assert again["model"]["init_args"]["lr"] == 0.1
    assert printed(capsys, "--model", "toy", "--init_from", CKPT)["model"]["init_args"]["width"] == 11
    Path("own.yaml").write_text("model: {init_args: {width: 7}}")
    own = printed(capsys, "--model", "toy", "--config", "own.yaml", "--init_from", CKPT)
    assert own["model"]["init_args"]["width"] == 7
    named = printed(capsys, "--config", "toy/long", "--init_from", CKPT)
    assert named["model"]["init_args"]["width"] == 12, "a recipe that is named is meant as it is"


@pytest.mark.parametrize("model", ["classifier", "robust-classifier"])
def test_what_a_model_learns_of_its_data_does_not_come_with_initial_weights(model: str, workdir: Path) -> None:
    if model not in list_models():
        pytest.skip("its package is not installed: its options of classes are those of its base class")
    small = "--data.train 12 --data.val 6 --data.test 6 --model.size 32 --model.backbone test_efficientnet"
    steps = ["--trainer.max_steps", "1"]
    assert fit("--model", model, "--data", "class-phantoms", *small.split(), *steps, "--run_dir", "three") == 0
    for name in ("well", "ill"):
        Path("own", name).mkdir(parents=True)
        for k in range(6):
            Image.fromarray(np.full((40, 40), 20 * k + (name == "ill"), np.uint8)).save(f"own/{name}/{name}{k}.png")
    data = ["--data", "classes-folder", "--data.root", "own"]
    assert fit("--init_from", "three/checkpoints/last.ckpt", *data, *steps, "--run_dir", "two") == 0
    settings = torch.load("two/checkpoints/last.ckpt", weights_only=True)["hyper_parameters"]
    assert settings["classes"] == ["ill", "well"]
    assert settings["size"] == 32
    assert settings["backbone"] == "test_efficientnet"


@pytest.mark.parametrize("flag", ["--init_from", "--ckpt_path"])
def test_a_training_that_ends_before_its_first_checkpoint_starts_again_from_where_it_began(
    flag: str, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fit("--model", "toy", "--trainer.max_epochs", "1") == 0
    start = [flag, CKPT, "--trainer.max_epochs", "2"]
    assert fit("--model", "toy", *start, "--run_dir", "whole") == 0
    Path("again").mkdir()  # as a killed process leaves it
    with monkeypatch.context() as patch:
        patch.setattr(Toy, "training_step", lambda *given: sys.exit(9))
        assert fit("--model", "toy", *start, "--run_dir", "again") == 9
    assert fit("--resume", "--run_dir", "again") == 0
    whole, again = (torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True) for run in ("whole", "again"))
    assert all(torch.equal(value, again["state_dict"][name]) for name, value in whole["state_dict"].items())
    assert fit("--config", "whole/config.yaml", "--run_dir", "third") == 0, "and the configuration runs again as it did"
    third = torch.load("third/checkpoints/last.ckpt", weights_only=True)
    assert all(torch.equal(value, third["state_dict"][name]) for name, value in whole["state_dict"].items())
    Path(CKPT).unlink()
    assert fit("--resume", "--run_dir", "again", "--trainer.max_epochs", "3") == 0, "what it has of its own is enough"


def test_what_would_run_is_printed_with_what_it_starts_from_and_leaves_frozen(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit("--model", "toy", "--trainer.max_epochs", "1") == 0
    shown = printed(capsys, "--init_from", CKPT, "--freeze", "first", "--trainer.max_epochs", "1")
    assert (shown["init_from"], shown["freeze"]) == (CKPT, ["first"])
    Path("own.yaml").write_text(yaml.safe_dump(shown))
    assert fit("--config", "own.yaml") == 0
    out = capsys.readouterr().out
    assert "tensors loaded" in out
    assert "frozen: first" in out


def test_a_training_has_one_start(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--model", "toy", "--trainer.max_epochs", "1") == 0
    assert fit("--ckpt_path", CKPT, "--init_from", CKPT) == 2
    assert "give one of them" in capsys.readouterr().err
    assert fit("--resume", "--ckpt_path", CKPT) == 2
    assert "leave out --ckpt_path" in capsys.readouterr().err
    Path("own.yaml").write_text("init_from: [1]")
    assert fit("--model", "toy", "--config", "own.yaml") == 2
    assert "--config own.yaml: expected one checkpoint" in capsys.readouterr().err
    Path("own.yaml").write_text("init_from: hf://org/name")
    assert fit("--model", "toy", "--config", "own.yaml") == 2
    assert "--config own.yaml: init_from is on a server" in capsys.readouterr().err


def test_initial_weights_that_do_not_match_are_refused(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--model", "toy", "--trainer.max_epochs", "1") == 0
    assert fit("--model", "toy", "--model.width", "9", "--init_from", CKPT) == 2
    assert "of 8 tensors fit" in capsys.readouterr().err
    assert main(["test", "--ckpt_path", CKPT, "--init_from", CKPT]) == 2
    assert "--init_from starts a training" in capsys.readouterr().err
