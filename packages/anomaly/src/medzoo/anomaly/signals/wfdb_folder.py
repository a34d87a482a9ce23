"""Records in WFDB format with annotated beats, such as the MIT-BIH Arrhythmia Database, cut into stretches."""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medzoo.anomaly.signals.files import read_by_wfdb, wfdb, wfdb_header, wfdb_signal
from medzoo.anomaly.signals.module import SECONDS, Item, Items, SignalDataModule
from medzoo.anomaly.signals.options import SignalOptions
from medzoo.anomaly.signals.prepare import Record
from medzoo.core.data.options import Unpack
from medzoo.core.data.splits import check_fractions, read_patients, split_by_fraction
from medzoo.core.errors import DataError

CLASSES = {symbol: name for name, symbols in (("", "NLRej"), ("S", "AaJS"), ("V", "VE"), ("F", "F"), ("Q", "/fQ"))
           for symbol in symbols}  # fmt: skip
"""Classes of beats of AAMI EC57 by their annotation; empty for normal. Other annotations are no beats."""
_BEFORE, _AFTER = 0.28, 0.45  # seconds about an R peak that count as its beat


class WfdbFolder(SignalDataModule):
    """A folder of `NAME.hea`, the files that these name, and `NAME.atr` with beats, cut into stretches side by side.

    A stretch with a beat of AAMI's classes S, V, F or Q is abnormal, and so are its points about that beat. Training
    and validation take normal stretches. Records are split by patient (`metadata.csv`, else a patient a record); one
    record alone is split in time, its first part to train on, which makes the test an easy one.

    Args:
        root: The folder.
        test_fraction: Share of the records to test on.
        val_fraction: Share of the records to choose the threshold on.
        annotator: Ending of the files with annotations.
        common: Options of all data of signals.
    """

    def __init__(
        self,
        root: str,
        test_fraction: float = 0.5,
        val_fraction: float = 0.1,
        annotator: str = "atr",
        **common: Unpack[SignalOptions],
    ) -> None:
        super().__init__(**common)
        check_fractions(test_fraction=test_fraction, val_fraction=val_fraction)
        self._root, self._annotator = Path(root), annotator
        self._fractions = test_fraction, val_fraction

    @property
    def standard(self) -> tuple[str, ...]:
        """Those of each record."""
        return ()

    def make_items(self) -> Items:
        """Read headers and annotations.

        Raises:
            DataError: There is no record, or one lacks a file or has one that cannot be read.
        """
        headers = sorted(self._root.glob("*.hea"))
        if not headers:
            raise DataError(self._root, "has no WFDB header (*.hea)", "give the folder that holds the records")
        stretches = {path.stem: self._stretches(path) for path in headers}
        test, val = self._fractions
        if len(stretches) == 1:
            (only,) = stretches.values()
            first, last = round(len(only) * (1 - test - val)), round(len(only) * (1 - test))
            parts = only[:first], only[first:last], only[last:]
        else:
            split = split_by_fraction(list(stretches), read_patients(self._root), test, val, self.seed)
            train, validation, tested = (
                [item for name in names for item in stretches[name]] for names in (split.train, split.val, split.test)
            )
            parts = train, validation, tested
        normal = [tuple(item for item in part if not item.label) for part in parts[:2]]
        return Items(normal[0], normal[1], tuple(parts[2]))

    def _stretches(self, path: Path) -> list[Item]:
        header = wfdb_header(path)
        at, symbols = _beats(path, self._annotator)
        wants = self.wants
        asked = wants.size[-1] / wants.rate if wants.size and wants.rate else SECONDS
        seconds = self._seconds or asked
        patient = read_patients(self._root).get(path.stem, path.stem)
        found = []
        for number in range(int(header.sig_len / header.fs / seconds)):
            start = number * seconds
            inside = (at >= start * header.fs) & (at < (start + seconds) * header.fs)
            kinds = sorted({CLASSES[s] for s in symbols[inside].tolist()} - {""})
            load = partial(_record, path, self._annotator)
            name = f"{path.stem}/{number:04d}"
            kind = "+".join(kinds)
            found.append(Item(name, patient, load, str(path), int(bool(kinds)), kind, self._root.name or "wfdb", start))
        return found


def _beats(path: Path, annotator: str) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    """Return samples and symbols of the annotated beats."""
    target = path.with_suffix(f".{annotator}")
    if not target.is_file():
        raise DataError(target, "is missing", "every record needs its annotated beats; see --data.annotator")
    found = read_by_wfdb(target, lambda: wfdb().rdann(str(path.with_suffix("")), annotator))
    symbols = np.asarray(found.symbol, dtype=np.str_)
    kept = np.isin(symbols, list(CLASSES))
    return np.asarray(found.sample, np.int64)[kept], symbols[kept]


@lru_cache(maxsize=2)  # the stretches of a record come one after the other
def _record(path: Path, annotator: str) -> Record:
    signal, rate, leads = wfdb_signal(path)
    at, symbols = _beats(path, annotator)
    mask = np.zeros(signal.shape, bool)
    for r, symbol in zip(at.tolist(), symbols.tolist(), strict=True):
        if CLASSES[symbol]:
            mask[:, max(0, r - round(_BEFORE * rate)) : r + round(_AFTER * rate)] = True
    return Record(signal, rate, leads, at, mask)
