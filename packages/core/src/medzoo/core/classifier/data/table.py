"""A table of labels beside a folder of images."""

from __future__ import annotations

import math
from pathlib import Path

from medzoo.core.classifier.data.folder import FileClasses, FileOptions
from medzoo.core.classifier.data.items import KINDS, PARTS, Cases, Item, file_item, filled
from medzoo.core.classifier.data.module import check_classes
from medzoo.core.data.files import existing_root
from medzoo.core.data.groups import numbered
from medzoo.core.data.options import Unpack
from medzoo.core.data.splits import patients_of
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io import Column, Table, read_table
from medzoo.core.io.columns import check_named, columns_of
from medzoo.core.io.listing import image_files, stem

_UNSURE = -1.0  # what CheXpert calls a label that the report leaves open


class ClassesTable(FileClasses):
    """A table with a row an image, beside the folder of the images.

    One label column holds the name of the class of each image; several hold 1 or 0, and −1 or nothing where that label
    was not looked for. A row without any label is only predicted. Splits that the table names are kept; what it leaves
    open is drawn from the training images, patient by patient.

    Args:
        root: Folder of the images.
        table: CSV file, in `root` or anywhere.
        image: Column of the images: names with or without ending, or places below `root`.
        labels: Columns of the labels.
        patient: Column of the patients, where there is one; else `metadata.csv` in `root` may name them.
        split: Column of the parts (`train`, `val`, `test`), where there is one.
        groups: Columns of sensitive attributes, such as `sex`; their values are numbered in alphabetical order, those
            that say that nobody knows (empty, `unknown`, `n/a`, `?`, −1) are no group.
        common: Options of all files of classification.
    """

    def __init__(
        self,
        root: str,
        table: str = "labels.csv",
        image: str = "id",
        labels: list[str] | None = None,
        patient: str = "patient",
        split: str = "split",
        groups: list[str] | None = None,
        **common: Unpack[FileOptions],
    ) -> None:
        super().__init__(root, **common)
        self._labels, self._groups = labels or ["label"], groups or []
        self._image, self._patient, self._split = image, patient, split
        names = [image, *self._labels, patient, split, *self._groups]
        if len(set(names)) < len(names):
            raise ConfigError(f"--data.labels: a column is named twice among {', '.join(names)}")
        self._file = (
            self.root / table if not Path(table).is_absolute() and (self.root / table).is_file() else Path(table)
        )
        self.group_names: dict[str, tuple[str, ...]] = {}
        """Values of each sensitive attribute, in the order of their numbers."""

    def make_cases(self) -> Cases:
        """Read the table and look for its images."""
        root = existing_root(self.root, "the images")
        if not self._file.is_file():
            raise DataError(self._file, "does not exist", "give --data.table the CSV file of the labels")
        multi = len(self._labels) > 1
        kind = Column(self._labels[0], optional=True)
        marks = [Column(name, "number", optional=True, low=_UNSURE, high=1) for name in self._labels]
        there = columns_of(self._file)
        check_named(self._file, there, self._patient, self._split, (self._image, *self._labels, *self._groups))
        more = [name for name in (self._patient, self._split) if name.casefold() in map(str.casefold, there)]
        rest = [Column(name, optional=True) for name in (*more, *self._groups)]
        table = read_table(self._file, [self._image, *(marks if multi else [kind]), *rest], unique=[self._image])
        if not len(table):
            raise DataError(self._file, "has no row", "give a row an image")
        labels, classes = self._marks(table) if multi else self._kinds(table)
        check_classes(self._file, classes)
        columns = {name: table.texts(name) for name in (*more, *self._groups)}
        numbers = {name: numbered(columns[name]) for name in self._groups}
        self.group_names = {name: values for name, (values, _) in numbers.items()}
        known = image_files(root, KINDS)
        patients = {} if self._patient in columns else patients_of(root, {stem(n) for n in table.texts(self._image)})
        given: dict[str, list[Item]] = {part: [] for part in PARTS}
        unlabelled: list[Item] = []
        taken: dict[Path, str] = {}
        for row, name in enumerate(table.texts(self._image)):
            part = columns[self._split][row].casefold() if self._split in columns else ""
            if part not in (*PARTS, ""):
                raise table.error(row, self._split, f"{self._split} is {part!r}", f"use one of {', '.join(PARTS)}")
            groups = {name: codes[row] for name, (_, codes) in numbers.items()}
            patient = columns[self._patient][row] if self._patient in columns else patients.get(stem(name), "")
            path = self._path(table, row, name, known)
            if (first := taken.setdefault(path, name)) != name:
                raise table.error(row, self._image, f"{name!r} is the image {first!r} again", "remove one of the two")
            item = file_item(path, self.colour, name, label=labels[row], patient=patient, groups=groups)
            (unlabelled if labels[row] is None else given[part or "train"]).append(item)
        parts = filled(given, *self.fractions, self.seed)
        channels = 3 if self.colour else 1
        return Cases(root.resolve().name, classes, parts, multi, channels, self.asked() or tuple(unlabelled))

    def _kinds(self, table: Table) -> tuple[list[int | tuple[float, ...] | None], tuple[str, ...]]:
        """Return the class of each row and the names of all."""
        texts = table.texts(self._labels[0])
        classes = tuple(sorted(set(texts) - {""}))
        return [classes.index(text) if text else None for text in texts], classes

    def _marks(self, table: Table) -> tuple[list[int | tuple[float, ...] | None], tuple[str, ...]]:
        """Return the labels of each row and their names."""
        found: list[int | tuple[float, ...] | None] = []
        for row, values in enumerate(table.numbers(*self._labels).tolist()):
            odd = next((i for i, v in enumerate(values) if not math.isnan(v) and v not in (0.0, 1.0, _UNSURE)), None)
            if odd is not None:
                name = self._labels[odd]
                raise table.error(
                    row, name, f"{name} is {values[odd]:g}, expected 1, 0, or −1 for unknown", "correct it"
                )
            known = [math.nan if value == _UNSURE else value for value in values]
            found.append(None if all(map(math.isnan, values)) else tuple(known))
        return found, tuple(self._labels)

    def _path(self, table: Table, row: int, name: str, known: dict[str, str]) -> Path:
        """Return the file that a row names."""
        if "/" in name or "\\" in name:
            inner = Path(name.replace("\\", "/"))
            path = self.root / inner
            if inner.is_absolute() or ".." in inner.parts:
                raise table.error(row, self._image, f"{name!r} leads out of {self.root}", "give a place below it")
            if path.is_file():
                return path
        elif stem(name) in known:
            return Path(known[stem(name)])
        elif name in known:
            return Path(known[name])
        raise table.error(
            row, self._image, f"there is no image {name!r} in {self.root}", "correct the name or remove the row"
        )
