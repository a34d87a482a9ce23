"""One's own clips, as folders of pictures or files, with one table of key frames, calipers and scan lines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medzoo.core.data.files import existing_root
from medzoo.core.data.options import Unpack
from medzoo.core.data.splits import drawn_parts, split_by_fraction
from medzoo.core.errors import DataError
from medzoo.core.io import Column, Table, read_table, spacing_fault
from medzoo.core.io.clips import CLIP_FILES, ClipHeader, clip_header, read_clip
from medzoo.core.io.columns import columns_of, patient_column
from medzoo.core.io.listing import files_in, folders_in
from medzoo.landmark.echo.clips import Clip, Item, lines_through
from medzoo.landmark.echo.data import EchoDataModule, EchoOptions, Items
from medzoo.landmark.echo.line_table import PLACES, check_line
from medzoo.landmark.echo.measures import PHASES

LAYOUT = (
    "calipers.csv and the clips: AVI, MP4 or DICOM files, or a folder of pictures each, in the order of their names"
)
TABLE = "calipers.csv"
_POINTS = tuple(f"{axis}{number}" for number in range(4) for axis in "xy")
_OPTIONAL = (*_POINTS, *PLACES, "spacing_x", "spacing_y", "rate")


@dataclass(frozen=True)
class Entry:
    """A clip of the table: which rows are its key frames, and its file or folder; None where there is none."""

    name: str
    rows: list[int]
    path: Path | None

    def frame(self) -> tuple[int, int]:
        """Return width and height of its frames; nothing, `(0, 0)`, where there is no clip, which a check reports."""
        return (0, 0) if self.path is None else clip_header(self.path).size


class EchoFolder(EchoDataModule):
    """One's own clips, each a file (AVI, MP4, DICOM) or a folder of pictures (PNG, JPEG, BMP), beside `calipers.csv`.

    A row of the table is a key frame: `clip` (name of the folder, or of the file with its ending), `frame` (counted
    from 0), `phase` (d or s: end of diastole or systole). Optional columns: `x0,y0` … `x3,y3`, the four points from the
    right ventricle's side of the septum to the outer border of the posterior wall, in pixels, empty where missing;
    `line_x0,line_y0,line_x1,line_y1`, two points of the scan line where it is not the one through the first and the
    last of them; `spacing_x,spacing_y` in mm and `rate`, frames a second, where the files do not say; `patient`. Clips
    of which no length is known, that is without two neighbouring points in a row, are for prediction.

    Args:
        root: Folder of the clips.
        test_fraction: Part of the clips with points that is for the test; no patient is in two parts.
        all_test: Test on all clips that would be split, and train on none: an external cohort. A part that the data
            name stays as it is.
        val_fraction: Part for validation, which chooses `best.ckpt`.
        common: Options of all data of clips.
    """

    def __init__(
        self,
        root: str,
        test_fraction: float = 0.25,
        val_fraction: float = 0.0,
        all_test: bool = False,
        **common: Unpack[EchoOptions],
    ) -> None:
        super().__init__(**common)
        self._root, self._fractions = Path(root), drawn_parts(test_fraction, val_fraction, all_test)

    @cached_property
    def _table(self) -> Table:
        path = existing_root(self._root, LAYOUT) / TABLE
        names = columns_of(path)
        columns = [Column("clip"), Column("frame", "integer", low=0), Column("phase", choices=PHASES)]
        columns += [Column(name, "number", optional=True) for name in _OPTIONAL if name in names]
        patient = patient_column(names)
        columns += [Column(patient, optional=True)] if patient else []
        return read_table(path, columns, unique=("clip", "phase"))

    @cached_property
    def _entries(self) -> Mapping[str, Entry]:
        table = self._table
        rows: dict[str, list[int]] = {}
        for row, clip in enumerate(table.texts("clip")):
            rows.setdefault(clip, []).append(row)
        there = {path.name: path for path in self._places()}
        return {name: Entry(name, own, there.get(name)) for name, own in rows.items()}

    def _places(self) -> list[Path]:
        return [*folders_in(self._root), *files_in(self._root, CLIP_FILES)]

    def _numbers(self, entry: Entry, *names: str) -> NDArray[np.float64]:
        """Return optional columns of a clip, `(rows, names)`, NaN where the table has none."""
        known = {column.name for column in self._table.columns}
        return np.array(
            [[float(self._table.rows[row][n]) if n in known else math.nan for n in names] for row in entry.rows]
        )

    def _stated(self, entry: Entry, *names: str) -> NDArray[np.float64]:
        """Return what the rows of a clip say of the whole of it, `(names,)`, NaN where none does.

        Raises:
            DataError: Two rows differ.
        """
        values = self._numbers(entry, *names)
        known = np.flatnonzero(np.isfinite(values).all(axis=1))
        if not len(known):
            return np.full(len(names), math.nan)
        odd = known[(values[known] != values[known[0]]).any(axis=1)]
        if len(odd):
            problem = f"differs from that of another row of clip {entry.name!r}"
            raise self._table.error(entry.rows[odd[0]], names[0], problem, "give one value to all rows of a clip")
        first: NDArray[np.float64] = values[known[0]]
        return first

    def check(self, stage: str | None = None) -> list[DataError]:
        """Return the faults of the table and of the pictures' headers; no pixel is decoded."""
        faults = super().check(stage)
        try:
            entries = self._entries
            self._patients()
        except DataError as error:
            return [*faults, error]
        faults += [
            DataError(path, f"has no key frame in {TABLE}", "add a row with its frame and phase, or remove the clip")
            for path in self._places()
            if path.name not in entries
        ]
        for entry in entries.values():
            try:
                self._look(entry)
            except DataError as error:
                faults.append(error)
        return faults

    def _look(self, entry: Entry) -> ClipHeader:
        """Check the header of a clip and what the table says of it; return it with the table's spacing and rate."""
        table, row = self._table, entry.rows[0]
        if entry.path is None:
            raise table.error(row, "clip", f"there is no clip {entry.name!r}", f"give a file or folder in {self._root}")
        header = clip_header(entry.path)
        size = header.size
        for number in entry.rows:
            if int(table.rows[number]["frame"]) >= header.frames:
                raise table.error(number, "frame", f"clip {entry.name!r} has the frames 0 to {header.frames - 1}")
        points = self._numbers(entry, *_POINTS).reshape(-1, 4, 2)
        known = np.isfinite(points)
        outside = known & ((points < -0.5) | (points > np.array(size) - 0.5)) | (
            known ^ known.any(axis=2, keepdims=True)
        )
        for place, number, axis in np.argwhere(outside)[:1]:
            problem = f"expected a point within {size[0]} × {size[1]} pixels, or both its coordinates empty"
            raise table.error(entry.rows[place], f"{'xy'[axis]}{number}", problem)
        self._check_lines(entry, size)
        spacing = self._stated(entry, "spacing_x", "spacing_y")
        found = tuple(spacing.tolist()) if np.isfinite(spacing).all() else header.spacing
        fault = spacing_fault(found)
        if fault or not np.isfinite(found).all():
            place = table.error(row, "spacing_x", "").path if "spacing_x" in table.places else str(entry.path)
            problem = fault or "says nothing of its spacing, without which no length is known"
            raise DataError(place, problem, f"give mm per pixel in the columns spacing_x and spacing_y of {TABLE}")
        rate = float(self._stated(entry, "rate")[0])
        return replace(
            header, spacing=(float(found[0]), float(found[1])), rate=header.rate if math.isnan(rate) else rate
        )

    def _check_lines(self, entry: Entry, size: tuple[int, int]) -> None:
        """Refuse half a scan line, and one that leads past the frames of `size`, width and height."""
        for row, line in zip(entry.rows, self._numbers(entry, *PLACES).reshape(-1, 2, 2), strict=True):
            gaps = np.flatnonzero(np.isnan(line))
            if len(gaps) == line.size:
                continue
            if len(gaps):
                problem = "is empty, and other coordinates of the line are not"
                raise self._table.error(row, PLACES[gaps[0]], problem, "give two points of the scan line, or none")
            check_line(self._table, row, line, (size[1], size[0]))

    def make_items(self) -> Items:
        """List the clips; none is decoded."""
        entries = self._entries
        patients = self._patients()
        labelled = [name for name, entry in entries.items() if self._measured(entry)]
        split = split_by_fraction(labelled, patients, *self._fractions, self.seed)
        parts = (split.train, split.val, split.test, tuple(entries))
        return Items(*(tuple(self._item(entries[name], patients) for name in names) for names in parts))

    def _measured(self, entry: Entry) -> bool:
        """Return whether the points of a clip give a length: two neighbours of one key frame."""
        points = self._numbers(entry, *_POINTS).reshape(-1, 4, 2)
        known: NDArray[np.bool_] = np.isfinite(points).min(axis=2)  # (rows, 4)
        return bool((known[:, 1:] & known[:, :-1]).any())

    def _patients(self) -> dict[str, str]:
        column = patient_column(column.name for column in self._table.columns)
        if column is None:
            return {}
        found: dict[str, str] = {}
        pairs = zip(self._table.texts("clip"), self._table.texts(column), strict=True)
        for row, (clip, patient) in enumerate(pairs):
            if patient and found.setdefault(clip, f"patient {patient}") != f"patient {patient}":
                problem = f"clip {clip!r} is of {found[clip]} and of patient {patient}"
                raise self._table.error(row, column, problem, "give one patient to all rows of a clip")
        return found

    def _item(self, entry: Entry, patients: Mapping[str, str]) -> Item:
        path = str(self._root / entry.name)
        return Item(entry.name, partial(self._load, entry), patients.get(entry.name, ""), path, "echo", entry.frame)

    def _load(self, entry: Entry) -> Clip:
        header = self._look(entry)
        assert entry.path is not None  # looked at
        points = self._numbers(entry, *_POINTS).reshape(-1, 4, 2)
        given = self._numbers(entry, *PLACES).reshape(-1, 2, 2)
        whole = np.asarray(np.isfinite(given).all(axis=(1, 2), keepdims=True))
        rows = [self._table.rows[row] for row in entry.rows]
        return Clip(
            read_clip(entry.path)[1],
            header.rate,
            header.spacing,
            tuple(int(row["frame"]) for row in rows),
            tuple(str(row["phase"]) for row in rows),
            points if np.isfinite(points).any() else None,
            np.where(whole, given, lines_through(points)),
            whole[:, 0, 0],
        )
