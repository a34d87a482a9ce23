"""`medzoo benchmark`: the command line; torch is imported by the cells alone."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, cast

from medzoo.core.cli.request import check_values, split_equals, take_value
from medzoo.core.cli.streams import say, show
from medzoo.core.errors import ConfigError, DataError, MedzooError, check_choice
from medzoo.core.spelling import nearest

if TYPE_CHECKING:
    from medzoo.core.benchmark.figures import Report, Row
    from medzoo.core.benchmark.plan import Cell

HELP = """usage: medzoo benchmark [--package NAME] [--models NAME ...] [--data NAME ...] [options]

Fits and tests models with several seeds, each fit in a process of its own, and writes benchmark.md and benchmark.json:
metrics with their spread over seeds, speed as a ratio to a reference network, peak memory. Started again, it goes on
with the fits that are not finished.
  --package NAME     models of one package only, such as anomaly
  --models NAME ...  these models only (default: all that are installed)
  --data NAME ...    data to fit them on (default: what medzoo fit takes); --data.root DIR and alike reach each fit,
                     and so do --model.… and --trainer.…
  --seeds N          seeds 0 to N - 1 (default: 3)
  --budget NAME      quick (default): the models' default recipes; smoke: four steps, a few test batches
  --compare FILE     benchmark.json of an earlier benchmark; figures outside its seed spread are marked, exit code 4
  --launcher CMD     hand each fit to a command, {cell} being what it is to run: 'sbatch --wrap={cell}', 'srun {cell}'
  --dry_run          print the fits that would be run, and stop
  -o, --out DIR      folder of the fits and the report (default: benchmark)
"""
_VALUED = ("--package", "--seeds", "--budget", "--compare", "--launcher", "--out")
_SEVERAL = ("--models", "--data")
_MOST = 1000


class DriftError(MedzooError):
    """Figures that lie outside the seed spread of the baseline."""

    exit_code = 4


class FailedCellsError(MedzooError):
    """Fits of a benchmark that failed, or that a launcher has not finished yet."""

    exit_code = 1


def run(args: list[str]) -> None:
    """Run the cells that are not finished, write the report, compare.

    Raises:
        ConfigError: The arguments are wrong.
        DriftError: A figure is outside the spread of the baseline.
        FailedCellsError: A fit failed or is not finished.
    """
    if {"--help", "-h"} & set(args):
        show(HELP)
        return
    check_values(args)
    values: dict[str, str] = {}
    several: dict[str, list[str]] = {}
    more: list[str] = []
    dry = False
    queue = split_equals(["--out" if arg == "-o" else arg for arg in args], (*_VALUED, *_SEVERAL))
    while queue:
        flag = queue.pop(0)
        if flag in _VALUED:
            values[flag] = take_value(flag, queue)
        elif flag in _SEVERAL:
            names = take_value(flag, queue).split(",")
            while queue and not queue[0].startswith("-"):
                names += queue.pop(0).split(",")
            several[flag] = [name for name in names if name]
        elif flag == "--dry_run":
            dry = True
        elif flag.startswith(("--data.", "--model.", "--trainer.")):
            more += [flag] if "=" in flag else [flag, take_value(flag, queue)]
        else:
            near = nearest(flag, (*_VALUED, *_SEVERAL, "--dry_run"))
            raise ConfigError(f"no option {flag}" + (f"; did you mean {near[0]}?" if near else "; see --help"))
    seeds = values.get("--seeds", "3")
    if not (seeds.isascii() and seeds.isdigit() and 0 < int(seeds[:9]) <= _MOST):
        raise ConfigError(f"--seeds {seeds}: expected a whole number from 1 to {_MOST}")
    _benchmark(values, several, int(seeds), more, dry, shlex.join(["medzoo", "benchmark", *args]))


def _benchmark(
    values: dict[str, str], several: dict[str, list[str]], seeds: int, more: list[str], dry: bool, command: str
) -> None:
    from medzoo.core.benchmark import plan
    from medzoo.core.benchmark.launch import command as launched
    from medzoo.core.benchmark.launch import start

    budget = values.get("--budget", "quick")
    check_choice("budget", budget, list(plan.BUDGETS))
    cells = plan.cells_of(values.get("--package"), several.get("--models", []), several.get("--data", []), seeds)
    if dry:
        for cell in cells:
            say(shlex.join(["medzoo", "fit", *cell.arguments(budget, more)]))
        return
    folder = Path(values.get("--out", "benchmark"))
    launched(folder, values.get("--launcher"))  # refuses a wrong one before anything is written
    baseline = _baseline(values["--compare"], budget, more) if "--compare" in values else None
    _claim(folder, budget, more)
    start(cells, folder, budget, more, values.get("--launcher"))
    _report(cells, folder, budget, more, command, baseline)


def _report(
    cells: list[Cell], folder: Path, budget: str, more: list[str], command: str, baseline: list[Row] | None
) -> None:
    from datetime import UTC, datetime

    from medzoo.core.benchmark.cell import outcome
    from medzoo.core.benchmark.figures import compare, summary
    from medzoo.core.benchmark.report import markdown
    from medzoo.core.io import replacing, write_json

    results = {cell: outcome(folder / "cells" / cell.name) for cell in cells}
    good = {cell: result for cell, result in results.items() if result is not None and result["status"] == "ok"}
    failed = {cell.name: r["error"] for cell, r in results.items() if r is not None and r["status"] != "ok"}
    waiting = [cell.name for cell, result in results.items() if result is None]
    rows = summary(good)
    marks, compared = compare(rows, baseline or [], speed=budget != "smoke")
    first = next(iter(good.values()), None)
    medzoo, commit = _who()
    report: Report = {
        "schema": "medzoo.benchmark/1",
        "medzoo": medzoo,
        "commit": commit,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": command,
        "budget": budget,
        "arguments": more,
        "device": first.get("device") if first else None,
        "versions": first.get("versions", {}) if first else {},
        "rows": rows,
        "failed": failed,
        "waiting": waiting,
    }
    text = markdown(report, marks)
    write_json(folder / "benchmark.json", report)
    with replacing(folder / "benchmark.md") as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")
    show(text.partition("\n\n| ")[2] and "| " + text.partition("\n\n| ")[2].rstrip())
    say(f"written: {folder / 'benchmark.md'}, {folder / 'benchmark.json'}")
    if failed:
        raise FailedCellsError(
            f"{len(failed)} of {len(cells)} fits failed, see {folder / 'cells'}; {next(iter(failed.values()))}"
        )
    if waiting:
        raise FailedCellsError(
            f"{len(waiting)} of {len(cells)} fits are not finished; give the same command without --launcher"
        )
    if baseline is not None and not compared:
        raise ConfigError("--compare: has none of these models on these data, so that nothing was compared")
    if baseline is not None:
        say(f"compared with the baseline: {compared} metrics, {len(marks)} figures outside its seed spread")
    if marks:
        raise DriftError("; ".join(map(str, marks[:5])) + (f"; and {len(marks) - 5} more" if len(marks) > 5 else ""))


def _who() -> tuple[str, str | None]:
    from importlib.metadata import version

    from medzoo.core.runs.results import git_commit

    return version("medzoo-core"), git_commit()


def _claim(folder: Path, budget: str, more: list[str]) -> None:
    """Note what the cells in a folder are of, and refuse a folder with cells of something else."""
    from medzoo.core.io import read_object, write_json

    medzoo, commit = _who()
    own = {"schema": 1, "medzoo": medzoo, "commit": commit, "budget": budget, "arguments": more}
    path = folder / "plan.json"
    if path.is_file():
        known = read_object(path)
        differs = [key for key in own if known.get(key) != own[key]]
        if differs:
            raise ConfigError(f"-o {folder}: holds fits with another {differs[0]}; name another folder, or remove it")
    else:
        write_json(path, own)


def _baseline(path: str, budget: str, more: list[str]) -> list[Row]:
    """Return the rows of an earlier report.

    Raises:
        ConfigError: It is of another budget or of other arguments.
        DataError: It is no report of a benchmark.
    """
    from medzoo.core.benchmark.figures import Report
    from medzoo.core.io import read_json

    content = read_json(path)
    if not isinstance(content, dict) or content.get("schema") != "medzoo.benchmark/1":
        content = {}
    if not isinstance(content.get("rows"), list):
        raise DataError(path, "is no report of a benchmark", "give the benchmark.json of medzoo benchmark")
    report = cast(Report, content)
    if (report.get("budget"), report.get("arguments")) != (budget, more):
        raise ConfigError(
            f"--compare {path}: is of {report.get('budget')} {shlex.join(report.get('arguments') or [])}; give the same"
        )
    return report["rows"]
