"""What a run does before and while it begins: help, refusals in one line, what it records."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from medzoo_toy.model import Toy

import medzoo.core
from medzoo.core.cli import main
from medzoo.core.runs.loggers import LOGGERS
from medzoo.core.runs.results import commit_of, git_commit, versions

FIT = ["fit", "--model", "toy", "--trainer.max_epochs", "1", "--quiet"]


@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
def test_help_needs_neither_model_nor_checkpoint(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: medzoo {verb} ")
    assert "--run_dir" in shown


def test_a_run_folder_of_300_characters_is_refused_in_one_line(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*FIT, "--run_dir", "x" * 300]) == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "--run_dir" in shown


def test_tensorboard_without_its_package_is_told_before_the_run(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("medzoo.core.runs.loggers.find_spec", lambda name: None)
    assert main([*FIT, "--logger", "csv,tensorboard"]) == 2
    assert "pip install tensorboard" in capsys.readouterr().err
    assert main([*FIT, "--logger", "tensorbord"]) == 2
    assert "--logger: expected csv, tensorboard, wandb, mlflow, got tensorbord" in capsys.readouterr().err
    assert not (workdir / "runs").exists()


@pytest.mark.parametrize("name", LOGGERS)
def test_a_logger_writes_what_was_logged_into_the_run_folder(
    name: str, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in LOGGERS[name][:1]:
        pytest.importorskip(package)
    monkeypatch.setenv("WANDB_SILENT", "true")
    assert main([*FIT, "--logger", name, "--trainer.log_every_n_steps", "1", "--run_dir", "run"]) == 0
    steps = [float(row["train/loss"]) for row in rows_of(workdir / "run/metrics.csv") if row["train/loss"]]
    assert steps
    if name == "csv":
        (file,) = workdir.glob("run/csv/*/metrics.csv")
        found = [float(row["train/loss"]) for row in rows_of(file) if row.get("train/loss")]
        assert found
        assert all(np.isfinite(found))
    elif name == "tensorboard":
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(workdir / "run/tensorboard"))
        events.Reload()
        assert events.Scalars("train/loss")
    elif name == "wandb":
        assert list(workdir.glob("run/wandb/offline-run-*/*.wandb"))
    else:
        client = pytest.importorskip("mlflow.tracking").MlflowClient(f"sqlite:///{workdir / 'run/mlflow.db'}")
        (experiment,) = [e for e in client.search_experiments() if e.name == "medzoo"]
        (run,) = client.search_runs([experiment.experiment_id])
        assert "train/loss" in run.data.metrics
    assert {path.name for path in workdir.iterdir()} == {"run"}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_resume_that_does_not_fit_leaves_the_record_of_the_run(workdir: Path) -> None:
    run = workdir / "run"
    assert main([*FIT, "--run_dir", "run"]) == 0
    before = {name: (run / name).read_bytes() for name in ("config.yaml", "environment.json")}
    assert main(["fit", "--resume", "--run_dir", "run", "--model.width", "9", "--trainer.max_epochs", "2"]) != 0
    assert {name: (run / name).read_bytes() for name in before} == before
    assert main(["fit", "--resume", "--run_dir", "run", "--trainer.max_epochs", "2", "--quiet"]) == 0
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["max_epochs"] == 2


def test_figures_of_earlier_weights_do_not_stay_beside_those_of_a_training_that_goes_on(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*FIT, "--run_dir", "run"]) == 0
    resume = ["fit", "--resume", "--run_dir", "run", "--quiet", "--trainer.max_epochs"]
    assert main([*resume, "1"]) == 0
    assert Path("run/results.json").is_file(), "nothing was left to train"
    with monkeypatch.context() as patch:
        patch.setattr(Toy, "training_step", lambda *given: sys.exit(9))
        assert main([*resume, "2"]) == 9
    assert not Path("run/results.json").exists()
    assert main([*resume, "2"]) == 0
    assert Path("run/results.json").is_file()


def test_a_run_records_the_packages_that_made_it(workdir: Path) -> None:
    assert main([*FIT, "--run_dir", "run"]) == 0
    for name in ("results.json", "environment.json"):
        assert json.loads((workdir / "run" / name).read_text())["versions"] == versions()
    assert {"medzoo-core", "medzoo-toy"} <= versions().keys()


def test_the_commit_is_that_of_medzoo_not_of_the_folder_one_works_in(workdir: Path) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    Path("kept.py").write_text("")
    for command in (["init", "-q"], ["add", "kept.py"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    Path("installed.py").write_text("")  # as in a virtual environment inside somebody's repository
    assert commit_of(Path("kept.py")) == head
    assert commit_of(Path("installed.py")) is None
    assert git_commit() != head
    assert git_commit() == commit_of(Path(medzoo.core.__file__))
