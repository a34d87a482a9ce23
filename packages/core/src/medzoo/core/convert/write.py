"""Landmarks to the files of several programs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from medzoo.core.convert.read import SLICER, Found
from medzoo.core.convert.xml import cvat_text
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io import file_name, replacing, write_csv, write_json
from medzoo.core.io.listing import stem

_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
_DIGITS = 4
Place = tuple[float, float]


def points_of(found: Found, name: str) -> dict[str, Place]:
    """Return the points of an image that are not missing, by landmark."""
    points = found.table.points[name]
    pairs = zip(found.table.landmarks, points.tolist(), strict=True)
    return {landmark: (x, y) for landmark, (x, y) in pairs if np.isfinite([x, y]).all()}


def path_of(form: str, out: Path, name: str) -> Path:
    """Return the file of an image, of the formats with a file for each."""
    return out / f"{file_name(name)}{SLICER if form == 'slicer' else '.json'}"


def file_of(found: Found, name: str) -> str:
    """Return the file name of an image, its name alone where the file is not at hand or called otherwise.

    Images of several folders may be called alike: `medzoo predict` gives such a name of its own.
    """
    file = Path(found.images[name]).name if name in found.images else name
    return file if stem(file) == name else name


def write_labelme(found: Found, out: Path) -> int:
    """Write a file for each image; labelme counts from the corner of the first pixel."""
    paths = {name: path_of("labelme", out, name) for name in found.table.points}
    contents: dict[Path, object] = {}
    for name, path in paths.items():
        if name not in found.images:
            raise DataError(path, f"needs the image {name}, which labelme opens beside it", "give --images DIR")
        size = found.size(name) or (0, 0)
        shapes: list[dict[str, object]] = [
            {
                "label": label,
                "points": [_rounded(x + 0.5, y + 0.5)],
                "group_id": None,
                "shape_type": "point",
                "flags": {},
            }
            for label, (x, y) in points_of(found, name).items()
        ]
        contents[path] = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": os.path.relpath(found.images[name], out),
            "imageData": None,
            "imageHeight": size[1],
            "imageWidth": size[0],
        }
    return _write_each(contents)


def write_slicer(found: Found, out: Path) -> int:
    """Write markups for each image, in millimetres of 3D Slicer's own system LPS; z is 0 in a plane image."""
    contents: dict[Path, object] = {}
    for name in found.table.points:
        (sx, sy), known = found.scale(name), points_of(found, name)
        points = []
        for number, label in enumerate(found.table.landmarks):
            x, y = known.get(label, (0.0, 0.0))
            points.append(
                {
                    "id": str(number + 1),
                    "label": label,
                    "position": [*_rounded(x * sx, y * sy, 6), 0.0],
                    "selected": True,
                    "locked": False,
                    "visibility": True,
                    "positionStatus": "defined" if label in known else "undefined",
                }
            )
        markup = {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": points}
        contents[path_of("slicer", out, name)] = {"@schema": _SCHEMA, "markups": [markup]}
    return _write_each(contents)


def _write_each(contents: dict[Path, object]) -> int:
    there = next((path for path in contents if path.exists()), None)
    if there is not None:
        raise ConfigError(f"-o {there.parent}: {there.name} exists there; move it, or name another folder")
    for path, content in contents.items():
        write_json(path, content)
    return len(contents)


def write_coco(found: Found, out: Path) -> int:
    """Write one file with keypoints; coordinates are those of medzoo, 0 at the centre of the first pixel."""
    images, annotations = [], []
    for number, name in enumerate(found.table.points, 1):
        size, points = found.size(name), points_of(found, name)
        sides = {"width": size[0], "height": size[1]} if size else {}
        images.append({"id": number, "file_name": file_of(found, name), **sides})
        if not points:
            continue
        low, high = np.array(list(points.values())).min(0), np.array(list(points.values())).max(0)
        keypoints: list[float] = []
        for label in found.table.landmarks:
            keypoints += [*_rounded(*points[label]), 2] if label in points else [0, 0, 0]
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "keypoints": keypoints,
                "num_keypoints": len(points),
                "bbox": [*_rounded(*low), *_rounded(*(high - low))],
                "area": float(np.prod(high - low)),
                "iscrowd": 0,
            }
        )
    names = list(found.table.landmarks)
    category = {"id": 1, "name": "landmarks", "keypoints": names, "skeleton": []}
    write_json(out, {"images": images, "annotations": annotations, "categories": [category]})
    return len(images)


def write_cvat(found: Found, out: Path) -> int:
    """Write one file of «CVAT for images 1.1»."""
    content = cvat_text([(file_of(found, n), found.size(n), points_of(found, n)) for n in found.table.points])
    with replacing(out) as part:
        part.write_bytes(content)
    return len(found.table.points)


def write_table(found: Found, out: Path) -> int:
    """Write a row a point, as `landmark-folder` reads and `medzoo predict` writes them; a missing point is empty."""
    rows = []
    for name in found.table.points:
        points, spacing = points_of(found, name), found.spacing or found.table.spacing.get(name)
        more = dict(zip(("spacing_x", "spacing_y"), spacing, strict=True)) if spacing else {}
        for label in found.table.landmarks:
            x, y = _rounded(*points[label]) if label in points else ("", "")
            rows.append({"id": file_of(found, name), "landmark": label, "x": x, "y": y, **more})
    columns = dict.fromkeys(key for row in rows for key in row)
    write_csv(out, rows, list(columns))
    return len(found.table.points)


def _rounded(x: float, y: float, digits: int = _DIGITS) -> list[float]:
    return [round(float(x), digits), round(float(y), digits)]


WRITERS: dict[str, tuple[Callable[[Found, Path], int], str]] = {
    "labelme": (write_labelme, ""),
    "coco": (write_coco, ".json"),
    "cvat": (write_cvat, ".xml"),
    "slicer": (write_slicer, ""),
    "csv": (write_table, ".csv"),
}
"""By format: what writes it, and the ending of its one file; empty where it is a folder of files."""
