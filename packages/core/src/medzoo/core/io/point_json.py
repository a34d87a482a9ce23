"""One's own labels in JSON: a COCO file with keypoints, or a labelme file for each image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from medzoo.core.errors import DataError
from medzoo.core.io.files import read_json
from medzoo.core.io.listing import stem
from medzoo.core.io.point_tables import LabelTable, Points, same_but_case

_EXPORT = "export keypoints as COCO JSON"
_SAVE = "save the picture again in labelme"
_LABELME = ("shapes", "imageWidth", "imageHeight")


def json_labels(
    paths: Iterable[Path], known: bool = False
) -> tuple[dict[Path, LabelTable], dict[Path, Mapping[str, object]]]:
    """Read JSON files and distinguish the two forms by their keys; files in `.` or with other keys are passed over.

    So are COCO files without keypoints (boxes, outlines) where there are other labels.

    Args:
        paths: The files.
        known: There are labels in another form.

    Returns:
        The tables of COCO files (with `annotations`), and the contents of labelme files (with `shapes`).

    Raises:
        DataError: A file cannot be read, or a COCO file not be understood.
    """
    coco: dict[Path, Mapping[str, object]] = {}
    boxes: dict[Path, Mapping[str, object]] = {}
    labelme: dict[Path, Mapping[str, object]] = {}
    for path in paths:
        content = read_json(path)
        if isinstance(content, dict) and "annotations" in content:
            (coco if _has_keypoints(content) else boxes)[path] = content
        elif isinstance(content, dict) and "shapes" in content:
            labelme[path] = {key: content[key] for key in _LABELME if key in content}  # not the picture beside them
    if not (coco or labelme or known):
        coco = boxes  # refused below, for nothing else can have been meant
    return {path: coco_table(path, content) for path, content in coco.items()}, labelme


def _has_keypoints(content: Mapping[str, object]) -> bool:
    """Return whether a COCO file is about keypoints, rightly or wrongly written."""
    lists = [content.get(key) for key in ("annotations", "categories")]
    return any(isinstance(value, dict) and value.get("keypoints") for rows in lists for value in _rows(rows))


def _rows(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def coco_table(path: Path, content: Mapping[str, object]) -> LabelTable:
    """Turn a COCO file into points: one category with named keypoints, at most one annotation with a keypoint an image.

    A keypoint is `x, y, v`; v = 0 is a missing point, 1 (hidden) and 2 (visible) are labels. Coordinates are taken as
    they are, 0 at the centre of the first pixel. Annotations of crowds and those without a keypoint are passed over.
    Whole numbers are one id however they are written (0, 0.0).

    Args:
        path: The file, for messages.
        content: What it holds.

    Raises:
        DataError: It has another form.
    """
    lists = {key: _objects(path, content, key) for key in ("images", "annotations", "categories")}
    named = [category for category in lists["categories"] if category.get("keypoints")]
    if len(named) != 1:
        raise DataError(path, f"has {len(named)} categories with names of keypoints, expected 1", _EXPORT)
    landmarks = _texts(path, named[0]["keypoints"])
    files = {_id(image.get("id")): stem(str(image.get("file_name", ""))) for image in lists["images"]}
    if len(set(files.values())) < len(lists["images"]) or "" in files.values():
        raise DataError(path, "has images without a file_name, or two of one name or id", _EXPORT)
    table = LabelTable(landmarks)
    for image in lists["images"]:
        table.sizes |= _size(files[_id(image.get("id"))], image.get("width"), image.get("height"))
    for number, annotation in enumerate(lists["annotations"]):
        place = f"{path}: annotations[{number}]"
        own = _id(annotation.get("category_id", named[0].get("id"))) == _id(named[0].get("id"))
        if not annotation.get("keypoints") or not own or annotation.get("iscrowd") in (1, True):
            continue
        points = _keypoints(place, annotation["keypoints"], len(landmarks))
        name = files.get(_id(annotation.get("image_id")))
        if name is None:
            raise DataError(place, f"there is no image of id {annotation.get('image_id')!r}", "add it to images")
        if np.isnan(points).all():
            continue
        if name in table.points:
            raise DataError(place, f"is a second annotation of image {name}", "keep one an image")
        table.points[name], table.places[name] = points, place
    return table


def _id(value: object) -> str:
    """Return an id as text: programs that go through tables write 0 as 0.0."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _keypoints(place: str, values: object, count: int) -> Points:
    if not isinstance(values, list) or len(values) != 3 * count:
        got = len(values) if isinstance(values, list) else "no list"
        raise DataError(place, f"keypoints: expected {3 * count} numbers (x, y, v), got {got}", _EXPORT)
    xyv = np.array([_number(place, value) for value in values]).reshape(count, 3)
    if not np.isin(xyv[:, 2], (0, 1, 2)).all():
        raise DataError(place, "keypoints: every third number is 0, 1 or 2", _EXPORT)
    return np.where(xyv[:, 2:] > 0, xyv[:, :2], np.nan)


def labelme_table(contents: Mapping[Path, Mapping[str, object]]) -> LabelTable:
    """Turn labelme files into points: each shape of type `point` is a landmark, named by its label.

    labelme counts from the corner of the first pixel, so that 0.5 is subtracted. A landmark without a shape is missing;
    shapes of other types are passed over. The order of the landmarks is that of their names.

    Args:
        contents: What each file holds.

    Raises:
        DataError: A file has another form, or two points of one label.
    """
    found = {path: _shapes(path, content) for path, content in contents.items()}
    landmarks = tuple(sorted({label for points in found.values() for label in points}))
    if not landmarks:
        raise DataError(
            next(iter(found)), "has no shape of type point, nor has another file", "mark landmarks as points"
        )
    _check_spelling(found, landmarks)
    table = LabelTable(landmarks)
    for path, points in found.items():
        name = stem(path.stem)
        if name in table.points:
            raise DataError(path, f"has the same name as {table.places[name]}", "remove one of the two")
        rows = [points.get(landmark, (math.nan, math.nan)) for landmark in landmarks]
        table.points[name], table.places[name] = np.array(rows, np.float64).reshape(-1, 2), str(path)
        table.sizes |= _size(name, contents[path].get("imageWidth"), contents[path].get("imageHeight"))
    return table


def _check_spelling(found: Mapping[Path, Mapping[str, object]], landmarks: Sequence[str]) -> None:
    twice = same_but_case(landmarks)
    if twice is not None:
        path = next(path for path, points in found.items() if twice[1] in points)
        raise DataError(path, f"has a point {twice[1]!r}, another file {twice[0]!r}", "write the name in one way")


def _size(name: str, width: object, height: object) -> dict[str, tuple[int, int]]:
    """Return the size that a label file gives of its image; some programs write null or 0."""
    if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
        return {name: (width, height)}
    return {}


def _shapes(path: Path, content: Mapping[str, object]) -> dict[str, tuple[float, float]]:
    points: dict[str, tuple[float, float]] = {}
    for number, shape in enumerate(_objects(path, content, "shapes", _SAVE)):
        if shape.get("shape_type", "polygon") != "point":
            continue
        place, label, given = f"{path}: shapes[{number}]", str(shape.get("label") or ""), shape.get("points")
        if not label:
            raise DataError(place, "has no label", _SAVE)
        if label in points:
            raise DataError(place, f"is a second point {label!r}", "remove one of the two")
        if not isinstance(given, list) or len(given) != 1 or not isinstance(given[0], list) or len(given[0]) != 2:
            raise DataError(place, f"expected points [[x, y]], got {given!r}"[:200], _SAVE)
        x, y = (_number(place, value) for value in given[0])
        points[label] = (x - 0.5, y - 0.5)
    return points


def _objects(
    path: Path, content: Mapping[str, object], key: str, cure: str = _EXPORT
) -> Sequence[Mapping[str, object]]:
    values = content.get(key)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise DataError(path, f"{key}: expected a list of objects", cure)
    return values


def _texts(path: Path, values: object) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values) or len(set(values)) < len(values):
        raise DataError(path, "keypoints of the category: expected a list of different names", _EXPORT)
    return tuple(values)


def _number(place: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(place, f"{value!r} is no coordinate", "correct it")
    return float(value)
