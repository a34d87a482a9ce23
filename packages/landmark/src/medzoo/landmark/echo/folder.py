"""One's own clips: folders of pictures with one table of key frames, calipers and scan lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medzoo.core.data.files import existing_root
from medzoo.core.data.options import Unpack
from medzoo.core.data.splits import check_fractions, split_by_fraction
from medzoo.core.errors import DataError
from medzoo.core.io import Column, Table, read_header, read_image, read_table, spacing_fault
from medzoo.core.io.columns import columns_of
from medzoo.core.io.listing import files_in, folders_in
from medzoo.landmark.echo.clips import Clip, Item, lines_through
from medzoo.landmark.echo.data import EchoDataModule, EchoOptions, Items
from medzoo.landmark.echo.line_table import PLACES
from medzoo.landmark.echo.measures import PHASES

LAYOUT = "calipers.csv and a folder of pictures for each clip, its frames in the order of their names"
TABLE = "calipers.csv"
_POINTS = tuple(f"{axis}{number}" for number in range(4) for axis in "xy")
_OPTIONAL = (*_POINTS, *PLACES, "spacing_x", "spacing_y", "rate")
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
_FEWEST, _MOST, _MOST_PIXELS = 2, 4096, 2**28  # frames of a clip, and all their pixels, a byte each in memory


@dataclass(frozen=True)
class Entry:
    """A clip of the table: which rows are its key frames, and its pictures in order."""

    name: str
    rows: list[int]
    frames: list[Path]


class EchoFolder(EchoDataModule):
    """One's own clips, each a folder of pictures (PNG, JPEG, BMP), and `calipers.csv` beside these folders.

    A row of the table is a key frame: `clip` (name of the folder), `frame` (counted from 0), `phase` (d or s: end of
    diastole or systole). Optional columns: `x0,y0` … `x3,y3`, the four points from the right ventricle's side of the
    septum to the outer border of the posterior wall, in pixels, empty where missing; `line_x0,line_y0,line_x1,line_y1`,
    two points of the scan line where it is not the one through the first and the last of them; `spacing_x,spacing_y`
    in mm where the pictures do not say; `rate`, frames a second; `patient`. Clips without any point are for prediction.

    Args:
        root: Folder of the clips.
        test_fraction: Part of the clips with points that is for the test; no patient is in two parts.
        val_fraction: Part for validation, which chooses `best.ckpt`.
        common: Options of all data of clips.
    """

    def __init__(
        self, root: str, test_fraction: float = 0.25, val_fraction: float = 0.0, **common: Unpack[EchoOptions]
    ) -> None:
        super().__init__(**common)
        check_fractions(test_fraction=test_fraction, val_fraction=val_fraction)
        self._root, self._fractions = Path(root), (test_fraction, val_fraction)

    @cached_property
    def _table(self) -> Table:
        path = existing_root(self._root, LAYOUT) / TABLE
        names = columns_of(path)
        columns = [Column("clip"), Column("frame", "integer", low=0), Column("phase", choices=PHASES)]
        columns += [Column(name, "number", optional=True) for name in _OPTIONAL if name in names]
        columns += [Column("patient", optional=True)] if "patient" in names else []
        return read_table(path, columns, unique=("clip", "phase"))

    @cached_property
    def _entries(self) -> Mapping[str, Entry]:
        table = self._table
        rows: dict[str, list[int]] = {}
        for row, clip in enumerate(table.texts("clip")):
            rows.setdefault(clip, []).append(row)
        folders = {path.name: path for path in folders_in(self._root)}
        return {
            name: Entry(name, own, files_in(folders[name], _PICTURES) if name in folders else [])
            for name, own in rows.items()
        }

    def _numbers(self, entry: Entry, *names: str) -> NDArray[np.float64]:
        """Return optional columns of a clip, `(rows, names)`, NaN where the table has none."""
        known = {column.name for column in self._table.columns}
        return np.array(
            [[float(self._table.rows[row][n]) if n in known else math.nan for n in names] for row in entry.rows]
        )

    def check(self, stage: str | None = None) -> list[DataError]:
        """Return the faults of the table and of the pictures' headers; no pixel is decoded."""
        faults = super().check(stage)
        try:
            entries = self._entries
        except DataError as error:
            return [*faults, error]
        faults += [
            DataError(path, f"has no key frame in {TABLE}", "add a row with its frame and phase, or remove the folder")
            for path in folders_in(self._root)
            if path.name not in entries
        ]
        for entry in entries.values():
            try:
                self._look(entry)
            except DataError as error:
                faults.append(error)
        return faults

    def _look(self, entry: Entry) -> tuple[float, float]:
        """Check the headers of a clip and what the table says of it; return its spacing."""
        table, row, frames = self._table, entry.rows[0], entry.frames
        if not _FEWEST <= len(frames) <= _MOST:
            problem = f"clip {entry.name!r} has {len(frames)} pictures, expected {_FEWEST} to {_MOST}"
            raise table.error(row, "clip", problem, f"give a folder of that name in {self._root} with its frames")
        headers = [read_header(path) for path in frames]
        size = headers[0].size
        odd = next((i for i, header in enumerate(headers) if header.size != size), None)
        if odd is not None:
            got, first = headers[odd].size, frames[0].name
            raise DataError(frames[odd], f"has {got[0]} × {got[1]} pixels, {first} has {size[0]} × {size[1]}")
        if len(frames) * math.prod(size) > _MOST_PIXELS:
            problem = f"has {len(frames)} frames of {size[0]} × {size[1]}, more than {_MOST_PIXELS} pixels in all"
            raise DataError(frames[0].parent, problem, "cut it to a few cycles, or shrink its frames")
        for number in entry.rows:
            if int(table.rows[number]["frame"]) >= len(frames):
                raise table.error(number, "frame", f"clip {entry.name!r} has the frames 0 to {len(frames) - 1}")
        points = self._numbers(entry, *_POINTS).reshape(-1, 4, 2)
        known = np.isfinite(points)
        outside = known & ((points < -0.5) | (points > np.array(size) - 0.5)) | (
            known ^ known.any(axis=2, keepdims=True)
        )
        for place, number, axis in np.argwhere(outside)[:1]:
            problem = f"expected a point within {size[0]} × {size[1]} pixels, or both its coordinates empty"
            raise table.error(entry.rows[place], f"{'xy'[axis]}{number}", problem)
        spacing = self._numbers(entry, "spacing_x", "spacing_y")[0]
        found = tuple(spacing.tolist()) if np.isfinite(spacing).all() else headers[0].spacing
        fault = spacing_fault(found)
        if fault or not np.isfinite(found).all():
            place = table.error(row, "spacing_x", "").path if "spacing_x" in table.places else str(frames[0])
            problem = fault or "says nothing of its spacing, without which no length is known"
            raise DataError(place, problem, f"give mm per pixel in the columns spacing_x and spacing_y of {TABLE}")
        return float(found[0]), float(found[1])

    def make_items(self) -> Items:
        """List the clips; none is decoded."""
        entries = self._entries
        patients = self._patients()
        labelled = [n for n, e in entries.items() if np.isfinite(self._numbers(e, *_POINTS)).all(axis=1).any()]
        split = split_by_fraction(labelled, patients, *self._fractions, self.seed)
        parts = (split.train, split.val, split.test, tuple(entries))
        return Items(*(tuple(self._item(entries[name], patients) for name in names) for names in parts))

    def _patients(self) -> dict[str, str]:
        if "patient" not in {column.name for column in self._table.columns}:
            return {}
        pairs = zip(self._table.texts("clip"), self._table.texts("patient"), strict=True)
        return {clip: f"patient {patient}" for clip, patient in pairs if patient}

    def _item(self, entry: Entry, patients: Mapping[str, str]) -> Item:
        path = str(self._root / entry.name)
        return Item(entry.name, partial(self._load, entry), patients.get(entry.name, ""), path, "echo")

    def _load(self, entry: Entry) -> Clip:
        spacing = self._look(entry)
        points = self._numbers(entry, *_POINTS).reshape(-1, 4, 2)
        given = self._numbers(entry, *PLACES).reshape(-1, 2, 2)
        whole = np.isfinite(given).all(axis=(1, 2), keepdims=True)
        rows = [self._table.rows[row] for row in entry.rows]
        return Clip(
            read_frames(entry.frames),
            float(self._numbers(entry, "rate")[0, 0]),
            spacing,
            tuple(int(row["frame"]) for row in rows),
            tuple(str(row["phase"]) for row in rows),
            points if np.isfinite(points).any() else None,
            np.where(whole, given, lines_through(points)),
            whole[:, 0, 0],
        )


def read_frames(paths: Sequence[Path]) -> NDArray[np.uint8]:
    """Read the pictures of a clip, whose headers were checked, as `(T, H, W)` uint8.

    Raises:
        DataError: One cannot be decoded.
    """
    first = read_image(paths[0]).array
    frames = np.empty((len(paths), *first.shape), np.uint8)
    for place, path in zip(frames, paths, strict=True):
        place[:] = np.round(255 * read_image(path).array)
    return frames
