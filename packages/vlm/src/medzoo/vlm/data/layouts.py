"""What the readers of public data sets share: rows of their tables, and how rows become parts."""

from __future__ import annotations

import csv
import gzip
import io
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from medzoo.core.classifier.data.items import PARTS, Item, Loaded, read_file
from medzoo.core.data.files import existing_root
from medzoo.core.data.options import Unpack
from medzoo.core.errors import DataError
from medzoo.core.io import read_image
from medzoo.core.names import listed
from medzoo.vlm.data.module import ReportCases
from medzoo.vlm.data.table import ReportFileOptions, ReportFiles

_MOST_BYTES = 2**29
Boxes = tuple[tuple[float, ...], ...]
"""Each left, top, right and bottom as parts of the image's width and height."""
CHEXPERT = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation",
    "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
"""The fourteen labels of CheXpert, which MIMIC-CXR-JPG has too."""
FINDINGS = CHEXPERT[1:]
"""Those of them that an image can show: of `No Finding` there is no «There is X», and no mean of AUROC counts it."""


@dataclass(frozen=True)
class Row:
    """One image of a data set.

    Attributes:
        name: Unique in the set.
        path: Its file.
        text: Its report; empty where there is none.
        label: 0, 1 or NaN for each class; None where nothing is known.
        patient: Whose it is.
        part: `train`, `val` or `test`; empty where the set does not say.
        boxes: Where its findings lie, by the names of the labels.
    """

    name: str
    path: Path
    text: str = ""
    label: tuple[float, ...] | None = None
    patient: str = ""
    part: str = ""
    boxes: Mapping[str, Boxes] = field(default_factory=dict)


class PublicOptions(ReportFileOptions, total=False):
    """Options of `PublicFiles`."""

    skip_missing: bool


class PublicFiles(ReportFiles):
    """Base of the readers of public data sets.

    Args:
        skip_missing: Leave out and count images whose file is missing, such as of a part that was not downloaded.
        common: Options of all files with reports.
    """

    layout = ""
    """What the root should hold, for messages."""

    def __init__(
        self,
        root: str,
        skip_missing: bool = False,
        **common: Unpack[ReportFileOptions],
    ) -> None:
        super().__init__(root, **common)
        self._skip = skip_missing
        self.missing: list[str] = []
        """Images whose file was not there."""

    @abstractmethod
    def rows(self, root: Path) -> tuple[tuple[str, ...], list[Row]]:
        """Return the names of the labels, and all images.

        Raises:
            DataError: A table is missing or has another form.
        """

    def load(self, path: Path) -> Callable[[], Loaded]:
        """Return what reads an image."""
        return partial(read_file, path, False)

    def asked(self) -> tuple[Item, ...]:
        """Return the images that are only to be predicted, read as those of the set."""
        return tuple(replace(item, load=self.load(Path(item.path))) for item in super().asked())

    def make_cases(self) -> ReportCases:
        """Read the tables and look for the files."""
        root = existing_root(self.root, self.layout)
        classes, rows = self.rows(root)
        if not rows:
            raise DataError(root, "has no image that is asked for", f"expected {self.layout}")
        absent = [row for row in rows if not row.path.is_file()]
        self.missing = [row.name for row in absent]
        if absent and (not self._skip or len(absent) == len(rows)):
            problem = f"is missing, as {len(absent)} of {len(rows)} images in all"
            raise DataError(absent[0].path, problem, "get them, or leave them out with --data.skip_missing true")
        left = set(self.missing)
        given: dict[str, list[Item]] = {part: [] for part in PARTS}
        for row in rows:
            if row.name not in left:
                label = row.label or (math.nan,) * len(classes) or None
                item = Item(row.name, self.load(row.path), label, row.patient, path=str(row.path))
                given[row.part or "train"].append(item)
        texts = {row.name: " ".join(row.text.split()) for row in rows}
        boxes = {row.name: row.boxes for row in rows if row.boxes}
        return replace(self.assemble(classes, given, texts), boxes=boxes)

    def summary(self, stage: str = "fit") -> list[str]:
        """Return the number of images, of each label, of images without text, and of missing files."""
        lines = super().summary(stage)
        if self.missing:
            lines.append(f"{self.cases.name}: {len(self.missing)} images are missing: {listed(self.missing)}")
        return lines


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a table, `.csv` or `.csv.gz`, which may lack the other ending.

    Args:
        path: Without or with `.gz`.
        columns: Those that are needed.

    Raises:
        DataError: The file is missing, too large, damaged, or lacks a column.
    """
    found = next((p for p in (path, path.with_name(path.name + ".gz")) if p.is_file()), None)
    if found is None:
        raise DataError(path, "does not exist", f"put it there; its columns are {', '.join(columns)}")
    try:
        with gzip.open(found) if found.suffix == ".gz" else found.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise DataError(found, f"holds more than {_MOST_BYTES} bytes", "give the table of the data set")
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    except (OSError, EOFError, ValueError, csv.Error) as error:
        raise DataError(found, f"cannot be read as a table ({type(error).__name__})", "get it anew") from error
    absent = [column for column in columns if not rows or column not in rows[0]]
    if absent:
        raise DataError(found, f"has no column {listed(absent)}", "give the table of this data set")
    return [{key: (value or "").strip() for key, value in row.items() if isinstance(key, str)} for row in rows]


def mark(text: str, uncertain: float = math.nan) -> float:
    """Return what 1, 0, −1 or nothing in a table of CheXpert says: 1, 0, `uncertain` or NaN."""
    return {"1": 1.0, "0": 0.0, "-1": uncertain}.get(text.removesuffix(".0"), math.nan)


def below(root: Path, table: Path, inner: str) -> Path:
    """Return a file that a table names, which must lie below the root.

    Raises:
        DataError: The name leads out of the root.
    """
    place = Path(inner)
    if place.is_absolute() or ".." in place.parts:
        raise DataError(table, f"names {inner!r}, which leads out of {root}", "give places below it")
    return root / place


def stretched(path: Path) -> Loaded:
    """Read a 16-bit image whose values fill a part of the range only, from its own least to its largest value."""
    image = read_image(path, "grey")
    low, high = float(image.array.min()), float(image.array.max())
    spacing = (float(image.spacing[0]), float(image.spacing[1]))
    return ((image.array - low) / max(high - low, 1e-6)).astype(np.float32), spacing


def known_classes(rows: Iterable[Sequence[str]], least: int) -> tuple[str, ...]:
    """Return all names of labels, sorted, that at least so many rows have."""
    counts: dict[str, int] = {}
    for names in rows:
        for name in set(names):
            counts[name] = counts.get(name, 0) + 1
    return tuple(sorted(name for name, count in counts.items() if count >= least))
