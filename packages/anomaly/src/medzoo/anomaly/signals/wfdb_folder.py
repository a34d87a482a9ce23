"""Records in WFDB format with annotated beats, such as the MIT-BIH Arrhythmia Database, cut into stretches."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medzoo.anomaly.signals.files import Header, leads_of, read_by_wfdb, wfdb, wfdb_header, wfdb_signal
from medzoo.anomaly.signals.module import SECONDS, Item, Items, SignalDataModule
from medzoo.anomaly.signals.options import SignalOptions
from medzoo.anomaly.signals.prepare import Record
from medzoo.core.data.options import Unpack
from medzoo.core.data.splits import check_some, drawn_parts, read_patients, split_by_fraction
from medzoo.core.errors import DataError, check_choice

CLASSES = {symbol: name for name, symbols in (("", "NLRej"), ("S", "AaJS"), ("V", "VE"), ("F", "F"), ("Q", "/fQ"))
           for symbol in symbols}  # fmt: skip
"""Classes of beats of AAMI EC57 by their annotation; empty for normal. Other annotations are no beats."""
DS1 = (
    "101", "106", "108", "109", "112", "114", "115", "116", "118", "119", "122", "124", "203", "205", "207",
    "208", "209", "215", "220", "223", "230",
)  # fmt: skip
DS2 = (
    "100", "103", "105", "111", "113", "117", "121", "123", "200", "202", "210", "212", "213", "214", "219",
    "221", "222", "228", "231", "232", "233", "234",
)  # fmt: skip
"""Records of MIT-BIH to learn from and to test on, of other patients (de Chazal et al., IEEE Trans. Biomed. Eng. 51(7),
2004), without those with pacemakers; 201 of DS1 is left out, for 202 of DS2 is of the same person."""
_ONE_PERSON = dict.fromkeys(("201", "202"), "patient 201")
_BEFORE, _AFTER = 0.28, 0.45  # seconds about an R peak that count as its beat


class WfdbFolder(SignalDataModule):
    """A folder of `NAME.hea`, the files that these name, and `NAME.atr` with beats, cut into stretches side by side.

    Points are abnormal from 0.28 s before to 0.45 s after an R peak of AAMI's classes S, V, F or Q, and a stretch is
    where any of its points is, though the peak itself may lie in the next. Training and validation take normal
    stretches. Records are split by patient (`metadata.csv`, else a patient a record, but for
    201 and 202 of MIT-BIH, who are one); one record alone is split in time, its first part to train on, which makes the
    test an easy one. All records must have the leads of the first, in any order, unless `--data.leads` says which to
    take, or the model which it was trained with.

    Args:
        root: The folder.
        test_fraction: Share of the records to test on.
        val_fraction: Share of the records to choose the threshold on.
        all_test: Test on all records that would be split, and train on none: an external cohort. A part that the data
            name stays as it is.
        annotator: Ending of the files with annotations.
        split: `fraction`, or `ds1-ds2` for the usual records of MIT-BIH, of which DS1 is learnt from (a fraction of it
            validates) and DS2 tested on. Take `--data.leads [MLII]`, the only lead that all have.
        common: Options of all data of signals.
    """

    def __init__(
        self,
        root: str,
        test_fraction: float = 0.5,
        val_fraction: float = 0.1,
        all_test: bool = False,
        annotator: str = "atr",
        split: str = "fraction",
        **common: Unpack[SignalOptions],
    ) -> None:
        super().__init__(**common)
        check_choice("data.split", split, ("fraction", "ds1-ds2"))
        self._root, self._annotator, self._split = Path(root), annotator, split
        self._fractions = drawn_parts(test_fraction, val_fraction, all_test)
        self._first: tuple[str, ...] = ()

    @property
    def standard(self) -> tuple[str, ...]:
        """Those of the first record."""
        return self._first

    def make_items(self) -> Items:
        """Read headers and annotations.

        Raises:
            DataError: There is no record, or one lacks a file, has one that cannot be read or lacks a lead.
        """
        headers = sorted(self._root.glob("*.hea"))
        if not headers:
            raise DataError(self._root, "has no WFDB header (*.hea)", "give the folder that holds the records")
        usual = self._split == "ds1-ds2"
        if usual and not {path.stem for path in headers} & {*DS1, *DS2}:
            raise DataError(self._root, "has no record of DS1 or DS2", "leave out --data.split ds1-ds2")
        found = {path: wfdb_header(path) for path in headers if not usual or path.stem in (*DS1, *DS2)}
        if not (self._leads or self.wants.leads):
            self._first = _same_leads(found)
        patients = self._patients([path.stem for path in found])
        owners = {path: patients.get(path.stem, path.stem) for path in found}
        stretches = {path.stem: self._stretches(path, header, owners[path]) for path, header in found.items()}
        test, val = self._fractions
        if usual:
            learnt = split_by_fraction([name for name in stretches if name in DS1], {}, 0.0, val, self.seed)
            tested = [name for name in stretches if name in DS2]
            parts = self._joined(stretches, learnt.train, learnt.val, tested)
        elif len(stretches) == 1:
            (only,) = stretches.values()
            first, last = round(len(only) * (1 - test - val)), round(len(only) * (1 - test))
            parts = only[:first], only[first:last], only[last:]
        else:
            split = split_by_fraction(list(stretches), patients, test, val, self.seed)
            parts = self._joined(stretches, split.train, split.val, split.test)
        normal = [tuple(item for item in part if not item.label) for part in parts[:2]]
        return Items(normal[0], normal[1], tuple(parts[2]))

    def _patients(self, names: Collection[str]) -> dict[str, str]:
        """Return the patients that the table and MIT-BIH know of.

        Raises:
            DataError: The table names none of the records.
        """
        given = read_patients(self._root)
        check_some(self._root, given, names, "record of the folder")
        return _ONE_PERSON | given

    @staticmethod
    def _joined(stretches: dict[str, list[Item]], *parts: Sequence[str]) -> tuple[list[Item], list[Item], list[Item]]:
        """Return the stretches of the records to train on, to validate on and to test on."""
        train, val, test = ([item for name in names for item in stretches[name]] for names in parts)
        return train, val, test

    def summary(self, stage: str = "fit") -> list[str]:
        """Return the number of stretches, and which part of DS1 and DS2 is there."""
        lines = super().summary(stage)
        if self._split == "ds1-ds2":
            there = {path.stem for path in self._root.glob("*.hea")}
            counts = [f"{sum(name in there for name in names)} of {len(names)}" for names in (DS1, DS2)]
            lines.append(f"records of DS1: {counts[0]}, of DS2: {counts[1]}")
        return lines

    def _stretches(self, path: Path, header: Header, patient: str) -> list[Item]:
        at, symbols = _beats(path, self._annotator)
        wants = self.wants
        asked = wants.size[-1] / wants.rate if wants.size and wants.rate else SECONDS
        seconds = self._seconds or asked
        rate, length = float(header.fs), round(seconds * header.fs)
        found = []
        whole = int(header.sig_len / rate / seconds + 1e-6)  # 30 s in 29 parts come out as 28.99…
        for number in range(whole):
            start = number * seconds
            first = round(start * rate)
            reached = (at + _after(rate) > first) & (at - _before(rate) < first + length)
            kinds = sorted({CLASSES[s] for s in symbols[reached].tolist()} - {""})
            load = partial(_record, path, self._annotator)
            name = f"{path.stem}/{number:04d}"
            kind = "+".join(kinds)
            found.append(Item(name, patient, load, str(path), int(bool(kinds)), kind, self._root.name or "wfdb", start))
        return found


def _before(rate: float) -> int:
    return round(_BEFORE * rate)


def _after(rate: float) -> int:
    return round(_AFTER * rate)


def _same_leads(headers: Mapping[Path, Header]) -> tuple[str, ...]:
    """Return the leads of the first record, in whose order those of all others are brought.

    Raises:
        DataError: Another record has other leads.
    """
    (first, *others), leads = list(headers), {path: leads_of(header) for path, header in headers.items()}
    shared = [name for name in leads[first] if all(name in leads[path] for path in others)]
    for path in others:
        if set(leads[path]) != set(leads[first]):
            have = f"has leads {', '.join(leads[path]) or 'none'} where {first.stem} has {', '.join(leads[first])}"
            all_have = f"take --data.leads [{','.join(shared)}], which all have"
            raise DataError(path, have, all_have if shared else "move it to a folder of its own")
    return leads[first]


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
            mask[:, max(0, r - _before(rate)) : r + _after(rate)] = True
    return Record(signal, rate, leads, at, mask)
