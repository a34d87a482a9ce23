"""One's own images: a folder with labels in a CSV file, a COCO file, or labelme files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from medzoo.core.data.files import existing_root, some_images
from medzoo.core.data.options import Unpack
from medzoo.core.data.splits import Split, check_fractions, patients_of, split_by_fraction
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io import EXTENSIONS, spacing_fault
from medzoo.core.io.listing import files_in, image_files, stem, unread_images
from medzoo.core.io.point_json import json_labels, labelme_table
from medzoo.core.io.point_tables import LabelTable, read_labels
from medzoo.core.spelling import nearest
from medzoo.core.tasks.landmark_types import Domain
from medzoo.landmark.data.checks import misplaced
from medzoo.landmark.data.module import FolderDataModule, FolderOptions
from medzoo.landmark.data.shots import named, resolve
from medzoo.landmark.data.sources import FileImages, LandmarkSource, Points, Size
from medzoo.landmark.data.strays import unread_labels

LAYOUT = (
    "images (in the folder or in images/) and landmarks.csv with a header such as id,x0,y0,x1,y1, or a COCO keypoints "
    "file, or a labelme file beside each image"
)
_MM, _PX = (2.0, 2.5, 3.0, 4.0), (4.0, 8.0, 16.0)
_SHOWN = 20


class TableSource(LandmarkSource):
    """Images with one table of labels.

    Args:
        domain: The domain.
        images: The images.
        split: The split.
        table: What the label files say.
        path: The label file, or the folder of many.
        everything: All images of the folder.
        strays: What lies beside them and is not read.
    """

    def __init__(
        self,
        domain: Domain,
        images: FileImages,
        split: Split,
        table: LabelTable,
        path: Path,
        everything: tuple[str, ...],
        strays: Sequence[DataError] = (),
    ) -> None:
        super().__init__(domain, images, split)
        self._strays = tuple(strays)
        self._table, self._path, self._images = table, path, images
        self.predict = everything

    def label_path(self, name: str) -> str:
        """Return where the label of the image stands, else where labels are."""
        return self._table.places.get(name, str(self._path))

    def labelled(self, name: str) -> bool:
        """Return whether the table has a point of the image."""
        return name in self._table.points and bool(np.isfinite(self._table.points[name]).any())

    def points(self, name: str, size: Size) -> Points:
        """Return the points of the image, NaN where missing."""
        if not self.labelled(name):
            raise DataError(self.label_path(name), f"has no point of image {name}", "annotate it")
        if (stated := self._table.sizes.get(name, size)) != size:
            problem = f"was made on {stated[0]} × {stated[1]} pixels, image {name} has {size[0]} × {size[1]}"
            raise DataError(self.label_path(name), problem, "label this very image, or give the one that was labelled")
        for placed in self._table.annotators.values():  # a wrong point may hide in the mean of several
            faults = misplaced(self, name, placed[name], size) if name in placed else []
            if faults:
                raise faults[0]
        return self._table.points[name]

    def observers(self, name: str, size: Size) -> tuple[Points, Points] | None:
        """Return the points of the two annotators; None unless the table has two and both saw the image."""
        del size
        placed = [points[name] for points in self._table.annotators.values() if name in points]
        return (placed[0], placed[1]) if len(placed) == len(self._table.annotators) == 2 else None

    def row(self, name: str, index: int) -> int | None:
        """Return nothing: the label's path already names the line."""
        del name, index
        return None

    def scale(self, name: str, points: Points, size: Size) -> tuple[float, float]:
        """Return mm per pixel where the domain's unit is mm, else 1."""
        if self.domain.unit == "px":
            return super().scale(name, points, size)
        return self._images.spacing(name, size, self._images.header(name).spacing)

    def spacing_place(self, name: str) -> str:
        """Return the row with the spacing of the image, else the image."""
        return self.label_path(name) if name in self._table.spacing else super().spacing_place(name)

    def faults(self) -> Iterable[DataError]:
        """Return an error for each label without an image, and for images and labels that nobody would read."""
        known = set(self.predict)
        for number, name in enumerate(name for name in self._table.places if name not in known):
            # Looking for alike names takes long, and nobody reads the hundredth.
            close = (resolve(name, self.predict) or next(iter(nearest(name, known)), None)) if number < _SHOWN else None
            cure = f"did you mean {close}?" if close else "remove the label or add the image"
            yield DataError(self.label_path(name), f"there is no image {name}", cure)
        yield from self._strays


class LandmarkFolder(FolderDataModule):
    """A plain folder of images with labels in one of four forms: any number of landmarks, some of which may be missing.

    The images lie in the folder or in `images/`. Their labels are one of

    - `landmarks.csv` (or the only CSV file beside `metadata.csv`), a row an image: `id,x0,y0,x1,y1,…` or
      `id,sella_x,sella_y,…`;
    - the same, a row a point: `id,landmark,x,y`, which `medzoo predict` writes too;
    - one COCO file with keypoints, of any name ending in `.json`;
    - labelme files with points, `ID.json` beside each image.

    In tables `id` is the image's file name, with or without ending; coordinates are pixels, 0 at the centre of the
    first; an empty cell, `nan` or no row is a missing point. Optional columns: `spacing_x,spacing_y` or `spacing` (mm
    per pixel), `split` (train, val, test), `patient`, `annotator` (then rows for each, and a test compares them where
    there are two). Images without a label are trained on as unlabelled. Without any labels the images can be predicted
    or, with `--data.shots 0`, a matcher be trained on them.

    Args:
        root: The folder; for a prediction also a single image.
        test_fraction: Part of the labelled images for the test, by patient, where the table has no column `split`;
            where that names no validation images, `val_fraction` draws them from the training images.
        spacing: mm per pixel of all images, one number or those along x and y; empty: the table's, else the files' own,
            else errors are in pixels.
        thresholds: Radii of the success detection rate, in mm or pixels; empty: 2, 2.5, 3, 4 mm or 4, 8, 16 pixels.
        annotator: Whose labels are the truth, where the table has a column `annotator`; empty: the mean of those who
            placed the point.
    """

    def __init__(
        self,
        root: str,
        test_fraction: float = 0.2,
        spacing: float | list[float] | None = None,
        thresholds: list[float] | None = None,
        annotator: str | None = None,
        **common: Unpack[FolderOptions],
    ) -> None:
        super().__init__(root, **common)
        check_fractions(test_fraction=test_fraction, val_fraction=self._val_fraction)
        pair = [spacing, spacing] if isinstance(spacing, int | float) else spacing
        if pair is not None and (len(pair) != 2 or not all(0 < value < math.inf for value in pair)):
            raise ConfigError(
                f"--data.spacing: expected one or two positive numbers of mm per pixel along x and y, got {spacing}"
            )
        if pair is not None and (fault := spacing_fault(pair)):
            raise ConfigError(f"--data.spacing {fault}")
        if thresholds is not None and (not thresholds or min(thresholds) <= 0):
            raise ConfigError(f"--data.thresholds: expected positive numbers, got {thresholds}")
        self._test_fraction, self._spacing, self._thresholds = test_fraction, pair, thresholds
        self._annotator = annotator

    def make_sources(self) -> Sequence[LandmarkSource]:
        """List the images and read their labels."""
        if self._root.is_file() and self._root.name.lower().endswith(EXTENSIONS):
            root, paths, path, table = self._root, {stem(self._root): str(self._root)}, None, LabelTable(())
            strays: list[DataError] = []
        else:
            root = existing_root(self._root, LAYOUT)
            folder = root / "images" if (root / "images").is_dir() and image_files(root / "images") else root
            paths = some_images(folder, LAYOUT)
            path, table = find_labels(root, folder)
            strays = unread_images(folder, names=paths) + (loose_images(root, folder) if folder != root else [])
            strays += [] if path else unread_labels(root, folder, paths)
        if self._annotator is not None:
            if self._annotator not in table.annotators:
                known = ", ".join(table.annotators) or "nobody: the table has no column annotator"
                raise ConfigError(f"--data.annotator: no labels of {self._annotator!r}; known: {known}")
            table.points = table.annotators[self._annotator]
        spacing = (self._spacing[0], self._spacing[1]) if self._spacing else table.spacing
        images, names = FileImages(paths, spacing), tuple(paths)
        labelled = tuple(n for n in names if n in table.points and np.isfinite(table.points[n]).any())
        unknown = _without_spacing(images, labelled)
        unit: Literal["mm", "px"] = "mm" if labelled and not unknown else "px"
        thresholds = tuple(self._thresholds or (_MM if unit == "mm" else _PX))
        notes = [] if unit == "mm" else ["pixels of the original image"]
        if 0 < len(unknown) < len(labelled):
            notes.append(f"{len(unknown)} of {len(labelled)} have no spacing, such as {unknown[0]}")
        if table.annotators:
            notes.append(f"ground truth: {self._annotator or 'mean of ' + ' and '.join(table.annotators)}")
        domain = Domain(self.domain_name, table.landmarks, unit, thresholds, note="; ".join(notes))
        split = self._split(root, names, labelled, table)
        return [TableSource(domain, images, split, table, path or root / "landmarks.csv", names, strays)]

    def _split(self, root: Path, names: tuple[str, ...], labelled: tuple[str, ...], table: LabelTable) -> Split:
        if self._all_test:
            return Split(test=labelled)
        if not table.landmarks:
            return Split(train=names) if self._shots == 0 else Split(test=names)
        patients = patients_of(root, names) | table.patients
        keep = {resolve(name, names) or name for name in named(self._shots)}
        if table.parts:
            parts: dict[str, list[str]] = {"train": [], "val": [], "test": []}
            seen: dict[str, tuple[str, str]] = {}
            for name in names:
                part = table.parts.get(name, "train")
                parts[part].append(name)
                first, image = seen.setdefault(patients.get(name, f"image {name}"), (part, name))
                if first != part:
                    problem = f"{patients[name]} is in {first} ({image}) and in {part} ({name})"
                    raise DataError(table.places.get(name, str(root)), problem, "put a patient into one part")
            if parts["val"] or not self._val_fraction:
                return Split(**{part: tuple(members) for part, members in parts.items()})
            inner = self._drawn(parts["train"], labelled, patients, 0.0, keep)
            return Split(inner.train, inner.val, tuple(parts["test"]))
        spare = len(labelled) - (self._shots if isinstance(self._shots, int) else len(keep & set(names)))
        test = min(self._test_fraction, max(0, spare) / max(1, len(labelled)))
        return self._drawn(names, labelled, patients, test, keep)

    def _drawn(
        self, names: Sequence[str], labelled: Sequence[str], patients: dict[str, str], test: float, keep: set[str]
    ) -> Split:
        """Draw validation and test from those of some images that have labels."""
        known = set(labelled)
        own = [name for name in names if name in known]
        drawn = split_by_fraction(own, patients, test, self._val_fraction, self.seed, keep)
        # A patient with a labelled test image must not be trained on, not even without labels.
        held = {patients[name] for name in (*drawn.val, *drawn.test) if name in patients}
        extra = (name for name in names if name not in known and patients.get(name) not in held)
        return Split(tuple(sorted((*drawn.train, *extra))), drawn.val, drawn.test)


def find_labels(root: Path, folder: Path) -> tuple[Path | None, LabelTable]:
    """Return the file (or folder) of the labels and what they hold; no file and an empty table where there are none.

    Args:
        root: The folder of the data set.
        folder: The folder of the images.

    Raises:
        DataError: There are labels in two forms, or a file cannot be read.
    """
    table = find_table(root) or find_table(folder)
    coco, labelme = json_labels(sorted({*files_in(root, (".json",)), *files_in(folder, (".json",))}), table is not None)
    found = [*([table] if table else []), *coco, *list(labelme)[:1]]
    if len(found) > 1:
        names = " and ".join(path.name for path in found[:2])
        raise DataError(root, f"holds labels twice, in {names}", "keep one of the two")
    if table is not None:
        return table, read_labels(table)
    if coco:
        return next(iter(coco.items()))
    return (root, labelme_table(labelme)) if labelme else (None, LabelTable(()))


def find_table(root: Path) -> Path | None:
    """Return `landmarks.csv`, else the only CSV file beside `metadata.csv`, else nothing.

    Raises:
        DataError: There are several and none has that name.
    """
    if (root / "landmarks.csv").is_file():
        return root / "landmarks.csv"
    tables = [file for file in files_in(root, (".csv",)) if file.name != "metadata.csv"]
    if len(tables) > 1:
        found = ", ".join(table.name for table in tables)
        raise DataError(root, f"holds several CSV files ({found})", "call the one with the landmarks landmarks.csv")
    return tables[0] if tables else None


def loose_images(root: Path, folder: Path) -> list[DataError]:
    """Return an error where images lie beside the folder of images, whose place hides them."""
    loose = files_in(root)
    problem = f"is one of {len(loose)} images beside {folder.name}/ that are not read"
    return [DataError(loose[0], problem, f"move them into {folder}, or remove them")] if loose else []


def _without_spacing(images: FileImages, labelled: Sequence[str]) -> list[str]:
    """Return the labelled images whose spacing neither the table nor their own header gives."""

    def known(name: str) -> bool:
        try:
            header = images.header(name)
        except DataError:
            return True  # reported by the check; it must not change the unit
        return len(header.size) == 2 and all(map(math.isfinite, images.spacing(name, (1, 1), header.spacing)))

    return [name for name in labelled if not known(name)]
