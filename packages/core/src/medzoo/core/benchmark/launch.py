"""Starting the cells that are not finished: one after the other here, or by somebody's launcher elsewhere."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from medzoo.core.benchmark.cell import WANTED, finished, outcome
from medzoo.core.benchmark.plan import Cell
from medzoo.core.cli.streams import say
from medzoo.core.errors import ConfigError, Interrupted
from medzoo.core.io import write_json

PLACE = "{cell}"


def start(cells: Sequence[Cell], folder: Path, budget: str, more: Sequence[str], launcher: str | None) -> None:
    """Run the cells that have no result yet, each in a process of its own.

    Args:
        cells: Those of the benchmark.
        folder: That of the benchmark; a cell's is `cells/<name>` in it.
        budget: See `medzoo.core.benchmark.plan.BUDGETS`.
        more: Further arguments of each `medzoo fit`.
        launcher: A command with `{cell}` in it, see `command`; None runs the cells here.

    Raises:
        ConfigError: The launcher lacks `{cell}`, cannot be started, or ends with an error.
        Interrupted: A signal stopped a cell.
    """
    for cell in cells:
        own = (folder / "cells" / cell.name).absolute()
        if finished(own) is not None:
            continue
        own.mkdir(parents=True, exist_ok=True)
        (own / "result.json").unlink(missing_ok=True)  # of a cell that failed
        write_json(own / WANTED, {"schema": 1, "arguments": cell.arguments(budget, more)})
        wanted = command(own, launcher)
        if launcher is not None:
            _hand_over(wanted)
            say(f"{cell.model} on {cell.data}, seed {cell.seed}: handed over")
            continue
        with (own / "log.txt").open("wb") as log:
            code = subprocess.run(wanted, stdout=log, stderr=subprocess.STDOUT, check=False).returncode  # noqa: S603
        result = outcome(own)
        signum = -code if code < 0 else code - 128
        if result is None and signum in (signal.SIGINT, signal.SIGTERM):
            raise Interrupted(signum, f"{own.name} was stopped by signal {signum}; the same command goes on from there")
        if result is None:  # killed, such as for want of memory
            result = {"status": "failed", "error": f"ended with code {code}; see {own / 'log.txt'}"}
            write_json(own / "result.json", result)
        line = f"{result['seconds']:.1f} s" if result["status"] == "ok" else result["error"]
        say(f"{cell.model} on {cell.data}, seed {cell.seed}: {line}")


def command(cell: Path, launcher: str | None) -> list[str]:
    """Return the command that runs a cell; no shell ever reads it.

    In a launcher, an argument that is `{cell}` alone becomes the arguments of that command, and `{cell}` inside an
    argument (`--wrap={cell}`) one text, quoted as a shell needs it.

    Args:
        cell: Folder of the cell.
        launcher: A command with `{cell}`, or None.

    Raises:
        ConfigError: The launcher is no command, or `{cell}` is not in it.
    """
    own = [sys.executable, "-m", "medzoo.core.benchmark.cell", str(cell)]
    if launcher is None:
        return own
    try:
        parts = shlex.split(launcher)
    except ValueError as error:
        raise ConfigError(f"--launcher {launcher}: not a command ({error}); close the quotes") from error
    if not parts or PLACE not in launcher or PLACE in parts[0]:
        raise ConfigError(f"--launcher {launcher}: expected a command with {PLACE}, such as 'sbatch --wrap={PLACE}'")
    found: list[str] = []
    for part in parts:
        found += own if part == PLACE else [part.replace(PLACE, shlex.join(own))]
    return found


def _hand_over(wanted: list[str]) -> None:
    try:
        code = subprocess.run(wanted, check=False).returncode  # noqa: S603 - the user's own launcher
    except OSError as error:
        raise ConfigError(f"--launcher {wanted[0]}: cannot be started ({error.strerror}); check its name") from error
    if code:
        raise ConfigError(f"--launcher {wanted[0]}: ended with code {code}; see what it printed")
