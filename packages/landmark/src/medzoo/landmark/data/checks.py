"""Looking over a source before a run: headers and label files only, every fault found at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from medzoo.core.data.splits import Split
from medzoo.core.errors import DataError
from medzoo.core.io import Header, spacing_fault
from medzoo.core.io.listing import same_content, stem, unread_images
from medzoo.core.sides import SMALLEST
from medzoo.landmark.data.shots import Wanted, find_shots
from medzoo.landmark.data.sources import FileImages, Images, LandmarkSource, Points, Size

LARGEST = 32767
"""Longest side in pixels that an image may have; the shortest is `SMALLEST`."""


def check_image(images: Images, name: str) -> tuple[Size | None, list[DataError]]:
    """Return the width and height that a header gives, `None` if it is not usable, and what is wrong with it."""
    header, errors = _usable(images, name)
    return (header.size[0], header.size[1]) if header is not None else None, errors


def _usable(images: Images, name: str) -> tuple[Header | None, list[DataError]]:
    try:
        header = images.header(name)
    except DataError as error:
        return None, [error]
    path, size = images.path(name), " × ".join(map(str, header.size))
    if len(header.size) != 2:
        return None, [DataError(path, f"is a volume of {size}", "give a two-dimensional image")]
    if header.channels not in (1, 3):
        problem = f"has {header.channels} channels, expected 1 or 3"
        return header, [DataError(path, problem, "convert it to a grey or RGB image")]
    if min(header.size) < SMALLEST or max(header.size) > LARGEST:
        problem = f"is {size} pixels, expected {SMALLEST} to {LARGEST} a side"
        return header, [DataError(path, problem, "replace it by the original radiograph or remove it")]
    return header, []


def misplaced(source: LandmarkSource, name: str, points: Points, size: Size) -> list[DataError]:
    """Return an error for each point outside the image, whose pixels cover −0.5 … size − 0.5."""
    errors = []
    for index, (x, y) in enumerate(points):
        # NaN compares false: missing points are no fault here. Ratios may say 1.0, half a pixel past the last edge.
        if x < -0.5 or y < -0.5 or x > size[0] or y > size[1]:
            problem = f"landmark {_named(source, index)} at ({x:g}, {y:g}) lies outside the {size[0]} × {size[1]} image"
            errors.append(
                DataError(place(source, name, index), problem, "correct the point, or check that x comes first")
            )
    return errors


def place(source: LandmarkSource, name: str, index: int) -> str:
    """Return `file:row` of a landmark."""
    row = source.row(name, index)
    return f"{source.label_path(name)}{f':{row}' if row else ''}"


def check_label(source: LandmarkSource, name: str, size: Size) -> tuple[list[DataError], list[tuple[str, int]]]:
    """Return what is wrong with the label of an image of that size, and which of its points are at exactly (0, 0)."""
    try:
        points = source.points(name, size)
    except DataError as error:
        return [error], []
    errors = misplaced(source, name, points, size)
    seen = points[~np.isnan(points).any(axis=1)]
    zeros = [(name, int(index)) for index in np.flatnonzero((points == 0).all(axis=1))]
    if len(seen) > 1 and not errors and not zeros and (seen == seen[0]).all():
        problem = f"has all {len(seen)} landmarks of image {name} at one point, ({seen[0, 0]:g}, {seen[0, 1]:g})"
        errors.append(DataError(source.label_path(name), problem, "annotate it again"))
    return errors, zeros


def check_source(source: LandmarkSource, images: Iterable[str], labels: Iterable[str]) -> list[DataError]:
    """Return every fault in the headers of `images` and in the labels of `labels` (a subset); no pixel is decoded."""
    wanted, errors = set(labels), list[DataError]()
    zeros: list[tuple[str, int]] = []
    spacings: dict[str, list[str]] = {}
    for name in images:
        header, faults = _usable(source.images, name)
        errors += faults
        if header is None:
            continue
        size = header.size[0], header.size[1]
        if fault := _spacing_fault(source, name, size, header):
            spacings.setdefault(fault, []).append(name)
        if name in wanted:
            found, none = check_label(source, name, size)
            errors += found
            zeros += none
    return errors + _told_spacings(source, spacings) + _told_zeros(source, zeros)


def _spacing_fault(source: LandmarkSource, name: str, size: Size, header: Header) -> str | None:
    """Return what is wrong with the spacing that errors and predictions in mm would be reported by."""
    if source.domain.frame is not None or not isinstance(source.images, FileImages):
        return None
    try:
        return spacing_fault(source.images.spacing(name, size, header.spacing))
    except DataError:
        return None  # a label file that cannot be read, which is reported where labels are


def _told_spacings(source: LandmarkSource, spacings: Mapping[str, Sequence[str]]) -> list[DataError]:
    """Return one error for each impossible spacing, however many images have it."""
    cure = "correct it, or give --data.spacing in mm per pixel"
    return [
        DataError(source.spacing_place(names[0]), fault + _others(len(names) - 1, "image"), cure)
        for fault, names in spacings.items()
    ]


def _told_zeros(source: LandmarkSource, zeros: Sequence[tuple[str, int]]) -> list[DataError]:
    """Return one error for all points at the origin, where tables put what was not annotated."""
    if not zeros:
        return []
    (name, index), count = zeros[0], len(zeros)
    first = f"landmark {_named(source, index)} of image {name}"
    images = len({image for image, _ in zeros})
    many = f"{count} points of {images} image{'s' if images > 1 else ''} are at exactly (0, 0), the first is {first}"
    problem = many if count > 1 else f"{first} is at exactly (0, 0)"
    return [DataError(place(source, name, index), problem, "leave the cell empty (or v = 0) where a point is missing")]


def _others(count: int, what: str) -> str:
    return f" (and so {'have' if count > 1 else 'has'} {count} more {what}{'s' if count > 1 else ''})" if count else ""


def check_stage(source: LandmarkSource, wanted: Wanted, stage: str | None) -> list[DataError]:
    """Return what is wrong with the files that a stage needs, with all of them for `None`.

    A fit needs the labels of the shots and of the validation images, a test those of the test images. A check of all
    also looks at the labels of other training images where they exist.

    Args:
        source: The source.
        wanted: The shots that the user asks for.
        stage: What is about to be done.
    """
    split = source.split
    images = {
        "fit": (*split.train, *split.val),
        "validate": split.val,
        "test": split.test,
        "predict": source.predict,
        None: sorted({*source.names, *source.predict}),
    }[stage]
    if source.on_disk and stage != "predict" and (wanted != 0 or stage is None):
        faults = list(source.faults())
        if faults:  # they explain what else is missing, and must not be reported once for each image
            return faults + check_source(source, images, ())
    nested = _nested(source) if source.on_disk and stage != "predict" else []
    shots, errors = _check_shots(source, wanted) if stage in ("fit", None) and split.train else ((), [])
    if not source.on_disk:
        return errors
    needed = {"fit": split.val, "validate": split.val, "test": split.test, "predict": (), None: source.names}[stage]
    for part, names in (("validation", split.val), ("test", split.test)):
        errors += unlabelled(source, names, part) if set(names) & set(needed) else []
    if stage != "predict":
        errors += same_content(*([source.images.path(n) for n in part] for part in _sides(split)))
    return nested + errors + check_source(source, images, filter(source.labelled, (*needed, *shots)))


def _nested(source: LandmarkSource) -> list[DataError]:
    """Return an error for each folder of images a level below those of the source, which no layout reads."""
    folders: dict[Path, list[str]] = {}
    for name in source.names:
        path = Path(source.images.path(name))
        folders.setdefault(path.parent, []).append(stem(path))
    used = {inner for folder in folders for inner in (folder, *folder.parents)}
    found = [fault for folder, names in sorted(folders.items()) for fault in unread_images(folder, names=names)]
    return [fault for fault in found if Path(fault.path) not in used]


def _sides(split: Split) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the images that are trained on, and those that are scored."""
    return split.train, (*split.val, *split.test)


def _check_shots(source: LandmarkSource, wanted: Wanted) -> tuple[tuple[str, ...], list[DataError]]:
    """Return the shots that are known by name, and what is wrong with the choice."""
    try:
        shots = find_shots(source, wanted)
    except DataError as error:
        return (), [error]
    if not shots and wanted != 0 and not any(map(source.labelled, source.split.train)):
        where = source.label_path(source.split.train[0])
        known = Path(where).is_file()
        problem = "holds no label of a training image" if known else "is missing, as are all other training labels"
        return (), [DataError(where, problem, "annotate one training image")]
    return shots, []


def unlabelled(source: LandmarkSource, names: Sequence[str], part: str) -> list[DataError]:
    """Return an error for each image without a label in a part of the split that needs them.

    A part of which no image has a label is an unlabelled cohort, not a fault: it is predicted but not scored.
    """
    without = [name for name in names if not source.labelled(name)]
    if len(without) == len(names):
        return []
    cure = "add the label, or take the image out of the folder"
    return [
        DataError(source.label_path(name), f"is missing: image {name} is in the {part} set", cure) for name in without
    ]


def missing_shot_points(source: LandmarkSource, shots: Sequence[tuple[str, Points]]) -> list[DataError]:
    """Return an error for each landmark that no shot shows: nothing could be learnt of it."""
    errors = []
    for index in range(len(source.domain.landmarks)):
        if all(points[index, 0] != points[index, 0] for _, points in shots):
            name = shots[0][0]
            problem = f"landmark {_named(source, index)} is missing in the shot{'s' if len(shots) > 1 else ''} {name}"
            errors.append(DataError(place(source, name, index), problem, "annotate it or choose another shot"))
    return errors


def _named(source: LandmarkSource, index: int) -> str:
    names = source.domain.landmarks
    return f"{index + 1} ({names[index]})" if index < len(names) else str(index + 1)
