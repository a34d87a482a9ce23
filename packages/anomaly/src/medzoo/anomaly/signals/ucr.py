"""Heart beats in the text layout of the UCR archive, such as ECG5000: a beat a line, its class first."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medzoo.anomaly.signals.module import Item, Items, SignalDataModule
from medzoo.anomaly.signals.options import SeriesOptions
from medzoo.anomaly.signals.prepare import Record
from medzoo.core.data.options import Unpack
from medzoo.core.data.splits import drawn_parts, split_by_fraction
from medzoo.core.errors import DataError

_LEAD = "beat"
_R = 140 / 480  # where a beat's window has its R peak


class UcrBeats(SignalDataModule):
    """Beats of one lead and one length, a second each by convention: the archive gives neither rate nor millivolts.

    A file `*_TRAIN.*` beside one `*_TEST.*` are the two parts; of a single file, normal beats are split at random and
    all others are for the test. The archive names no patients (ECG5000 is of one).

    Args:
        root: The file, or the folder of the two.
        normal: Class of the normal beats.
        test_fraction: Share of normal beats to test on, of a single file.
        val_fraction: Share of the normal training beats to choose the threshold on.
        all_test: Test on all beats that would be split, and train on none: an external cohort. A part that the data
            name stays as it is.
        common: Options of all data of signals.
    """

    def __init__(
        self,
        root: str,
        normal: int = 1,
        test_fraction: float = 0.3,
        val_fraction: float = 0.2,
        all_test: bool = False,
        **common: Unpack[SeriesOptions],
    ) -> None:
        super().__init__(leads=[_LEAD], band=[], **common)
        self._root, self._normal = Path(root), normal
        self._test, self._val = drawn_parts(test_fraction, val_fraction, all_test)

    def make_items(self) -> Items:
        """Read the tables.

        Raises:
            DataError: A file is missing, is not a table of numbers, or has no normal beat.
        """
        parts = _files(self._root)
        items = {part: self._items(path) for part, path in parts.items()}
        known = items["train"]
        normal = {item.id: item for item in known if not item.label}
        if not normal:
            raise DataError(parts["train"], f"has no beat of class {self._normal}", "give --data.normal")
        alone = "test" not in parts
        split = split_by_fraction(list(normal), {}, self._test if alone else 0.0, self._val, self.seed)
        test = [*(normal[name] for name in split.test), *(item for item in known if item.label)]
        return Items(
            tuple(normal[name] for name in split.train),
            tuple(normal[name] for name in split.val),
            tuple(test if alone else items["test"]),
        )

    def _items(self, path: Path) -> list[Item]:
        found = []
        for number, row in enumerate(_table(path)):
            kind = int(row[0])
            name = f"{path.stem}/{number:05d}"
            label = int(kind != self._normal)
            load = partial(_beat, row[1:])
            found.append(Item(name, name, load, str(path), label, f"class {kind}" if label else "", "beats"))
        return found


def _files(root: Path) -> dict[str, Path]:
    """Return the training file, and that of the test where there is one."""
    if root.is_file():
        return {"train": root}
    found: dict[str, Path] = {}
    for part in ("TRAIN", "TEST"):
        paths = sorted(path for ending in ("tsv", "txt") for path in root.glob(f"*_{part}.{ending}"))
        if len(paths) != 1:
            have = f"has {len(paths)} files *_{part}.tsv or .txt, expected one"
            raise DataError(root, have, "give the file itself, or the folder of one data set of the archive")
        found[part.lower()] = paths[0]
    return found


def _table(path: Path) -> NDArray[np.float32]:
    """Read a table, `(N, 1 + T)`.

    Raises:
        DataError: It is not one of numbers, its lines differ in length, or a value is missing.
    """
    try:
        text = path.read_text(encoding="ascii").replace(",", " ")
        table = np.loadtxt(text.splitlines(), dtype=np.float32, ndmin=2)
    except (OSError, ValueError) as error:
        reason = "is not a table of numbers with lines of one length"
        raise DataError(path, reason, "expected the class and then the samples of a beat in each line") from error
    if table.shape[1] < 32 or not len(table):
        raise DataError(path, f"has {table.shape[1]} columns, expected a class and at least 31 samples", "")
    if not np.isfinite(table).all():
        line = int(np.flatnonzero(~np.isfinite(table).all(1))[0]) + 1
        raise DataError(path, f"has a missing value in line {line}", "leave the line out")
    return table


def _beat(row: NDArray[np.float32]) -> Record:
    return Record(row[None], float(len(row)), (_LEAD,), np.array([round(_R * len(row))], np.int64))
