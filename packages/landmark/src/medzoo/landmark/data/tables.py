"""One's own labels as points by image, and how they are read from a CSV file, wide or long."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medzoo.core.errors import DataError
from medzoo.core.io import Column, Table, read_table
from medzoo.landmark.data.folders import stem
from medzoo.landmark.data.labels import columns_of
from medzoo.landmark.data.sources import Points

_ID = ("id", "name", "image", "filename", "file")
_HEADER = "give a header such as id,x0,y0,x1,y1 or id,sella_x,sella_y or id,landmark,x,y"
PARTS = ("train", "val", "test")


@dataclass
class LabelTable:
    """What label files tell of images; names are those of image files without ending.

    Attributes:
        landmarks: Names of the K landmarks.
        points: `(K, 2)` of each image with a row, NaN where a cell is empty.
        places: Where the label of the image stands: `file:line` of its (first) row, or a file of its own.
        spacing: mm per pixel along x and y, where told.
        parts: "train", "val" or "test", where told.
        patients: Patient, where told.
    """

    landmarks: tuple[str, ...]
    points: dict[str, Points] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    spacing: dict[str, tuple[float, float]] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    patients: dict[str, str] = field(default_factory=dict)


def read_labels(path: Path) -> LabelTable:
    """Read a table of landmarks with a header.

    Wide: a column of names (`id`, `name`, `image`, `filename` or `file`) and two columns a landmark, `x0,y0,x1,y1,…` or
    `<landmark>_x,<landmark>_y`. Long: the columns `<names>,landmark,x,y`, one row a point. Points may be missing: an
    empty cell, `nan` or no row. Further columns that are read where present: `spacing_x,spacing_y` or `spacing` (mm
    per pixel), `split` (train, val or test), `patient`.

    Raises:
        DataError: The table has another form, two rows for one point, or a cell that is no number.
    """
    header = {name.casefold(): name for name in columns_of(path)}
    image = next((header[name] for name in _ID if name in header), None)
    if image is None:
        raise DataError(f"{path}:1", "has no column id", _HEADER)
    extras = _extras(header)
    if {"landmark", "x", "y"} <= set(header):
        return _read_long(path, image, header, extras)
    return _read_wide(path, image, header, extras)


def _extras(header: dict[str, str]) -> list[Column]:
    spacing = [
        Column(header[n], "number", True, low=1e-6) for n in ("spacing", "spacing_x", "spacing_y") if n in header
    ]
    return spacing + [Column(header[name], optional=True) for name in ("split", "patient") if name in header]


def _read_wide(path: Path, image: str, header: dict[str, str], extras: list[Column]) -> LabelTable:
    pairs = _pairs(header)
    if not pairs:
        raise DataError(f"{path}:1", "has no columns of landmarks", _HEADER)
    cells = [Column(name, "number", optional=True) for pair in pairs.values() for name in pair]
    columns: list[Column | str] = [image, *cells, *extras]
    table = read_table(path, columns)
    labels = LabelTable(tuple(pairs))
    for row, file in enumerate(table.texts(image)):
        name = stem(Path(file))
        if name in labels.places:
            line = labels.places[name].rpartition(":")[2]
            raise table.error(row, image, f"repeats image {name} of line {line}", "remove one of the two")
        values = [[float(table.rows[row][axis]) for axis in pair] for pair in pairs.values()]
        for (x, y), (_, second) in zip(values, pairs.values(), strict=True):
            if math.isnan(x) != math.isnan(y):
                raise table.error(row, second, "tells only one of x and y", "fill in both or neither")
        labels.points[name] = np.array(values)
        _take_extras(labels, table, row, name)
    return labels


def _pairs(header: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Return the columns of x and y by landmark, in the order of the header."""
    pairs = {}
    for folded, original in header.items():
        if (numbered := re.fullmatch(r"x_?(\d+)", folded)) and (y := header.get(f"y{folded[1:]}")):
            pairs[numbered[1]] = (original, y)
        elif folded[-2:] in ("_x", " x", ".x") and folded[:-2] != "spacing" and (y := header.get(f"{folded[:-1]}y")):
            pairs[original[:-2]] = (original, y)
    return pairs


def _read_long(path: Path, image: str, header: dict[str, str], extras: list[Column]) -> LabelTable:
    columns: list[Column | str] = [
        image,
        header["landmark"],
        *(Column(header[axis], "number", optional=True) for axis in "xy"),
        *extras,
    ]
    table = read_table(path, columns, unique=(image, header["landmark"]))
    landmarks = tuple(dict.fromkeys(table.texts(header["landmark"])))
    labels = LabelTable(landmarks)
    xy = table.numbers(header["x"], header["y"])
    for row, (file, landmark) in enumerate(zip(table.texts(image), table.texts(header["landmark"]), strict=True)):
        name = stem(Path(file))
        if np.isnan(xy[row]).sum() == 1:
            raise table.error(row, header["y"], "tells only one of x and y", "fill in both or neither")
        points = labels.points.setdefault(name, np.full((len(landmarks), 2), np.nan))
        points[landmarks.index(landmark)] = xy[row]
        _take_extras(labels, table, row, name)
    return labels


def _take_extras(labels: LabelTable, table: Table, row: int, name: str) -> None:
    labels.places.setdefault(name, f"{table.path}:{table.lines[row]}")
    cells = {column.casefold(): value for column, value in table.rows[row].items()}
    both = cells.get("spacing", math.nan)
    spacing = (float(cells.get("spacing_x", both)), float(cells.get("spacing_y", both)))
    if not any(map(math.isnan, spacing)):
        labels.spacing[name] = spacing
    if part := str(cells.get("split", "")).lower():
        if part not in PARTS:
            raise table.error(
                row,
                next(c for c in table.places if c.casefold() == "split"),
                f"{part!r} is no part",
                f"write {', '.join(PARTS)}",
            )
        labels.parts[name] = part
    if patient := str(cells.get("patient", "")):
        labels.patients[name] = f"patient {patient}"
