"""The file of scan lines: a prediction writes it, a person edits it, and the next prediction measures along it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from medzoo.core.io import Column, Table, read_table, write_csv
from medzoo.core.values import Row
from medzoo.landmark.echo.clips import Clip, Item
from medzoo.landmark.echo.scan_line import line_through

FILE = "lines.csv"
PLACES = ("line_x0", "line_y0", "line_x1", "line_y1")
_COLUMNS = ("clip", "frame", "phase", *PLACES)


@dataclass(frozen=True)
class LineTable:
    """Scan lines that a person placed or accepted, by clip and key frame.

    Attributes:
        table: As it was read.
        rows: Of each clip its rows in it.
    """

    table: Table
    rows: dict[str, list[int]]

    def given_to(self, items: Sequence[Item]) -> list[Item]:
        """Return clips whose lines are those of the table, where it has some."""
        return [self._given_to(item) if item.name in self.rows else item for item in items]

    def check_names(self, names: Iterable[str]) -> None:
        """Refuse a row of a clip that there is not.

        Raises:
            DataError: There is one.
        """
        for clip in self.rows.keys() - set(names):
            problem = f"clip {clip!r} is none of these data"
            raise self.table.error(self.rows[clip][0], "clip", problem, "remove the row, or give the data it is of")

    def _given_to(self, item: Item) -> Item:
        return replace(item, load=partial(self._load, item.load, self.rows[item.name]))

    def _load(self, load: Callable[[], Clip], rows: list[int]) -> Clip:
        clip = load()
        lines, placed = clip.lines.copy(), clip.placed.copy()
        for row in rows:
            cells = self.table.rows[row]
            if cells["frame"] not in clip.keys:
                known = ", ".join(map(str, clip.keys))
                raise self.table.error(row, "frame", f"{cells['frame']} is no key frame, expected one of {known}")
            key = clip.keys.index(int(cells["frame"]))
            lines[key] = np.array([float(cells[name]) for name in PLACES]).reshape(2, 2)
            placed[key] = True
            height, width = clip.frames.shape[1:]
            check_line(self.table, row, lines[key], (height, width))
        return replace(clip, lines=lines, placed=placed)


def check_line(table: Table, row: int, line: NDArray[np.float64], size: tuple[int, int]) -> None:
    """Refuse a scan line that does not lead through the frame.

    Args:
        table: Where it stands, in the columns `PLACES`.
        row: Its row there.
        line: `(2, 2)`, two points in pixels.
        size: Height and width of the frame.

    Raises:
        DataError: Its points are the same, or it misses the frame.
    """
    try:
        line_through(torch.from_numpy(line[0]), torch.from_numpy(line[1]), size)
    except ValueError as error:
        cure = f"give two different points of a line through the frame, {size[1]} × {size[0]} pixels"
        raise table.error(row, PLACES[0], str(error), cure) from error


def read_lines(path: str | Path) -> LineTable:
    """Read a file of scan lines.

    Raises:
        DataError: It is no such table.
    """
    numbers = [Column(name, "number") for name in PLACES]
    table = read_table(path, ["clip", Column("frame", "integer", low=0), *numbers], unique=("clip", "frame"))
    rows: dict[str, list[int]] = {}
    for row, clip in enumerate(table.texts("clip")):
        rows.setdefault(clip, []).append(row)
    return LineTable(table, rows)


def write_lines(path: Path, rows: Iterable[Row]) -> None:
    """Write a file of scan lines."""
    write_csv(path, rows, _COLUMNS)
