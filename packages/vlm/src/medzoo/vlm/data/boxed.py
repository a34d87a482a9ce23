"""Public sets with boxes around findings, to test on where a model looks: ChestX-Det10 and MS-CXR."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from medzoo.core.data.options import Unpack
from medzoo.core.errors import DataError
from medzoo.core.io.listing import image_files
from medzoo.vlm.data.layouts import Boxes, PublicFiles, PublicOptions, Row, below, known_classes, read_rows

_SIDE = 1024
_MOST_BYTES = 2**27


class ChestXDet10(PublicFiles):
    """ChestX-Det10 of Deepwise: boxes of ten findings on images of ChestX-ray14, to test on.

    Boxes count from 0 to 1,024 on either axis, whatever the size of the images; an image without a box has no finding.
    Patients are not known, so that intervals are drawn over images.

    Args:
        root: Folder with `test.json` (or `train.json`) and the images, in it or in a folder below it.
        table: Which of both.
        common: Options of all public data sets.
    """

    layout = "test.json and PNG files, in it or in a folder below it"

    def __init__(self, root: str, table: str = "test.json", **common: Unpack[PublicOptions]) -> None:
        super().__init__(root, **common)
        self._table = table

    def rows(self, root: Path) -> tuple[tuple[str, ...], list[Row]]:
        """Read the list of images."""
        path = root / self._table
        found = [_entry(path, entry) for entry in _entries(path)]
        classes = known_classes([names for _, names, _ in found], 1)
        places = [folder for folder in (root, *sorted(root.iterdir())) if folder.is_dir()]
        known = {n: Path(p) for folder in reversed(places) for n, p in image_files(folder, (".png", ".jpg")).items()}
        rows = []
        for file, names, corners in found:
            boxes: dict[str, Boxes] = {}
            for name, box in zip(names, corners, strict=True):
                boxes[name] = (*boxes.get(name, ()), tuple(value / _SIDE for value in box))
            stem = Path(file).stem
            label = tuple(float(name in names) for name in classes)
            rows.append(Row(stem, known.get(stem, below(root, path, file)), "", label, "", "test", boxes))
        return classes, rows


def _entries(path: Path) -> list[object]:
    """Return the entries of a list in JSON."""
    if not path.is_file():
        raise DataError(path, "does not exist", "put the list of images there, or name it with --data.table")
    try:
        found = json.loads(path.read_bytes()) if path.stat().st_size <= _MOST_BYTES else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise DataError(path, "is not a list of images in JSON", "get it anew")
    return found


def _entry(path: Path, entry: object) -> tuple[str, list[str], list[tuple[float, ...]]]:
    """Return file, findings and boxes of an image."""
    given: Mapping[str, object] = entry if isinstance(entry, Mapping) else {}
    file, names, boxes = given.get("file_name"), given.get("syms"), given.get("boxes")
    if isinstance(file, str) and isinstance(names, list) and isinstance(boxes, list) and len(names) == len(boxes):
        fours = all(isinstance(b, list) and len(b) == 4 and all(isinstance(v, int | float) for v in b) for b in boxes)
        if fours and all(isinstance(name, str) for name in names):
            return file, names, [tuple(map(float, box)) for box in boxes]
    raise DataError(path, f"has the entry {str(entry)[:60]!r}", "expected file_name, syms, boxes of four numbers")


class MsCxr(PublicFiles):
    """MS-CXR: boxes around what a phrase says, on images of MIMIC-CXR-JPG, to test on.

    The phrases of an image are its text. Where a model looks is asked by the names of the eight categories, not by
    the phrases. An image has boxes of the categories that it was chosen for; of the others nothing is known.

    Args:
        root: Folder of MIMIC-CXR-JPG, with `files/` and `mimic-cxr-2.0.0-metadata.csv.gz`.
        table: The table of MS-CXR, in the root or anywhere; empty: the last `MS_CXR*.csv` of the root.
        common: Options of all public data sets.
    """

    layout = "files/p10/p10000032/s50414267/ID.jpg, mimic-cxr-2.0.0-metadata.csv.gz and MS_CXR_Local_Alignment.csv"

    def __init__(self, root: str, table: str | None = None, **common: Unpack[PublicOptions]) -> None:
        super().__init__(root, **common)
        self._table = table

    def rows(self, root: Path) -> tuple[tuple[str, ...], list[Row]]:
        """Read the table, and where its images lie."""
        inside = root / self._table if self._table else max(root.glob("MS_CXR*.csv"), default=root / "MS_CXR.csv")
        path = inside if inside.is_file() or not self._table else Path(self._table)
        numbers = ("x", "y", "w", "h", "image_width", "image_height")
        given = read_rows(path, ["category_name", "label_text", "dicom_id", *numbers])
        metadata = root / "mimic-cxr-2.0.0-metadata.csv"
        keys = ["dicom_id", "subject_id", "study_id"]
        studies = {r["dicom_id"]: (r["subject_id"], r["study_id"]) for r in read_rows(metadata, keys)}
        classes = known_classes([[row["category_name"]] for row in given], 1)
        boxes: dict[str, dict[str, Boxes]] = {}
        phrases: dict[str, dict[str, None]] = {}
        for row in given:
            image, name = row["dicom_id"], row["category_name"]
            own = boxes.setdefault(image, {})
            own[name] = (*own.get(name, ()), _fractions(path, [row[key] for key in numbers]))
            phrases.setdefault(image, {})[row["label_text"]] = None
        found = []
        for image, own in boxes.items():
            if image not in studies:
                raise DataError(metadata, f"has no image {image!r}, which {path.name} names", "get both tables anew")
            subject, study = studies[image]
            place = below(root, metadata, f"files/p{subject[:2]}/p{subject}/s{study}/{image}.jpg")
            label = tuple(1.0 if name in own else math.nan for name in classes)
            found.append(Row(image, place, ". ".join(phrases[image]), label, subject, "test", own))
        return classes, found


def _fractions(path: Path, texts: list[str]) -> tuple[float, ...]:
    """Return a box as parts of the image, from its first corner and its sides in pixels."""
    try:
        x, y, w, h, width, height = map(float, texts)
        if min(w, h, width, height) <= 0:
            raise ValueError
    except ValueError as error:
        raise DataError(
            path, f"has the box {', '.join(texts)}", "expected six numbers: x, y, w, h and the size"
        ) from error
    return x / width, y / height, (x + w) / width, (y + h) / height
