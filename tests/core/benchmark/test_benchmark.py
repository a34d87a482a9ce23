"""`medzoo benchmark` from end to end, on the toy plug-in: cells, resuming, comparing, launchers."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medzoo.core.benchmark.launch import command
from medzoo.core.benchmark.plan import cells_of
from medzoo.core.cli import main
from medzoo.core.errors import ConfigError

TOY = ["benchmark", "--models", "toy", "--budget", "smoke", "-o", "out"]


def test_a_killed_benchmark_goes_on_where_it_was_and_a_drift_from_the_baseline_is_exit_code_4(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (Path(f"out/cells/toy-toy-data-{seed}/result.json") for seed in (0, 1))
    process = subprocess.Popen([sys.executable, "-m", "medzoo.core", *TOY, "--seeds", "2"], start_new_session=True)
    limit = time.monotonic() + 120
    while not first.is_file() and time.monotonic() < limit:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert first.is_file()
    assert not second.is_file()
    finished = first.stat().st_mtime_ns
    assert main([*TOY, "--seeds", "2", "--launcher", "nice -n 0 {cell}"]) == 0
    assert first.stat().st_mtime_ns == finished
    shown = capsys.readouterr().out
    assert "seed 1: handed over" in shown
    assert "seed 0" not in shown

    report = json.loads(Path("out/benchmark.json").read_text())
    (row,) = report["rows"]
    assert row["seeds"] == [0, 1]
    values = row["metrics"]["toy/mse"]["values"]
    assert values == [json.loads(path.read_text())["metrics"]["toy/mse"] for path in (first, second)]
    assert values[0] != values[1]
    assert row["speed"]["mean"] > 0
    assert row["memory_mb"]["mean"] > 50

    Path("out/benchmark.json").rename("base.json")
    same = [*TOY, "--seeds", "2", "--compare", "base.json"]
    assert main(same) == 0  # nothing is started: all cells are finished
    row["metrics"]["toy/mse"]["values"] = [value / 100 for value in values]
    Path("base.json").write_text(json.dumps(report))
    capsys.readouterr()
    assert main(same) == 4
    both = capsys.readouterr()
    assert "medzoo: error: toy on toy-data: toy/mse is" in both.err
    assert "✗" in both.out
    Path("base.json").write_text(json.dumps({**report, "rows": []}))
    assert main(same) == 2
    assert "nothing was compared" in capsys.readouterr().err
    assert main([*TOY, "--seeds", "2", "--model.width", "4"]) == 2
    assert "another arguments" in capsys.readouterr().err


def test_a_fit_that_fails_is_named_and_the_others_are_reported(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TOY, "--seeds", "1", "--model.explode", "0"]) == 1
    both = capsys.readouterr()
    assert "1 of 1 fits failed" in both.err
    report = json.loads(Path("out/benchmark.json").read_text())
    assert "toy-toy-data-0" in report["failed"]
    assert "the loss is inf" in report["failed"]["toy-toy-data-0"]


def test_a_launcher_gets_the_command_of_a_cell_as_arguments_or_as_one_quoted_text() -> None:
    cell = Path("/a b/cells/x")
    own = command(cell, None)
    assert own[0] == sys.executable
    assert own[-1] == "/a b/cells/x"
    assert command(cell, "srun -n 1 {cell}") == ["srun", "-n", "1", *own]
    wrapped = command(cell, "sbatch --wrap={cell} --mem 4G")
    assert wrapped[0] == "sbatch"
    assert wrapped[2:] == ["--mem", "4G"]
    assert shlex.split(wrapped[1].removeprefix("--wrap=")) == own


@pytest.mark.parametrize("launcher", ["sbatch", "{cell}", "'sbatch {cell}", ""])
def test_a_launcher_without_a_place_for_the_cell_is_refused(launcher: str, workdir: Path) -> None:
    with pytest.raises(ConfigError, match="--launcher"):
        command(Path("x"), launcher)
    assert main([*TOY, "--launcher", launcher]) == 2
    assert not list(workdir.iterdir())


def test_a_launcher_that_fails_stops_the_benchmark(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TOY, "--launcher", "false {cell}"]) == 2
    assert "--launcher false: ended with code 1" in capsys.readouterr().err
    assert main([*TOY, "--launcher", "no-such-program {cell}"]) == 2
    assert main([*TOY, "--launcher", "true {cell}"]) == 1
    assert "3 of 3 fits are not finished" in capsys.readouterr().err


def test_models_come_with_the_data_that_fit_takes_and_are_left_out_of_data_of_other_tasks() -> None:
    cells = cells_of(None, ["toy", "toy-stages"], [], 2)
    assert [(cell.model, cell.data, cell.seed) for cell in cells] == [
        ("toy", "toy-data", 0),
        ("toy-stages", "toy-data", 0),
        ("toy", "toy-data", 1),
        ("toy-stages", "toy-data", 1),
    ]
    assert [cell.data for cell in cells_of("core", [], ["toy-data", "class-phantoms"], 1)] == ["class-phantoms"]
    with pytest.raises(ConfigError, match="no model is of the task"):
        cells_of(None, ["toy"], ["class-phantoms"], 1)
    with pytest.raises(ConfigError, match="--package"):
        cells_of("nothing", [], [], 1)


def test_a_dry_run_prints_the_fits_and_leaves_nothing(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TOY, "--seeds", "2", "--dry_run", "--model.width", "4"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("medzoo fit --model toy --data toy-data --seed_everything 0 --trainer.max_steps 4 ")
    assert second.endswith(" --model.width 4")
    assert not list(workdir.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "--seeds 0: expected a whole number from 1 to 1000"),
        (["--budget", "long"], "--budget: expected quick, smoke, got long"),
        (["--models", "toi"], "did you mean toy"),
        (["--compare", "none.json"], "none.json: cannot be read"),
    ],
)
def test_wrong_arguments_cost_one_line_and_leave_nothing(
    arguments: list[str], message: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.strip().count("\n") == 0
    assert not list(workdir.iterdir())
