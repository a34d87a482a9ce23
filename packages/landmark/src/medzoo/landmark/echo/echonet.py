"""EchoNet-LVH (Stanford): clips of the parasternal long axis with one row of the table per caliper."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medzoo.core.data.files import existing_root
from medzoo.core.data.options import Unpack
from medzoo.core.errors import DataError
from medzoo.core.io import Column, Table, read_table, spacing_fault, write_csv
from medzoo.core.io.clips import clip_header, read_clip
from medzoo.core.values import Row
from medzoo.landmark.echo.clips import Clip, Item, lines_through
from medzoo.landmark.echo.data import EchoDataModule, EchoOptions, Items
from medzoo.landmark.echo.measures import MEASURES, SEGMENTS
from medzoo.landmark.echo.phantom import plax_clip

TABLE = "MeasurementsList.csv"
FOLDERS = tuple(f"Batch{number}" for number in range(1, 5))
LAYOUT = f"{TABLE} and the folders {FOLDERS[0]} to {FOLDERS[-1]} of AVI files"
SPLITS = ("train", "val", "test")
_ENDS = ("X1", "Y1", "X2", "Y2")
_OFF = 0.05  # share by which a caliper's scale may deviate from the median of its clip


@dataclass
class Study:
    """A clip of the table.

    Attributes:
        name: Its file without ending.
        split: Which part it is of.
        rows: Its calipers that count, by key frame and phase.
        spacing: mm per pixel, the same along x and y.
        left_out: Calipers whose length in pixels does not fit their value.
    """

    name: str
    split: str
    rows: dict[tuple[int, str], list[int]] = field(default_factory=dict)
    spacing: float = math.nan
    left_out: int = 0


class EchoNetLVH(EchoDataModule):
    """The EchoNet-LVH data set as it is handed out; its own split, which has a clip in one part alone.

    A caliper is a row of the table: `Calc` (such as LVIDd) and two ends, in any order, of which the upper one counts as
    the first. Where neighbouring calipers do not meet, both ends become the middle; a missing cavity lies between the
    walls. The scale of a clip is the median of `CalcValue` (cm) over the length in pixels, and a caliper that is off
    it by more than 5 % is left out, and so is a clip of which none remains. `Frame` counts from 0.

    Args:
        root: Folder of the table and the batches.
        common: Options of all data of clips.
    """

    def __init__(self, root: str, **common: Unpack[EchoOptions]) -> None:
        super().__init__(**common)
        self._root = Path(root)

    @cached_property
    def _table(self) -> Table:
        path = existing_root(self._root, LAYOUT) / TABLE
        whole = [Column(name, "integer", low=0) for name in ("Frame", "Frames", "Width", "Height")]
        numbers = [Column("CalcValue", "number", low=0), *(Column(name, "number") for name in _ENDS)]
        texts = [Column("HashedFileName"), Column("Calc", choices=MEASURES), Column("split", choices=SPLITS)]
        return read_table(path, [*texts, *numbers, *whole])

    @cached_property
    def studies(self) -> Mapping[str, Study]:
        """The clips of the table."""
        table = self._table
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(table.texts("HashedFileName")):
            rows.setdefault(name, []).append(row)
        return {name: self._study(name, own) for name, own in rows.items()}

    def _study(self, name: str, rows: list[int]) -> Study:
        cells = [self._table.rows[row] for row in rows]
        study = Study(name, str(cells[0]["split"]))
        for row, values in zip(rows, cells, strict=True):
            if values["split"] != study.split:
                problem = f"clip {name!r} is in {study.split} and in {values['split']}"
                raise self._table.error(row, "split", problem, "give one part to all rows of a clip")
        scales = [10 * float(v["CalcValue"]) / max(self._length(row), 1e-9) for row, v in zip(rows, cells, strict=True)]
        study.spacing = float(np.median(scales))
        for row, values, scale in zip(rows, cells, scales, strict=True):
            if abs(scale - study.spacing) > _OFF * study.spacing:
                study.left_out += 1
                continue
            study.rows.setdefault((int(values["Frame"]), str(values["Calc"])[-1]), []).append(row)
        return study

    def _ends(self, row: int) -> NDArray[np.float64]:
        """Return the ends of a caliper, `(2, 2)` (x, y) in pixels, the upper one first."""
        ends = np.array([float(self._table.rows[row][name]) for name in _ENDS]).reshape(2, 2)
        return ends[np.argsort(ends[:, 1], kind="stable")]

    def _length(self, row: int) -> float:
        return float(np.linalg.norm(np.diff(self._ends(row), axis=0)))

    def _points(self, rows: list[int]) -> NDArray[np.float64]:
        """Return the four points `(4, 2)` that the calipers of a key frame end at, NaN where none does."""
        found: list[list[NDArray[np.float64]]] = [[], [], [], []]
        for row in rows:
            first = SEGMENTS.index(str(self._table.rows[row]["Calc"])[:-1])
            for place, end in enumerate(self._ends(row), first):
                found[place].append(end)
        return np.stack([np.mean(ends, axis=0) if ends else np.full(2, math.nan) for ends in found])

    @cached_property
    def _files(self) -> Mapping[str, Path]:
        folders = [self._root / name for name in FOLDERS]
        return {path.stem: path for folder in folders if folder.is_dir() for path in sorted(folder.glob("*.avi"))}

    def check(self, stage: str | None = None) -> list[DataError]:
        """Return the faults of the table and of the clips' headers; no pixel is decoded."""
        faults = super().check(stage)
        try:
            studies = self.studies
        except DataError as error:
            return [*faults, error]
        return faults + list(self._faults(studies))

    def _faults(self, studies: Mapping[str, Study]) -> Iterator[DataError]:
        for study in filter(_counts, studies.values()):
            try:
                self._look(study)
            except DataError as error:
                yield error

    def _look(self, study: Study) -> float:
        """Check a clip against its rows; return its frames a second."""
        table = self._table
        every = [row for rows in study.rows.values() for row in rows]
        first = every[0]
        if study.name not in self._files:
            cure = f"give {study.name}.avi in one of {', '.join(FOLDERS)}, or take its rows out"
            raise table.error(first, "HashedFileName", f"there is no clip {study.name!r}", cure)
        path = self._files[study.name]
        if fault := spacing_fault([study.spacing]):
            raise table.error(first, "CalcValue", f"clip {study.name!r} {fault}", "correct the value, which is in cm")
        header = clip_header(path)
        for row in every:
            cells = table.rows[row]
            if (cells["Width"], cells["Height"]) != header.size:
                problem = (
                    f"has {header.size[0]} × {header.size[1]} pixels, {TABLE} says {cells['Width']} × {cells['Height']}"
                )
                raise DataError(path, problem, "give the clip as it was handed out: calipers are in its pixels")
            if int(cells["Frame"]) >= header.frames:
                raise table.error(row, "Frame", f"clip {study.name!r} has the frames 0 to {header.frames - 1}")
            for name, value in zip(_ENDS, (float(cells[name]) for name in _ENDS), strict=True):
                if not -0.5 <= value <= header.size["XY".index(name[0])] - 0.5:
                    problem = f"expected a point within {header.size[0]} × {header.size[1]} pixels"
                    raise table.error(row, name, problem, "correct it, or take the row out")
        return header.rate

    def summary(self, stage: str = "fit") -> list[str]:
        """Return how many clips are for what, and how many calipers do not count."""
        out = sum(study.left_out for study in self.studies.values())
        return [
            *super().summary(stage),
            *([f"{out} calipers left out, more than 5 % off their clip's scale"] if out else []),
        ]

    def make_items(self) -> Items:
        """List the clips by the table's split; none is decoded."""
        studies = list(filter(_counts, self.studies.values()))
        parts = ((study for study in studies if study.split == split) for split in SPLITS)
        return Items(*(tuple(self._item(study) for study in part) for part in parts))

    def _item(self, study: Study) -> Item:
        path = str(self._files.get(study.name, ""))
        load, frame = partial(self._load, study), partial(self._frame, study)
        return Item(study.name, load, path=path, source="echonet-lvh", frame=frame)

    def _frame(self, study: Study) -> tuple[int, int]:
        cells = self._table.rows[next(iter(study.rows.values()))[0]]
        return int(cells["Width"]), int(cells["Height"])

    def _load(self, study: Study) -> Clip:
        rate = self._look(study)
        keys = sorted(study.rows)
        points = np.stack([self._points(study.rows[key]) for key in keys])
        _, frames = read_clip(self._files[study.name])
        placed = np.zeros(len(keys), bool)
        spacing = (study.spacing, study.spacing)
        numbers, phases = zip(*keys, strict=True)
        return Clip(frames, rate, spacing, numbers, phases, points, lines_through(points), placed)


def _counts(study: Study) -> bool:
    return bool(study.rows)


def make_fake(root: Path, count: int = 6, size: int = 48) -> Path:
    """Write drawn clips in the layout of EchoNet-LVH, ends of calipers now in one order and now in the other.

    Args:
        root: Folder to write into.
        count: Clips; the last third is for test, the one before that for validation.
        size: Height of the frames, which are 4 : 3.

    Returns:
        The folder.
    """
    import av

    rows: list[Row] = []
    for number in range(count):
        drawn = plax_clip((17, number), (size, size * 4 // 3), 24)
        mm = (drawn.spacing[0] + drawn.spacing[1]) / 2  # of square pixels, on which the drawing is a little stretched
        name = f"0X{number:08X}"
        folder = root / FOLDERS[number % len(FOLDERS)]
        folder.mkdir(parents=True, exist_ok=True)
        with av.open(str(folder / f"{name}.avi"), "w") as file:
            stream = file.add_stream("mjpeg", rate=30)
            stream.height, stream.width, stream.pix_fmt = size, size * 4 // 3, "yuvj420p"
            for frame in np.round(255 * drawn.clip).astype(np.uint8):
                file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray").reformat(format="yuvj420p")))
            file.mux(stream.encode())
        for key, phase, points in zip(drawn.keys, "ds", drawn.points, strict=True):
            for place, segment in enumerate(SEGMENTS):
                upper, lower = points[place : place + 2]
                first, second = (lower, upper) if place % 2 else (upper, lower)
                ends = dict(zip(_ENDS, (float(v) for v in (*first, *second)), strict=True))
                value = float(np.linalg.norm(lower - upper)) * mm / 10
                facts = {"Frame": key, "Frames": 24, "FPS": 30, "Width": size * 4 // 3, "Height": size}
                split = SPLITS[0 if number < count - 2 * (count // 3) else 1 if number < count - count // 3 else 2]
                rows.append(
                    {
                        "HashedFileName": name,
                        "Calc": segment + phase,
                        "CalcValue": value,
                        **ends,
                        **facts,
                        "split": split,
                    }
                )
    write_csv(root / TABLE, rows)
    return root
