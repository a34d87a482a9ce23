"""What a run leaves for people and programs: results.json, environment.json and a table on the terminal."""

from __future__ import annotations

import csv
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from medzoo.core.io import write_json
from medzoo.core.names import printable
from medzoo.core.registry import kinds, specs

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN = (
    "torch",
    "torchvision",
    "lightning",
    "torchmetrics",
    "timm",
    "monai",
    "numpy",
    "nibabel",
    "jsonargparse",
)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result, those with plug-ins among them."""
    found = {"python": platform.python_version()}
    ours = sorted({spec.package for kind in kinds() for spec in specs(kind)} - {"medzoo-core"})
    for name in ("medzoo-core", *ours, *_SHOWN):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Return the commit of medzoo's own source, or `None` where it does not run from a checkout."""
    return commit_of(Path(__file__))


def commit_of(file: Path) -> str | None:
    """Return the commit of the repository that keeps `file`, or `None`; a file that merely lies in one is not kept."""
    try:
        for command in (["ls-files", "--error-unmatch", file.name], ["rev-parse", "HEAD"]):
            done = subprocess.run(  # noqa: S603 - the user's own git
                ["git", "-C", str(file.resolve().parent), *command],  # noqa: S607
                capture_output=True,
                text=True,
                timeout=5,
                check=True,
            )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def write_environment(folder: Path, seed: int, device: str) -> None:
    """Write `environment.json`: versions, machine, device, commit and the command line."""
    write_json(
        folder / "environment.json",
        {
            "versions": versions(),
            "platform": platform.platform(),
            "device": device,
            "git_commit": git_commit(),
            "command": ["medzoo", *sys.argv[1:]],
            "seed": seed,
        },
    )


def print_table(title: str, metrics: Mapping[str, float]) -> None:
    """Print flat metrics named `<row>/<column>` as a table of rows and columns; names without `/` go to one row.

    `stage1/head/mre_mm` is row `stage1/head`, column `mre_mm`.
    """
    from rich.console import Console
    from rich.text import Text

    rows: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        row, _, column = name.rpartition("/")
        rows.setdefault(row, {})[column] = value
    if not rows:
        return
    # A pipe has no width: the table decides, so that no figure is cut.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(Text(printable(title)))
    # Rows with the same columns share a table: domains in mm and in px do not.
    shapes: dict[tuple[str, ...], list[str]] = {}
    for row, values in rows.items():
        shapes.setdefault(tuple(values), []).append(row)
    for columns, members in shapes.items():
        cells = [["", *columns], *([row, *(f"{rows[row][column]:.4g}" for column in columns)] for row in members)]
        table = _table(cells)
        wanted = console.measure(table, options=console.options.update(width=10_000)).maximum
        if wanted > console.width:  # a row for each figure, so that none is broken
            table = _table([list(column) for column in zip(*cells, strict=True)])
        console.print(table)


def _table(cells: list[list[str]]) -> Table:
    """Lay out a line of titles and lines of values; names come from data, so they are text and no markup."""
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for index, title in enumerate(cells[0]):
        table.add_column(Text(printable(title)), justify="right" if index else "left", overflow="fold")
    for line in cells[1:]:
        table.add_row(*(Text(printable(cell)) for cell in line))
    return table


def write_curves(folder: Path) -> None:
    """Draw the table of epochs of a run, `metrics.csv`, as `curves.png`; of fewer than two epochs there is no curve."""
    table = folder / "metrics.csv"
    if not table.is_file():
        return
    with open(table, newline="", encoding="utf8") as file:
        rows = list(csv.reader(file))
    if len(rows) < 3 or len(rows[0]) < 2:
        return
    from medzoo.core.plots import save, training_curves  # matplotlib takes a while to import

    save(training_curves(table), folder / "curves.png")
