"""Landmarks from the files of several programs, in pixels with 0 at the centre of the first."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medzoo.core.convert.xml import cvat_points
from medzoo.core.errors import DataError
from medzoo.core.io import read_header, read_json, spacing_fault
from medzoo.core.io.listing import files_in, image_files, stem
from medzoo.core.io.point_json import json_labels, labelme_table
from medzoo.core.io.point_tables import LabelTable, read_labels

SLICER = ".mrk.json"
_FORMS = "give a CSV table, a COCO, labelme or .mrk.json file, CVAT's XML, a folder of these, or of medzoo predict"
Named = dict[str, dict[str, tuple[float, float]]]
"""Points by landmark by image."""


@dataclass
class Found:
    """Landmarks, and what is known of their images.

    Attributes:
        table: The landmarks.
        form: What they were read from.
        images: File of an image by its name, where it is at hand.
        spacing: Millimetres per pixel of all images along x and y; None: what the table or the files say.
    """

    table: LabelTable
    form: str
    images: dict[str, str] = field(default_factory=dict)
    spacing: tuple[float, float] | None = None

    def size(self, name: str) -> tuple[int, int] | None:
        """Return width and height of an image, where the labels or its file say."""
        if name in self.table.sizes:
            return self.table.sizes[name]
        if name not in self.images:
            return None
        size = read_header(self.images[name]).size
        if len(size) != 2:
            raise DataError(self.images[name], "is a volume, expected one image", "convert landmarks of plane images")
        return size[0], size[1]

    def scale(self, name: str) -> tuple[float, float]:
        """Return millimetres per pixel along x and y; 1 where nothing says, as 3D Slicer takes it."""
        if self.spacing is not None:
            return self.spacing
        if name in self.table.spacing:
            return self.table.spacing[name]
        told = read_header(self.images[name]).spacing if name in self.images else ()
        known = len(told) == 2 and all(map(math.isfinite, told)) and spacing_fault(list(told)) is None
        return (told[0], told[1]) if known else (1.0, 1.0)


def read(path: Path, images: Path | None = None, spacing: tuple[float, float] | None = None) -> Found:
    """Read landmarks in any of the forms that medzoo knows.

    Args:
        path: A file or a folder.
        images: Folder of the images; None looks beside the labels.
        spacing: Millimetres per pixel.

    Raises:
        DataError: There is nothing to read, or it is damaged.
    """
    if not path.exists():
        raise DataError(path, "does not exist", _FORMS)
    folder = path if path.is_dir() else path.parent
    beside = images or (folder / "images" if (folder / "images").is_dir() else folder)
    if not beside.is_dir():
        raise DataError(beside, "is not a folder", "give the folder of the images")
    found = Found(LabelTable(()), "", image_files(beside), spacing)
    reader = _reader(path)
    if reader is None:
        raise DataError(path, "holds no landmarks", _FORMS)
    reader(found)
    if not any(np.isfinite(points).any() for points in found.table.points.values()):
        raise DataError(path, "holds no point", _FORMS)
    return found


def _reader(path: Path) -> Callable[[Found], None] | None:
    """Return what reads a file or a folder."""
    if path.is_dir():
        answers = path / "predictions.json"
        if answers.is_file():
            return lambda found: _predictions(answers, read_json(answers), found)
        slicer = [file for file in files_in(path, (".json",)) if file.name.endswith(SLICER)]
        if slicer:
            return lambda found: _slicer(slicer, found)
        jsons = files_in(path, (".json",))
        if jsons:
            return lambda found: _json(jsons, found)
        others = files_in(path, (".csv", ".xml"))
        several = [file for file in others if file.name != "metadata.csv"]
        return _reader(several[0]) if len(several) == 1 else None
    name = path.name.lower()
    if name.endswith(".csv"):
        return lambda found: _take(found, "csv", read_labels(path))
    if name.endswith(".xml"):
        return lambda found: _take(found, "cvat", _table(*cvat_points(path)))
    if name.endswith(SLICER):
        return lambda found: _slicer([path], found)
    return (lambda found: _json([path], found)) if name.endswith(".json") else None


def _take(found: Found, form: str, table: LabelTable) -> None:
    found.form, found.table = form, table


def _json(paths: Sequence[Path], found: Found) -> None:
    for path in paths if len(paths) == 1 else ():
        content = read_json(path)
        if isinstance(content, dict) and "predictions" in content:
            _predictions(path, content, found)
            return
    coco, labelme = json_labels(paths)
    if len(coco) + bool(labelme) != 1:
        count = len(coco) + bool(labelme)
        raise DataError(paths[0].parent, f"holds {count} sets of labels in JSON, expected one", "name the file itself")
    if labelme:
        _take(found, "labelme", labelme_table(labelme))
    else:
        _take(found, "coco", next(iter(coco.values())))


def _predictions(path: Path, content: object, found: Found) -> None:
    """Take the points that medzoo predicted, and the files that they are of."""
    records = content.get("predictions") if isinstance(content, dict) else None
    if not isinstance(records, list) or not all(isinstance(r, dict) and "landmarks_px" in r for r in records):
        raise DataError(path, "holds no landmarks", "give predictions of a model that finds landmarks")
    if len({record.get("domain") for record in records}) > 1:
        raise DataError(path, "holds several anatomies", "predict one with --source NAME")
    named: Named = {}
    for record in records:
        name = str(record["id"])
        places = record["landmarks_px"]
        named[name] = {landmark: _pair(path, landmark, place) for landmark, place in places.items()}
        if Path(str(record.get("path", ""))).is_file():
            found.images[name] = str(record["path"])
    _take(found, "predictions", _table(named))


def _slicer(paths: Sequence[Path], found: Found) -> None:
    """Take the control points of 3D Slicer's markups; its millimetres become pixels by the spacing of the image."""
    named: Named = {}
    for path in paths:
        name = stem(path.name[: -len(SLICER)])
        named[name] = {}
        scale = found.scale(name)
        for markup in _list(path, read_json(path), "markups"):
            system = str(markup.get("coordinateSystem", "LPS"))
            if system not in ("LPS", "RAS", "0", "1"):
                raise DataError(path, f"has a coordinateSystem {system!r}", "expected LPS or RAS")
            sign = 1 if system in ("LPS", "0") else -1
            for point in _list(path, markup, "controlPoints"):
                label, place = str(point.get("label") or ""), point.get("position")
                if not label or label in named[name]:
                    raise DataError(path, f"has two points {label!r}, or one without label", "name each once")
                if point.get("positionStatus", "defined") != "defined":
                    named[name][label] = (math.nan, math.nan)
                    continue
                x, y = _pair(path, label, place[:2] if isinstance(place, list) and len(place) == 3 else None)
                named[name][label] = sign * x / scale[0], sign * y / scale[1]
    _take(found, "slicer", _table(named))


def _pair(path: Path, landmark: str, place: object) -> tuple[float, float]:
    if isinstance(place, list) and len(place) == 2:
        if place == [None, None]:
            return math.nan, math.nan
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in place):
            return float(place[0]), float(place[1])
    raise DataError(path, f"{landmark}: expected numbers, got {place!r}"[:200], "correct it")


def _list(path: Path, content: object, key: str) -> Sequence[Mapping[str, object]]:
    values = content.get(key) if isinstance(content, Mapping) else None
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise DataError(path, f"{key}: expected a list of objects", "save it again in 3D Slicer")
    return values


def _table(named: Named, sizes: Mapping[str, tuple[int, int]] | None = None) -> LabelTable:
    landmarks = tuple(dict.fromkeys(landmark for points in named.values() for landmark in points))
    nowhere = (math.nan, math.nan)
    table = LabelTable(landmarks, sizes=dict(sizes or {}))
    for name, points in named.items():
        table.points[name] = np.array([points.get(landmark, nowhere) for landmark in landmarks]).reshape(-1, 2)
    return table
