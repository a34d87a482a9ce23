"""anomalib's models in a process of their own environment: what it gives, and what goes wrong in one line."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from medzoo.anomaly.anomalib.module import AnomalibModel
from medzoo.anomaly.anomalib.process import PYTHON, Worker
from medzoo.anomaly.data.textures import TexturePhantoms
from medzoo.core.cli import main
from medzoo.core.errors import ConfigError, MedzooError
from medzoo.core.io import read_json

SMALL = {"backbone": "resnet18", "pre_trained": False}
needs_anomalib = pytest.mark.skipif(
    PYTHON not in os.environ, reason=f"{PYTHON} names no environment; make anomalib does"
)


def one_line(fault: pytest.ExceptionInfo[MedzooError]) -> str:
    text = str(fault.value)
    assert "\n" not in text
    return text


def program(folder: Path, text: str) -> str:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_without_an_environment_one_line_says_how_to_make_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PYTHON, raising=False)
    with pytest.raises(ConfigError, match=r"python3 -m venv DIR .*pip install 'anomalib>=2.4'.*export") as fault:
        AnomalibModel()
    assert PYTHON in one_line(fault)


def test_an_environment_without_anomalib_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PYTHON, sys.executable)
    with pytest.raises(ConfigError, match=r"anomalib cannot be imported by .*No module named 'anomalib'") as fault:
        AnomalibModel()
    one_line(fault)


@pytest.mark.parametrize("named", ["missing", "", "a folder", "a file"])
def test_what_is_no_program_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a file").write_text("text")
    monkeypatch.setenv(PYTHON, str(tmp_path / named) if named else "")
    with pytest.raises(ConfigError, match=PYTHON) as fault:
        AnomalibModel()
    one_line(fault)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("exec sleep 60", "no answer in 0.5 s; --model.limit"),
        ("echo broken >&2; exit 3", r"ended without an answer \(broken\)"),
        ("echo hello; exec sleep 60", "is no Python of an environment with anomalib"),
        ("head -c 3000000 /dev/zero; exec sleep 60", "is no Python of an environment with anomalib"),
    ],
)
def test_a_program_that_does_not_answer_costs_one_line_and_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.setenv(PYTHON, program(tmp_path, text))
    worker = Worker(0.5 if "--model.limit" in message else 20)
    start = time.monotonic()
    with pytest.raises(ConfigError, match=message) as fault:
        worker.ask("build")
    one_line(fault)
    assert time.monotonic() - start < 10
    assert worker.process.poll() is not None
    assert not worker.folder.exists()


def test_a_killed_parent_ends_the_other_process_which_takes_its_folder_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PYTHON, sys.executable)
    code = (
        "import os; from medzoo.anomaly.anomalib.process import Worker; worker = Worker(20.0)\n"
        "print(worker.folder, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    folder, end = Path(done.stdout.strip()), time.monotonic() + 20
    assert folder.name.startswith("medzoo-anomalib-")
    while folder.exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert not folder.exists()


def test_no_option_and_so_no_checkpoint_names_a_program() -> None:
    # A path of the interpreter among the settings would let a checkpoint run any program of the machine.
    assert list(inspect.signature(AnomalibModel).parameters) == [
        "detector", "options", "size", "batch", "false_alarms", "score", "limit",
    ]  # fmt: skip


@pytest.mark.parametrize("place", ["hf-hub:someone/model", "local-dir:/tmp/x"])
def test_options_name_networks_and_no_places(place: str) -> None:
    with pytest.raises(ConfigError, match="is a place") as fault:
        AnomalibModel(options={"backbone": place})
    one_line(fault)


@pytest.mark.parametrize("limit", [0, -1.0, float("nan"), float("inf")])
def test_a_limit_is_a_time(limit: float) -> None:
    with pytest.raises(ConfigError, match=r"--model\.limit"):
        AnomalibModel(limit=limit)


@needs_anomalib
@pytest.mark.parametrize("detector", ["Padim", "Patchcore"])
def test_a_detector_of_anomalib_is_fitted_and_tested_on_our_images(detector: str) -> None:
    from lightning.pytorch import Trainer

    model = AnomalibModel(detector, SMALL, [64, 64])
    data = TexturePhantoms(train=6, test=8, pixels=64, test_categories=["gear"])
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(accelerator="cpu", max_epochs=1, **quiet)
    trainer.fit(model, datamodule=data)
    metrics = trainer.test(model, datamodule=data, verbose=False)[0]
    assert {"gear/image_auroc", "gear/aupro", "gear/specificity"} <= set(metrics)
    assert model.thresholds["gear"] > 0


ALONE = """
import sys, numpy as np, torch
from anomalib import models
from anomalib.data import ImageBatch
name, source, target = sys.argv[1:]
kind = getattr(models, name)
torch.manual_seed(0); np.random.seed(0)
made = kind(backbone="resnet18", pre_trained=False, post_processor=False, evaluator=False, visualizer=False,
            pre_processor=kind.configure_pre_processor(image_size=(64, 64))).train()
images = torch.from_numpy(np.load(source))
torch.manual_seed(0); np.random.seed(0)
with torch.no_grad():
    made.training_step(ImageBatch(image=made.pre_processor(images)), 0)
    made.fit()
    found = made.eval().model(made.pre_processor(images + 0.3))
np.savez(target, maps=found.anomaly_map.squeeze(1).numpy(), scores=found.pred_score.flatten().numpy())
"""


@needs_anomalib
@pytest.mark.parametrize("detector", ["Padim", "Patchcore"])
def test_scores_are_those_of_the_detector_before_scaling(detector: str, tmp_path: Path) -> None:
    supports = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "in.npy", supports.numpy())
    python = [os.environ[PYTHON], "-I", "-c", ALONE, detector, str(tmp_path / "in.npy"), str(tmp_path / "out.npz")]
    subprocess.run(python, check=True, capture_output=True)
    model = AnomalibModel(detector, SMALL, [64, 64]).eval()
    first, other = model.reference(supports), model.reference(supports[:2])
    scores, maps = model.score(first, supports + 0.3)  # after another was fitted
    with np.load(tmp_path / "out.npz") as raw:
        assert np.array_equal(scores.numpy(), raw["scores"])
        assert np.array_equal(maps.numpy(), raw["maps"])
    assert scores.max() > 1  # never squeezed into [0, 1]
    assert not torch.equal(model.score(other, supports + 0.3)[0], scores)
    assert not list(model.worker.folder.glob("*.npz"))


@needs_anomalib
def test_from_the_command_line_a_checkpoint_tells_the_figures_of_its_fit(workdir: Path) -> None:
    small = "--data.train 4 --data.test 4 --data.pixels 64 --data.test_categories [gear] --model.size [64,64]"
    assert not main(f"fit --model anomalib --model.detector Patchcore {small} --run_dir run --quiet".split())
    metrics = read_json(workdir / "run" / "results.json")["metrics"]
    assert {"gear/image_auroc", "gear/aupro", "gear/specificity"} <= set(metrics)
    assert not main(["test", "--ckpt_path", "run/checkpoints/last.ckpt", "--run_dir", "again", "--quiet"])
    assert read_json(workdir / "again" / "results.json")["metrics"] == metrics


@needs_anomalib
@pytest.mark.parametrize("detector", ["Stfpm", "NoSuch"])
def test_what_trains_by_gradient_or_does_not_exist_is_refused(detector: str) -> None:
    with pytest.raises(ConfigError, match=r"--model.detector: expected one of .*Padim"):
        AnomalibModel(detector)
    with pytest.raises(ConfigError, match=r"--model\.options: Padim refuses"):
        AnomalibModel("Padim", {"no_such": 1})
