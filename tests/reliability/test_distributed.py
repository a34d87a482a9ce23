"""F3, F6, F31 with two processes: the same answers as one, and the same bits after any interruption."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medzoo.core.cli import main
from medzoo.core.testing.processes import Command, pair
from medzoo.core.testing.replay import differences

Start = Callable[..., Command]
TWO = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu"]
FIT = ["fit", "--model", "toy", "--data.n", "23", "--data.val", "true", "--trainer.max_epochs", "6", "--quiet", *TWO]


def codes(both: list[Command]) -> list[int]:
    return [one.wait() for one in both]


def rows(run: Path) -> int:
    table = run / "metrics.csv"
    return table.read_text().count("\n") - 1 if table.is_file() else 0


@pytest.fixture
def reference(command: Start, tmp_path: Path) -> Path:
    both = pair(command, [*FIT, "--run_dir", "reference"])
    assert codes(both) == [0, 0], both[0].output()
    return tmp_path / "reference"


@pytest.mark.parametrize("size", [13, pytest.param(2, marks=pytest.mark.slow)])
def test_two_processes_answer_as_one_does(command: Start, workdir: Path, figure: Any, size: int) -> None:
    assert main(["fit", "--model", "toy", "--trainer.max_epochs", "1", "--run_dir", "run", "--quiet"]) == 0
    asked = ["--ckpt_path", "run/checkpoints/last.ckpt", "--data.n_test", str(size), "--data.val", "true", "--quiet"]
    with figure("F31", "test, validate, predict: 2 processes as 1") as count:
        for verb in ["test"] if size == 13 else ["test", "validate"]:
            assert main([verb, *asked, "--run_dir", f"{verb}1"]) == 0
            code = codes(pair(command, [verb, *asked, *TWO, "--run_dir", f"{verb}2"]))
            one, two = (json.loads(Path(f"{verb}{n}/results.json").read_text())["metrics"] for n in (1, 2))
            count(
                code == [0, 0] and one.keys() == two.keys() and all(abs(one[k] - two[k]) < 1e-6 * one[k] for k in one)
            )
        assert main(["predict", *asked, "--run_dir", "predict1"]) == 0
        code = codes(pair(command, ["predict", *asked, *TWO, "--run_dir", "predict2"]))
        one, two = (json.loads(Path(f"predict{n}/predictions.json").read_text())["predictions"] for n in (1, 2))
        same = [a["id"] == b["id"] and abs(a["sum"] - b["sum"]) < 1e-6 for a, b in zip(one, two, strict=False)]
        count(code == [0, 0] and len(one) == len(two) == size and all(same), (one, two))


@pytest.mark.parametrize("verb", ["test", "validate", "predict"])
def test_a_process_without_a_sample_joins_the_other(command: Start, workdir: Path, figure: Any, verb: str) -> None:
    assert main(["fit", "--model", "toy", "--trainer.max_epochs", "1", "--run_dir", "run", "--quiet"]) == 0
    lone = ["--data.n_test", "1", "--data.val", "true", "--data.n_val", "1", "--model.steps_log", "true"]
    asked = [verb, "--ckpt_path", "run/checkpoints/last.ckpt", *lone, "--quiet"]
    with figure("F31", "fewer samples than processes: 2 processes as 1") as count:
        assert main([*asked, "--run_dir", "one"]) == 0
        both = pair(command, [*asked, *TWO, "--run_dir", "two"])
        count(codes(both) == [0, 0], both[0].output())
        if verb == "predict":
            one, two = (
                json.loads(Path(f"{run}/predictions.json").read_text())["predictions"] for run in ("one", "two")
            )
        else:
            one, two = (json.loads(Path(f"{run}/results.json").read_text())["metrics"] for run in ("one", "two"))
            assert len(one) == 3
        count(one == two, (one, two))


def test_a_mean_that_cannot_be_taken_over_processes_is_refused(command: Start, workdir: Path) -> None:
    assert main(["fit", "--model", "toy", "--trainer.max_epochs", "1", "--run_dir", "run", "--quiet"]) == 0
    asked = ["--data.n_test", "1", "--model.steps_average", "true", "--quiet", "--run_dir", "tested"]
    both = pair(command, ["test", "--ckpt_path", "run/checkpoints/last.ckpt", *asked, *TWO])
    assert codes(both) == [2, 2]
    assert "'toy/mean' is averaged over processes step by step" in both[0].output()


def test_fewer_training_batches_than_processes_are_refused(command: Start, workdir: Path) -> None:
    both = pair(command, [*FIT, "--data.n", "4", "--run_dir", "two"])
    assert codes(both) == [2, 2]
    assert "1 training batches an epoch cannot be shared by 2 processes" in both[0].output()


def test_a_fit_whose_second_process_validates_and_tests_nothing(command: Start, workdir: Path, figure: Any) -> None:
    lone = ["--data.n_test", "1", "--data.n_val", "1", "--model.steps_log", "true", "--trainer.max_epochs", "3"]
    with figure("F31", "fewer samples than processes: a fit") as count:
        both = pair(command, [*FIT, *lone, "--run_dir", "two"])
        count(codes(both) == [0, 0], both[0].output())
        again = ["test", "--ckpt_path", "two/checkpoints/last.ckpt", "--run_dir", "one", "--quiet"]
        assert main([*again, "--trainer.devices", "1", "--trainer.strategy", "auto"]) == 0
        one, two = (json.loads(Path(f"{run}/results.json").read_text())["metrics"] for run in ("one", "two"))
        count(one == two, (one, two))
        count("val/mse" in Path("two/metrics.csv").read_text().splitlines()[0], "validated")


def interrupted(start: Start, reference: Path, seeds: range, signals: list[int], count: Any) -> None:
    for seed in seeds:
        rng, run = random.Random(seed), reference.parent / f"run{seed}"
        signum = signals[seed % len(signals)]
        both = pair(start, [*FIT, "--run_dir", str(run)])
        until = rng.randrange(1, 5)
        both[0].wait_for(lambda run=run, until=until: rows(run) >= until)
        time.sleep(rng.random() * 0.05)
        for one in both:
            one.kill(signum)
        ended = codes(both)
        resumed = pair(start, ["fit", "--resume", "--run_dir", str(run), "--quiet"])
        found = differences(reference, run) if codes(resumed) == [0, 0] else [resumed[0].output()[-500:]]
        good = ended == [128 + signum] * 2 or ended == [0, 0]
        count(good and not found, (seed, signum, ended, both[0].output()[-300:], found[:3]))


def test_two_killed_processes_continue_to_the_same_bits(command: Start, reference: Path, figure: Any) -> None:
    with figure("F3", "2 processes killed, resumed") as count:
        interrupted(command, reference, range(2), [signal.SIGKILL], count)


def test_two_processes_asked_to_stop_save_the_same_step(command: Start, reference: Path, figure: Any) -> None:
    with figure("F6", "2 processes: SIGTERM, SIGINT, resumed") as count:
        interrupted(command, reference, range(2), [signal.SIGTERM, signal.SIGINT], count)


@pytest.mark.slow
def test_ten_pairs_of_killed_processes(command: Start, reference: Path, figure: Any) -> None:
    with figure("F3", "2 processes killed, resumed: 10 runs") as count:
        interrupted(command, reference, range(100, 110), [signal.SIGKILL], count)


@pytest.mark.slow
def test_one_of_two_processes_dies_and_the_other_does_not_hang(command: Start, tmp_path: Path, figure: Any) -> None:
    with figure("F3", "1 of 2 processes killed: the other ends") as count:
        for victim in range(2):
            both = pair(command, [*FIT, "--trainer.max_epochs", "1000", "--run_dir", f"run{victim}"])
            both[0].wait_for(lambda victim=victim: rows(tmp_path / f"run{victim}") >= 1)
            both[victim].kill(signal.SIGKILL)
            count(both[1 - victim].wait(60) not in (0, None), victim)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["toy", "toy-stages"])
def test_the_console_script_starts_the_second_process_itself(workdir: Path, figure: Any, model: str) -> None:
    script = Path(sys.executable).with_name("medzoo")
    start = [str(script)] if script.is_file() else [sys.executable, "-m", "medzoo.core"]
    with figure("F31", "console script with 2 devices") as count:
        done = subprocess.run(
            [*start, "fit", "--model", model, "--trainer.max_epochs", "2", "--quiet", *TWO],
            capture_output=True,
            text=True,
            check=False,
        )
        run = Path(f"runs/{model}/toy-data/0")
        count(done.returncode == 0 and done.stdout.count("run folder") == 1, done.stdout + done.stderr)
        count([p.name for p in run.parent.iterdir()] == ["0"], "one folder for both")
        again = ["test", "--ckpt_path", str(run / "checkpoints/last.ckpt"), "--run_dir", "tested", "--quiet"]
        count(main(again) == 0, "test in one process")
        one, two = (json.loads((f / "results.json").read_text())["metrics"]["toy/mse"] for f in (Path("tested"), run))
        count(abs(one - two) < 1e-6 * one, (one, two))


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["the second", "the first"])
def test_a_lost_process_is_told_in_one_line_by_the_one_that_is_left(workdir: Path, lost: str) -> None:
    # The real launch: the first process starts the second one itself.
    endless = ["--trainer.max_epochs", "100000", "--run_dir", "run"]
    with Path("told.txt").open("w") as told:
        first = subprocess.Popen([sys.executable, "-m", "medzoo.core", *FIT, *endless], stdout=told, stderr=told)
    second: int | None = None
    try:
        begun = time.monotonic()
        while rows(Path("run")) < 2:
            assert first.poll() is None, Path("told.txt").read_text()
            assert time.monotonic() - begun < 60
            time.sleep(0.02)
        (second,) = map(int, Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split())
        os.kill(second if lost == "the second" else first.pid, signal.SIGKILL)
        assert first.wait(30) == (1 if lost == "the second" else -signal.SIGKILL)
        begun = time.monotonic()
        while Path(f"/proc/{second}/cmdline").exists() and Path(f"/proc/{second}/cmdline").read_bytes():
            assert time.monotonic() - begun < 30
            time.sleep(0.02)
    finally:
        first.kill()
        if second is not None and Path(f"/proc/{second}/cmdline").exists():
            os.kill(second, signal.SIGKILL)
    lines = [line for line in Path("told.txt").read_text().splitlines() if line]
    (line,) = (line for line in lines if line.startswith("medzoo: "))
    assert "another process of this run has ended" in line
    assert "--resume" in line
    assert not any("Traceback" in line for line in lines)
