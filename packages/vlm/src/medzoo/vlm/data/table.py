"""A table of reports and labels beside a folder of images."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from medzoo.core.classifier.data.folder import unlabelled
from medzoo.core.classifier.data.items import KINDS, PARTS, Item, file_item, filled
from medzoo.core.data.files import existing_root
from medzoo.core.data.groups import numbered
from medzoo.core.data.options import Unpack
from medzoo.core.data.splits import drawn_parts
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io import Column, Table, read_table
from medzoo.core.io.columns import check_named, columns_of
from medzoo.core.io.listing import image_files, stem
from medzoo.vlm.data.module import ReportCases, ReportDataModule, ReportOptions

_UNSURE = -1.0  # what CheXpert calls a label that the report leaves open
_MARKS = frozenset(("1", "0", "-1", "1.0", "0.0", "-1.0"))
SEPARATOR = "|"


class ReportFileOptions(ReportOptions, total=False):
    """Options of `ReportFiles`."""

    val_fraction: float
    test_fraction: float
    all_test: bool
    predict: str | None


class ReportFiles(ReportDataModule):
    """Base of the layouts of files.

    Args:
        root: Folder of the images.
        val_fraction: Part of the training images for validation, where the data have no such part.
        test_fraction: Part of the images for the test, likewise.
        all_test: Test on all images that would be split, and train on none: an external cohort. A part that the data
            name stays as it is.
        predict: Folder of images without reports, for `medzoo predict`; empty: those of the test.
        common: Options of all images with reports.
    """

    def __init__(
        self,
        root: str,
        val_fraction: float = 0.15,
        test_fraction: float = 0.2,
        all_test: bool = False,
        predict: str | None = None,
        **common: Unpack[ReportOptions],
    ) -> None:
        super().__init__(**common)
        self.root, self.fractions = Path(root), drawn_parts(test_fraction, val_fraction, all_test)
        self.folder = Path(predict) if predict else None

    def asked(self) -> tuple[Item, ...]:
        """Return the images that are only to be predicted.

        Raises:
            DataError: The folder has none.
        """
        return unlabelled(self.folder, colour=False)

    def assemble(
        self,
        classes: tuple[str, ...],
        given: dict[str, list[Item]],
        texts: dict[str, str],
        rewritten: dict[str, tuple[str, ...]] | None = None,
    ) -> ReportCases:
        """Return what was found, with parts drawn where they are missing; training leaves out the textless.

        Args:
            classes: Names of the labels.
            given: Images by part.
            texts: Report of each image; empty where it has none.
            rewritten: Sentences that the data bring.

        Raises:
            DataError: No image to train on has a text.
        """
        parts = filled(given, *self.fractions, self.seed)
        textless = tuple(item.id for item in parts["train"] if not texts.get(item.id, "").strip())
        left = set(textless)
        parts["train"] = tuple(item for item in parts["train"] if item.id not in left)
        if textless and not parts["train"]:
            raise DataError(self.root, f"none of its {len(textless)} training images has a text", "give their reports")
        name = self.root.resolve().name
        return ReportCases(
            name, classes, parts, True, 1, self.asked(), texts=texts, rewritten=rewritten or {}, textless=textless
        )


class ReportTable(ReportFiles):
    """A table with a row an image: its file, its report, and labels where they are known.

    Labels are one column with names that `|` separates, or columns of 1, 0, and −1 or nothing where that label was not
    looked for; they are for tests only. Images without a report are counted and named, and not trained on.
    Splits that the table names are kept; what it leaves open is drawn from the training images, patient by patient.

    Args:
        root: Folder of the images.
        table: CSV file, in `root` or anywhere.
        image: Column of the images: names with or without ending, or places below `root`.
        text: Column of the reports.
        rewritten: Column of sentences by a rewriter of your own, separated by `|`, in the place of those of the rules.
        labels: Columns of the labels; empty: none.
        least: With one column of names, the fewest images of a label that is kept.
        patient: Column of the patients, where there is one.
        split: Column of the parts (`train`, `val`, `test`), where there is one.
        groups: Columns of sensitive attributes, such as `sex`; their values are numbered in alphabetical order, those
            that say that nobody knows (empty, `unknown`, `n/a`, `?`, −1) are no group.
        common: Options of all files with reports.
    """

    def __init__(
        self,
        root: str,
        table: str = "reports.csv",
        image: str = "id",
        text: str = "text",
        rewritten: str | None = None,
        labels: list[str] | None = None,
        least: int = 1,
        patient: str = "patient",
        split: str = "split",
        groups: list[str] | None = None,
        **common: Unpack[ReportFileOptions],
    ) -> None:
        super().__init__(root, **common)
        self._labels, self._groups, self._rewritten, self._least = labels or [], groups or [], rewritten, least
        self._image, self._text, self._patient, self._split = image, text, patient, split
        names = [image, text, *self._labels, patient, split, *self._groups, *([rewritten] if rewritten else [])]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ConfigError(f"--data.labels: the column {twice[0]} is named twice among {', '.join(names)}")
        inside = self.root / table
        self._file = inside if not Path(table).is_absolute() and inside.is_file() else Path(table)

    def make_cases(self) -> ReportCases:
        """Read the table and look for its images."""
        root = existing_root(self.root, "the images")
        if not self._file.is_file():
            raise DataError(self._file, "does not exist", "give --data.table the CSV file of the reports")
        named = columns_of(self._file)
        others = (self._image, self._text, *self._labels, *self._groups, self._rewritten or "")
        check_named(self._file, named, self._patient, self._split, others)
        there = {name.casefold() for name in named}
        more = [name for name in (self._patient, self._split) if name.casefold() in there]
        more += [*self._groups, self._text, *([self._rewritten] if self._rewritten else [])]
        several = len(self._labels) > 1 or self._is_mark()
        marks = [
            Column(name, "number", optional=True, low=_UNSURE, high=1) if several else Column(name, optional=True)
            for name in self._labels
        ]
        table = read_table(
            self._file, [self._image, *marks, *(Column(name, optional=True) for name in more)], unique=[self._image]
        )
        if not len(table):
            raise DataError(self._file, "has no row", "give a row an image")
        columns = {name: table.texts(name) for name in more}
        classes, labels = self._marks(table) if several else self._names(table)
        numbers = {name: numbered(columns[name]) for name in self._groups}
        known = image_files(root, KINDS)
        given: dict[str, list[Item]] = {part: [] for part in PARTS}
        texts, rewritten = {}, {}
        for row, name in enumerate(table.texts(self._image)):
            part = columns[self._split][row].casefold() if self._split in columns else ""
            if part not in (*PARTS, ""):
                raise table.error(row, self._split, f"{self._split} is {part!r}", f"use one of {', '.join(PARTS)}")
            groups = {name: codes[row] for name, (_, codes) in numbers.items()}
            patient = columns[self._patient][row] if self._patient in columns else ""
            path = find_image(root, table, row, self._image, name, known)
            label = labels[row] if classes else None
            given[part or "train"].append(file_item(path, False, name, label=label, patient=patient, groups=groups))
            texts[name] = " ".join(columns[self._text][row].split())
            if self._rewritten and columns[self._rewritten][row]:
                own = (text.strip() for text in columns[self._rewritten][row].split(SEPARATOR))
                rewritten[name] = tuple(text for text in own if text)
        return self.assemble(classes, given, texts, rewritten)

    def _is_mark(self) -> bool:
        """Tell of one label column whether it says whether its label is there, and not which labels are."""
        if not self._labels:
            return False
        texts = read_table(self._file, [Column(self._labels[0], optional=True)]).texts(self._labels[0])
        said = {text for text in texts if text}
        return bool(said) and said <= _MARKS

    def _marks(self, table: Table) -> tuple[tuple[str, ...], list[tuple[float, ...]]]:
        """Return the names of the label columns and the labels of each row."""
        found = []
        for row, values in enumerate(table.numbers(*self._labels).reshape(len(table), -1).tolist()):
            odd = next((i for i, v in enumerate(values) if not math.isnan(v) and v not in (0.0, 1.0, _UNSURE)), None)
            if odd is not None:
                name = self._labels[odd]
                problem = f"{name} is {values[odd]:g}, expected 1, 0, or −1 for unknown"
                raise table.error(row, name, problem, "correct it")
            found.append(tuple(math.nan if value == _UNSURE else value for value in values))
        return tuple(self._labels), found

    def _names(self, table: Table) -> tuple[tuple[str, ...], list[tuple[float, ...]]]:
        """Return the names in the label column and the labels of each row; one that names nothing is unknown."""
        if not self._labels:
            return (), []
        return marks_of([text.split(SEPARATOR) for text in table.texts(self._labels[0])], self._least)


def marks_of(named: Sequence[Sequence[str]], least: int = 1) -> tuple[tuple[str, ...], list[tuple[float, ...]]]:
    """Return all labels, sorted, and those of each row as 0 and 1; a row without a name is unknown in all.

    Args:
        named: Names of each row.
        least: Fewest rows of a label that is kept.
    """
    rows = [{name.strip() for name in names if name.strip()} for names in named]
    counts = Counter(name for row in rows for name in row)
    classes = tuple(sorted(name for name, count in counts.items() if count >= least))
    return classes, [tuple(float(name in row) if row else math.nan for name in classes) for row in rows]


def find_image(root: Path, table: Table, row: int, column: str, name: str, known: dict[str, str]) -> Path:
    """Return the file that a row names.

    Args:
        root: Folder of the images.
        table: Where the name stands.
        row: In which row.
        column: In which column.
        name: A file's name with or without ending, or a place below `root`.
        known: Images of the root by name.

    Raises:
        DataError: There is none, or the name leads out of the root.
    """
    if "/" in name or "\\" in name:
        inner = Path(name.replace("\\", "/"))
        if inner.is_absolute() or ".." in inner.parts:
            raise table.error(row, column, f"{name!r} leads out of {root}", "give a place below it")
        if (root / inner).is_file():
            return root / inner
    elif stem(name) in known or name in known:
        return Path(known.get(stem(name)) or known[name])
    raise table.error(row, column, f"there is no image {name!r} in {root}", "correct the name or remove the row")
