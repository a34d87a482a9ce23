"""A task that core does not know, from a plug-in: its own samples, outputs, evaluation, metric and verb."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
import torch
from medzoo_toy.signal.data import SignalSample, Waves

from medzoo.core import create_model
from medzoo.core.cli import main
from medzoo.core.registry import find
from medzoo.core.sample import collate
from medzoo.core.testing import DataModuleContract, ModelContract

ROOT = Path(__file__).parents[3]


class TestSignals(DataModuleContract):
    name = "signals"
    tiny = {"n": 6, "n_test": 5}


class TestSignalMean(ModelContract):
    name = "signal-mean"
    tiny = {"data.n": 8}
    differentiates_to = "signal"


def test_it_is_fitted_tested_and_predicts_in_its_own_terms(workdir: Path) -> None:
    fit = [
        "fit",
        "--model",
        "signal-mean",
        "--model.lr",
        "0.03",
        "--trainer.max_epochs",
        "12",
        "--trainer.accelerator",
        "cpu",
        "--quiet",
    ]
    assert main([*fit, "--run_dir", "run"]) == 0
    metrics = json.loads(Path("run/results.json").read_text())["metrics"]
    assert 0 < metrics["waves/mean_relative_error"] < 0.2
    with Path("run/samples.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [f"wave{i}" for i in range(7)]
    assert len({row["length"] for row in rows}) > 2, "the signals are of unequal length"
    assert main(["predict", "--ckpt_path", "run/checkpoints/last.ckpt", "--run_dir", "out", "--quiet"]) == 0
    records = json.loads(Path("out/predictions.json").read_text())["predictions"]
    assert [r["amplitude"] for r in records] == pytest.approx([float(row["prediction"]) for row in rows], abs=1e-6)


def test_what_is_padded_does_not_count() -> None:
    model, waves = create_model("signal-mean"), Waves(6, 0)
    together = model.outputs(collate([waves[i] for i in range(6)], SignalSample)).number
    alone = torch.cat([model.outputs(collate([waves[i]], SignalSample)).number for i in range(6)])
    assert torch.allclose(together, alone, atol=1e-6)


def test_its_verb_is_one_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert re.search(r"^  lengths +print how long the signals of a data set are$", capsys.readouterr().out, re.M)
    assert main(["lengths", "3"]) == 0
    assert len(capsys.readouterr().out.split()) == 3
    assert main(["lengths", "three"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_model_data_module_verb_and_metric_took_six_files_none_of_core() -> None:
    own = ROOT / "tests/toy/medzoo_toy/signal"
    entry_points = ROOT / "tests/toy/medzoo_toy-0.0.1.dist-info/entry_points.txt"
    added = [path for path in own.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    found = [find("model", "signal-mean"), find("datamodule", "signals"), find("verb", "lengths")]
    assert all(spec.target.startswith("medzoo_toy.signal.") for spec in found)
    assert len([*added, entry_points]) <= 6
    words = ("medzoo_toy", "signal-mean", "SignalMean", "mean_relative_error")
    sources = [path for path in (ROOT / "packages").rglob("*") if path.suffix in (".py", ".md", ".toml", ".yaml")]
    assert len(sources) > 100
    assert not [(path, w) for path in sources for w in words if w in path.read_text(encoding="utf8")]
