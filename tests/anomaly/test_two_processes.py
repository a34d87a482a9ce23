"""Two processes give the figures of one, also where the test images do not divide."""

from __future__ import annotations

import math
import signal
from pathlib import Path

import numpy as np
import pytest

from medzoo.core.cli import main
from medzoo.core.io import read_json, write_image
from medzoo.core.testing.processes import Command, pair

TWO = "--trainer.devices 2 --trainer.strategy ddp --trainer.accelerator cpu --quiet"
ONE = "--trainer.devices 1 --trainer.strategy auto --trainer.accelerator cpu --quiet"
NORMNET = (
    "--data.train 4 --data.size [16,20,24] --model.widths [2,4] --model.patch [8,8,8] --trainer.max_epochs 2 "
    "--trainer.check_val_every_n_epoch 2"
)
FITS = {
    "normnet": f"normnet {NORMNET} --data.val 3 --data.test 3",
    "normnet, one volume each": f"normnet {NORMNET} --data.val 1 --data.test 1",
    "regad": "regad --data.train 5 --data.test 5 --data.pixels 64 --data.shots 3 --data.test_categories [gear,pill] "
    "--model.size [64,64] --model.widths [8,12,16] --model.batch 8 --trainer.max_epochs 1",
    "arnet": "arnet --data.train 10 --data.test 5 --data.pixels 32 --data.shots null "
    "--data.test_categories [gear,pill] --model.size 32 --model.width 2 --model.batch 4 --trainer.max_epochs 1",
}


def figures(run: Path) -> dict[str, float]:
    """Return the metrics of a run, NaN where there is none."""
    metrics = read_json(run / "results.json")["metrics"]
    return {name: math.nan if value is None else value for name, value in metrics.items()}


def both(arguments: str, folder: Path) -> list[Command]:
    """Run a command in two processes to its end, which both must reach."""
    processes = pair(lambda args, env: Command(args, folder, env), f"{arguments} {TWO}".split())
    try:
        assert [process.wait() for process in processes] == [0, 0], processes[0].output()
    finally:
        for process in processes:
            process.kill(signal.SIGKILL)
    return processes


def equal(workdir: Path, first: str, second: str) -> None:
    """Check that two run folders hold the same figures and tables of the same length."""
    one, two = (figures(workdir / run) for run in (first, second))
    assert two == pytest.approx(one, rel=1e-6, abs=1e-6, nan_ok=True)
    for table in ("samples.csv", "lesions.csv", "landmarks.csv"):
        if (workdir / first / table).is_file():
            rows = [(workdir / run / table).read_text().splitlines() for run in (first, second)]
            assert len(rows[0]) == len(rows[1])


@pytest.mark.slow
@pytest.mark.parametrize("model", FITS)
def test_two_processes_measure_what_one_does(model: str, workdir: Path) -> None:
    both(f"fit --model {FITS[model]} --run_dir two", workdir)
    assert not main(f"test --ckpt_path two/checkpoints/last.ckpt --run_dir one {ONE}".split())
    equal(workdir, "one", "two")


@pytest.mark.slow
def test_a_process_without_an_image_joins_the_other(workdir: Path) -> None:
    for place, count in (("train/NORMAL", 3), ("test/NORMAL", 1)):
        for i in range(count):
            (workdir / "parts" / place).mkdir(parents=True, exist_ok=True)
            image = np.random.default_rng(i + count).random((3, 40, 48)).astype(np.float32)
            write_image(workdir / "parts" / place / f"{i}.png", image)
    data = "--data class-folder --data.root parts --data.shots 3"
    assert not main(f"fit --model padim {data} --model.size 64 --run_dir fit {ONE}".split())
    asked = "--ckpt_path fit/checkpoints/last.ckpt"
    for verb in ("test", "predict"):
        assert not main(f"{verb} {asked} --run_dir {verb}1 {ONE}".split())
        both(f"{verb} {asked} --run_dir {verb}2", workdir)
    equal(workdir, "test1", "test2")
    one, two = (read_json(workdir / run / "predictions.json")["predictions"] for run in ("predict1", "predict2"))
    assert [(r["id"], r["score"]) for r in one] == [(r["id"], pytest.approx(r["score"])) for r in two]
