"""F2, F4, F6, F11: killed, asked to stop, cut while writing, started twice at once: nothing is lost or half written."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from medzoo.core.cli import main
from medzoo.core.errors import CheckpointError
from medzoo.core.runs.checkpoint_io import read_checkpoint
from medzoo.core.runs.folder import discard, new_run_folder
from medzoo.core.testing.processes import Command
from medzoo.core.testing.replay import differences

Start = Callable[..., Command]
FIT = ["fit", "--model", "toy", "--data.n", "22", "--data.val", "true", "--trainer.max_epochs", "6", "--quiet"]
EPOCHS = 6


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing interrupts."""
    run = tmp_path_factory.mktemp("reference") / "run"
    assert main([*FIT, "--run_dir", str(run)]) == 0
    return run


def epochs(run: Path) -> int:
    table = run / "metrics.csv"
    return table.read_text().count("\n") - 1 if table.is_file() else 0


def again(run: Path, *more: str) -> list[str]:
    """The command that a user types after an interruption."""
    own = ["--resume"] if (run / "config.yaml").is_file() else []
    return [*FIT, *own, "--run_dir", str(run), *more]


def interrupt(start: Start, run: Path, rng: random.Random, signum: int, workers: int, early: bool) -> tuple[int, str]:
    """Start or continue a run and send it a signal in a random epoch (or while it starts); return code and output."""
    (run.parent / Command.log_name).unlink(missing_ok=True)
    one = start(again(run, "--data.num_workers", str(workers)))
    begun, until = epochs(run), rng.randrange(1, EPOCHS - 1)
    if not early:
        one.wait_for(lambda: epochs(run) >= max(begun, until))
    time.sleep(rng.random() * 0.1)
    one.kill(signum, group=rng.random() < 0.5)
    return one.wait(), one.output()


def ends_the_same(start: Start, run: Path, reference: Path) -> list[str]:
    one = start(again(run))
    code = one.wait()
    found = [f"exit code {code}: {one.output()[-300:]}"] if code else differences(reference, run)
    return found + [f"left over: {p}" for p in run.rglob("*.part")]


def killed_and_continued(start: Start, reference: Path, folder: Path, seeds: Iterator[int], count: Any) -> None:
    for seed in seeds:
        rng, run = random.Random(seed), folder / f"run{seed}"
        for _ in range(rng.randint(1, 3)):
            interrupt(start, run, rng, signal.SIGKILL, workers=seed % 3, early=rng.random() < 0.2)
        found = ends_the_same(start, run, reference)
        count(not found, (f"seed {seed}", found[:3]))


def test_a_killed_run_continues_to_the_same_bits(command: Start, reference: Path, tmp_path: Path, figure: Any) -> None:
    with figure("F2", "kill -9 up to 3 times, 0-2 workers, resume") as count:
        killed_and_continued(command, reference, tmp_path, iter(range(3)), count)


@pytest.mark.slow
def test_thirty_killed_runs(command: Start, reference: Path, tmp_path: Path, figure: Any) -> None:
    with figure("F2", "kill -9 up to 3 times, 0-2 workers, resume: 30 runs") as count:
        killed_and_continued(command, reference, tmp_path, iter(range(100, 130)), count)


CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 138}


def asked_to_stop(start: Start, reference: Path, folder: Path, seeds: Iterator[int], count: Any) -> None:
    for seed in seeds:
        rng, run = random.Random(seed), folder / f"run{seed}"
        signum = list(CODES)[seed % 3]
        code, output = interrupt(start, run, rng, signum, workers=seed % 2 * 2, early=False)
        if (run / "results.json").is_file():  # the signal came after the end, when there was nothing left to save
            count(code in (0, CODES[signum]) and not differences(reference, run), (f"seed {seed}", signum, code))
            continue
        lines = [line for line in output.splitlines() if line.startswith("medzoo: ")]
        told = len(lines) == 1 and "--resume" in lines[0] and "Traceback" not in output
        found = ends_the_same(start, run, reference)
        count(code == CODES[signum] and told and not found, (f"seed {seed}", signum, code, output[-600:], found[:3]))


def test_a_run_asked_to_stop_saves_and_tells_the_signal(
    command: Start, reference: Path, tmp_path: Path, figure: Any
) -> None:
    with figure("F6", "SIGTERM, SIGINT, SIGUSR1: saved, exit code, resume") as count:
        asked_to_stop(command, reference, tmp_path, iter(range(4)), count)


@pytest.mark.slow
def test_twenty_runs_asked_to_stop(command: Start, reference: Path, tmp_path: Path, figure: Any) -> None:
    with figure("F6", "SIGTERM, SIGINT, SIGUSR1: saved, exit code, resume: 20 runs") as count:
        asked_to_stop(command, reference, tmp_path, iter(range(200, 220)), count)


def test_a_signal_between_gradients_of_one_step_waits_for_the_step(command: Start, tmp_path: Path, figure: Any) -> None:
    fit = [*FIT, "--trainer.accumulate_grad_batches", "4"]
    assert main([*fit, "--run_dir", str(tmp_path / "whole")]) == 0
    with figure("F6", "signal while gradients accumulate") as count:
        for seed in range(2):
            run = tmp_path / f"run{seed}"
            one = command([*fit, "--run_dir", run])
            one.wait_for(lambda run=run, seed=seed: epochs(run) > seed)
            one.kill(signal.SIGTERM)
            code = one.wait()
            resumed = command(["fit", "--resume", "--run_dir", run]).wait()
            count(code in (0, 143) and resumed == 0 and not differences(tmp_path / "whole", run), (code, resumed))


def test_a_signal_outside_of_training_ends_the_run_at_once(command: Start, tmp_path: Path, figure: Any) -> None:
    # A test of 3 minutes: Lightning alone would end it with exit code 0 on SIGTERM, and 1 on SIGINT.
    assert main([*FIT, "--run_dir", str(tmp_path / "run")]) == 0
    last = tmp_path / "run/checkpoints/last.ckpt"
    with figure("F6", "signal during an evaluation") as count:
        for signum in CODES:
            one = command(["test", "--ckpt_path", last, "--data.n_test", "400000", "--run_dir", f"test{signum}"])
            one.wait_for((tmp_path / f"test{signum}" / "environment.json").is_file)
            time.sleep(0.5)
            begun = time.monotonic()
            one.kill(signum)
            code = one.wait()
            count(code == CODES[signum] and time.monotonic() - begun < 10, (signum, code, one.output()[-300:]))


WIDE = ["fit", "--model", "toy", "--model.width", "400000", "--data.n", "4", "--trainer.max_epochs", "100", "--quiet"]


def cut_while_writing(start: Start, folder: Path, seeds: Iterator[int], count: Any) -> None:
    cuts = 0
    for seed in seeds:
        rng, run = random.Random(seed), folder / f"run{seed}"
        checkpoints = run / "checkpoints"
        one = start([*WIDE, "--run_dir", run], env={"TMPDIR": "/dev/shm"})
        rows = rng.randrange(3)
        one.wait_for(lambda run=run, rows=rows: epochs(run) > rows)
        one.wait_for(lambda checkpoints=checkpoints: any(checkpoints.glob(".*.part")))
        time.sleep(rng.random() * 0.05)
        one.kill(signal.SIGKILL)
        one.wait()
        cuts += any(checkpoints.glob(".*.part"))
        problems = []
        for path in checkpoints.glob("*.ckpt"):
            try:
                read_checkpoint(path)
            except CheckpointError as error:
                problems.append(str(error))
        whole = (checkpoints / "last.ckpt").is_file() or epochs(run) <= 1
        count(whole and not problems, (f"seed {seed}", problems))
    assert cuts, "no kill came while a file was being written"


def test_a_kill_while_a_checkpoint_is_written_leaves_whole_files(command: Start, tmp_path: Path, figure: Any) -> None:
    with figure("F4", "kill -9 while 36 MB are written, TMPDIR elsewhere") as count:
        cut_while_writing(command, tmp_path, iter(range(4)), count)
    leftovers = list(tmp_path.rglob("*.part"))
    for run in {part.parent.parent for part in leftovers}:
        resumed = ["fit", "--resume", "--run_dir", run, "--trainer.max_epochs", "1", "--quiet"]
        assert command(resumed).wait() == 0
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.slow
def test_fifty_kills_while_a_checkpoint_is_written(command: Start, tmp_path: Path, figure: Any) -> None:
    with figure("F4", "kill -9 while 36 MB are written, TMPDIR elsewhere: 50 runs") as count:
        cut_while_writing(command, tmp_path, iter(range(300, 350)), count)


def test_a_run_killed_before_its_configuration_was_written_starts_again_in_its_folder(workdir: Path) -> None:
    Path("run").mkdir()
    Path("run/.config.yaml.123-abc.part").write_text("model: ")
    assert main(["fit", "--model", "toy", "--trainer.max_epochs", "1", "--run_dir", "run"]) == 0
    assert not list(Path("run").rglob("*.part"))


def test_two_runs_at_the_same_moment_get_folders_of_their_own(command: Start, tmp_path: Path, figure: Any) -> None:
    with figure("F11", "two runs at the same moment") as count:
        runs = [command(["fit", "--model", "toy", "--trainer.max_epochs", "1", "--quiet"]) for _ in range(2)]
        codes = [one.wait() for one in runs]
        made = sorted((tmp_path / "runs/toy/toy-data").iterdir())
        whole = [p.name for p in made if (p / "results.json").is_file() and (p / "checkpoints/last.ckpt").is_file()]
        count(codes == [0, 0] and whole == ["0", "1"], (codes, whole))


def test_folders_made_at_the_same_moment_are_never_the_same(tmp_path: Path, figure: Any) -> None:
    # Some runs produce nothing and remove their folder, and its parents where empty, meanwhile.
    def make(number: int) -> Path | None:
        folder = new_run_folder("m", "d", tmp_path)
        if number % 3 == 0:
            discard(folder, numbered=True)
            return None
        (folder / f"mine{number}").touch()
        return folder

    with figure("F11", "50 folders at the same moment, some discarded") as count, ThreadPoolExecutor(16) as pool:
        for folder in pool.map(make, range(75)):
            if folder is not None:
                count(len(list(folder.glob("mine*"))) == 1, folder)
