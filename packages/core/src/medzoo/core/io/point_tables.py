"""One's own labels as points by image, and how they are read from a CSV file, wide or long."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from medzoo.core.errors import DataError
from medzoo.core.io.columns import columns_of, patient_column
from medzoo.core.io.listing import stem
from medzoo.core.io.tables import Column, Table, read_table

V = TypeVar("V")
Points = NDArray[np.float64]
"""`(K, 2)` x and y of an image's landmarks in pixels, 0 at the centre of the first; NaN where missing."""
_ID = ("id", "name", "image", "filename", "file")
_HEADER = "give a header such as id,x0,y0,x1,y1 or id,sella_x,sella_y or id,landmark,x,y"
PARTS = ("train", "val", "test")
_MOST, _MOST_POINTS, _MOST_ANNOTATORS = 5000, 20_000_000, 100
"""Landmarks, points in all and annotators of a table; more is a slip in a column, and would fill the memory."""


@dataclass
class LabelTable:
    """What label files say of images; names are those of image files without ending.

    Attributes:
        landmarks: Names of the K landmarks.
        points: `(K, 2)` of each image with a row, NaN where a cell is empty; of several annotators the mean.
        places: Where the label of the image stands: `file:line` of its (first) row, or a file of its own.
        spacing: mm per pixel along x and y, where given.
        parts: "train", "val" or "test", where given.
        patients: Patient, where given.
        annotators: The points of each annotator, where given.
        sizes: Width and height of the image, where given.
    """

    landmarks: tuple[str, ...]
    points: dict[str, Points] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    spacing: dict[str, tuple[float, float]] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    patients: dict[str, str] = field(default_factory=dict)
    annotators: dict[str, dict[str, Points]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)

    def average(self) -> None:
        """Make `points` the mean of the annotators, of each point over those who placed it."""
        if len(self.annotators) == 1:
            self.points = dict(next(iter(self.annotators.values())))
            return
        for name in dict.fromkeys(name for placed in self.annotators.values() for name in placed):
            stack = np.stack([placed[name] for placed in self.annotators.values() if name in placed])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # a point that nobody placed stays NaN
                self.points[name] = np.nanmean(stack, axis=0)


def same_but_case(names: Sequence[str]) -> tuple[str, str] | None:
    """Return two names that differ in case or spaces alone: one landmark written in two ways."""
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(" ".join(name.casefold().split()), name)
        if first != name:
            return first, name
    return None


def read_labels(path: Path) -> LabelTable:
    """Read a table of landmarks with a header.

    Wide: a column of names (`id`, `name`, `image`, `filename` or `file`) and two columns a landmark, `x0,y0,x1,y1,…` or
    `<landmark>_x,<landmark>_y`. Long: the columns `<names>,landmark,x,y`, one row a point. Points may be missing: an
    empty cell, `nan` or no row. Further columns that are read where present: `spacing_x,spacing_y` or `spacing` (mm
    per pixel), `split` (train, val or test), `patient` (see `patient_column`), `annotator` (then a row or a point for
    each).

    Raises:
        DataError: The table has another form, two rows for one point, rows of one image that contradict each other, or
            a cell that is no number.
    """
    header = {name.casefold(): name for name in columns_of(path)}
    if len(header) > 2 * _MOST + len(_ID) + 16:
        raise DataError(f"{path}:1", f"has {len(header)} columns, expected at most {_MOST} landmarks", _HEADER)
    image = next((header[name] for name in _ID if name in header), None)
    if image is None:
        raise DataError(f"{path}:1", "has no column id", _HEADER)
    extras = _extras(path, header)
    labels = (_read_long if {"landmark", "x", "y"} <= set(header) else _read_wide)(path, image, header, extras)
    if len(labels.annotators) > _MOST_ANNOTATORS:
        problem = f"has {len(labels.annotators)} annotators, expected at most {_MOST_ANNOTATORS}"
        raise DataError(path, problem, "write into the column annotator who placed the points")
    labels.average()
    if set(labels.annotators) == {""}:
        labels.annotators = {}
    return labels


def _extras(path: Path, header: dict[str, str]) -> list[Column]:
    if ("spacing_x" in header) != ("spacing_y" in header):
        alone = "spacing_x" if "spacing_x" in header else "spacing_y"
        raise DataError(f"{path}:1", f"has {alone} alone", "give spacing_x and spacing_y, or spacing for both")
    names = [name for name in ("spacing", "spacing_x", "spacing_y") if name in header]
    spacing = [Column(header[name], "number", True, low=1e-6) for name in names]
    patient = patient_column(header.values())
    texts = [Column(name, optional=True) for name in (header.get("split"), patient) if name]
    return spacing + texts + [Column(header[name]) for name in ("annotator",) if name in header]


def _read_wide(path: Path, image: str, header: dict[str, str], extras: list[Column]) -> LabelTable:
    pairs = _pairs(path, header)
    if not pairs:
        raise DataError(f"{path}:1", "has no columns of landmarks", _HEADER)
    cells = [Column(name, "number", optional=True) for pair in pairs.values() for name in pair]
    columns: list[Column | str] = [image, *cells, *extras]
    table = read_table(path, columns)
    labels = LabelTable(tuple(pairs))
    lines: dict[tuple[str, str], int] = {}
    for row, file in enumerate(table.texts(image)):
        name, who = stem(file), _annotator(table, row)
        first = lines.setdefault((name, who), table.lines[row])
        if first != table.lines[row]:
            raise table.error(row, image, f"repeats image {name} of line {first}", "remove one of the two")
        values = [[float(table.rows[row][axis]) for axis in pair] for pair in pairs.values()]
        for (x, y), (_, second) in zip(values, pairs.values(), strict=True):
            if math.isnan(x) != math.isnan(y):
                raise table.error(row, second, "has only one of x and y", "fill in both or neither")
        labels.annotators.setdefault(who, {})[name] = np.array(values)
        _take_extras(labels, table, row, name)
    return labels


def _pairs(path: Path, header: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Return the columns of x and y by landmark, in the order of the header."""
    pairs = {}
    for folded, original in header.items():
        if not (found := re.fullmatch(r"([xy])(_?\d+)|(.+[_ .])([xy])", folded)) or found[3] == "spacing_":
            continue
        axis = found[1] or found[4]
        other = "xy"[axis == "x"]
        partner = f"{other}{found[2]}" if found[1] else f"{found[3]}{other}"
        if partner not in header:
            raise DataError(f"{path}:1", f"has a column {original} but no {partner}", "name both, or rename it")
        if axis == "x":
            pairs[found[2].lstrip("_") if found[1] else original[:-2]] = (original, header[partner])
    return pairs


def _read_long(path: Path, image: str, header: dict[str, str], extras: list[Column]) -> LabelTable:
    columns: list[Column | str] = [
        image,
        header["landmark"],
        *(Column(header[axis], "number", optional=True) for axis in "xy"),
        *extras,
    ]
    table = read_table(path, columns)
    spelled = table.texts(header["landmark"])
    landmarks = tuple(dict.fromkeys(spelled))
    twice = same_but_case(landmarks)
    if twice is not None:
        problem = f"has a landmark {twice[1]!r}, line {table.lines[spelled.index(twice[0])]} has {twice[0]!r}"
        raise table.error(spelled.index(twice[1]), header["landmark"], problem, "write the name in one way")
    if len(landmarks) > _MOST:
        problem = f"has {len(landmarks)} different landmarks, expected at most {_MOST}"
        raise DataError(f"{path}: column {header['landmark']}", problem, "write the name of the point there")
    images = len(set(table.texts(image)))
    if images * len(landmarks) > _MOST_POINTS:
        problem = f"has {images} images with {len(landmarks)} landmarks, expected at most {_MOST_POINTS} points"
        raise DataError(path, problem, "split it")
    labels, order = LabelTable(landmarks), {landmark: index for index, landmark in enumerate(landmarks)}
    xy = table.numbers(header["x"], header["y"])
    lines: dict[tuple[str, str, str], int] = {}
    for row, (file, landmark) in enumerate(zip(table.texts(image), spelled, strict=True)):
        name, who = stem(file), _annotator(table, row)
        first = lines.setdefault((name, who, landmark), table.lines[row])
        if first != table.lines[row]:
            raise table.error(row, image, f"repeats {landmark} of {name} in line {first}", "remove one of the two")
        if np.isnan(xy[row]).sum() == 1:
            raise table.error(row, header["y"], "has only one of x and y", "fill in both or neither")
        points = labels.annotators.setdefault(who, {}).setdefault(name, np.full((len(landmarks), 2), np.nan))
        points[order[landmark]] = xy[row]
        _take_extras(labels, table, row, name)
    return labels


_patients = cache(patient_column)  # it is asked for in each of millions of rows


def _annotator(table: Table, row: int) -> str:
    """Return who placed the points of a row; nobody where the table does not say."""
    return next((str(value) for column, value in table.rows[row].items() if column.casefold() == "annotator"), "")


def _take_extras(labels: LabelTable, table: Table, row: int, name: str) -> None:
    """Take what a row says of its image; rows of one image must agree."""
    known = name in labels.places
    labels.places.setdefault(name, f"{table.path}:{table.lines[row]}")
    columns = {column.casefold(): column for column in table.rows[row]}
    if (patients := _patients(tuple(columns.values()))) is not None:
        columns["patient"] = patients
    cells = {folded: table.rows[row][column] for folded, column in columns.items()}
    both = cells.get("spacing", math.nan)
    xy = (float(cells.get("spacing_x", both)), float(cells.get("spacing_y", both)))
    if math.isnan(xy[0]) != math.isnan(xy[1]):
        raise table.error(row, columns["spacing_x"], "has only one of spacing_x and spacing_y", "fill in both")
    spacing = None if math.isnan(xy[0]) else xy
    part, patient = str(cells.get("split", "")).lower(), str(cells.get("patient", ""))
    if part and part not in PARTS:
        raise table.error(row, columns["split"], f"{part!r} is no part", f"write {', '.join(PARTS)}")

    def note(column: str, values: dict[str, V], value: V | None) -> None:
        if known and values.get(name) != value:
            problem = f"has another {column.partition('_')[0]} of {name} than {labels.places[name]}"
            raise table.error(row, columns[column], problem, "make them equal")
        if value is not None:
            values[name] = value

    note("spacing_x" if "spacing_x" in columns else "spacing", labels.spacing, spacing)
    note("split", labels.parts, part or None)
    note("patient", labels.patients, f"patient {patient}" if patient else None)
