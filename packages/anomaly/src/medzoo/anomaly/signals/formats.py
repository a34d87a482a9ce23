"""One record in a file of its own: WFDB, CSV, NumPy, DICOM and EDF, the last three of these by their libraries."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from medzoo.anomaly.signals.files import in_millivolts, millivolts, wfdb_header, wfdb_signal
from medzoo.anomaly.signals.leads import lead_names
from medzoo.anomaly.signals.prepare import Record
from medzoo.core.errors import ConfigError, DataError, MedzooError, first_line

_TIMES = {"time_s": 1.0, "time": 1.0, "time_ms": 1e3}
"""Columns of time in a table, with their parts of a second."""
_YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
"""Units of DICOM's age strings."""
_MOST = 50.0
"""Millivolts between least and greatest value that no lead of a heart has."""


class _Code(Protocol):
    CodeValue: str
    CodeMeaning: str


class _Channel(Protocol):
    ChannelSourceSequence: list[_Code]
    ChannelSensitivityUnitsSequence: list[_Code]


class _Group(Protocol):
    NumberOfWaveformSamples: int
    SamplingFrequency: float
    ChannelDefinitionSequence: list[_Channel]


class _Waveforms(Protocol):
    """What is used of pydicom's data set, whose own types end here."""

    WaveformSequence: list[_Group]

    def get(self, name: str) -> object: ...
    def waveform_array(self, multiplex_index: int) -> NDArray[np.float64]: ...


class _EdfSignal(Protocol):
    physical_dimension: str
    sampling_frequency: float
    label: str
    data: NDArray[np.float64]


class _Edf(Protocol):
    """What is used of edfio's file."""

    signals: list[_EdfSignal]


def read_record(path: Path, rate: float | None = None) -> Record:
    """Read a record by the ending of its file.

    Args:
        path: `.hea` of WFDB; `.csv` with a column in mV for each lead, and one of time; `.npz` with `signal` `(L, n)`
            in mV, `leads` and `rate`; `.dcm`; or `.edf`.
        rate: Samples a second of a table or an archive that does not say.

    Raises:
        ConfigError: A library is not installed.
        DataError: The file cannot be read, or lacks something.
    """
    ending = path.suffix.lower()
    if ending == ".scp":
        raise DataError(path, "is SCP-ECG, which medzoo does not read", "convert it to DICOM, EDF or WFDB")
    if ending not in READERS:
        raise DataError(path, f"is no record ({ending or 'no ending'})", f"expected one of {', '.join(READERS)}")
    if not path.is_file():
        raise DataError(path, "is not a file", "check the path")
    try:
        record = READERS[ending](path, rate)
    except MedzooError:
        raise
    except Exception as error:  # libraries raise all kinds
        raise DataError(path, f"cannot be read ({first_line(error)[:80]})", "export it again") from error
    if not 20 <= record.rate <= 100_000:
        problem = f"has {record.rate:g} samples a second, expected from 20 to 100000"
        raise DataError(path, problem, "correct the rate or the times (time_s in seconds, time_ms), or --hertz")
    if not record.signal.size:
        raise DataError(path, "has no samples", "export it again")
    spans = np.nanmax(record.signal, 1, initial=-np.inf) - np.nanmin(record.signal, 1, initial=np.inf)
    if (spans > _MOST).any():
        lead = record.leads[int(spans.argmax())]
        raise DataError(path, f"spans {spans.max():.0f} mV in lead {lead}", "give millivolts, without loose electrodes")
    return record


def companions(path: str) -> list[str]:
    """Return the files that belong to a file: of a WFDB header those with the signals."""
    if not path.lower().endswith(".hea"):
        return []
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []  # said when the header is read
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    beside = dict.fromkeys(str(Path(path).with_name(words[0])) for words in lines[1:])
    return [name for name in beside if Path(name).is_file()]


def _wfdb(path: Path, rate: float | None) -> Record:
    del rate  # the header says
    wfdb_header(path)
    signal, found, leads = wfdb_signal(path)
    return Record(signal, found, leads)


def _given(path: Path, rate: float | None, where: str) -> float:
    if rate is None:
        raise DataError(path, f"does not say its samples a second ({where})", "give --hertz HZ")
    return rate


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _csv(path: Path, rate: float | None) -> Record:
    with path.open(encoding="utf-8-sig", newline="") as file:
        head = file.readline()
        comma = max(",;\t", key=head.count)
        names = [name.strip() for name in next(csv.reader([head], delimiter=comma), [])]
        rows = [row for row in csv.reader(file, delimiter=comma) if row]
    if len(rows) < 2 or any(len(row) != len(names) for row in rows):
        bad = next((i for i, row in enumerate(rows, 2) if len(row) != len(names)), 2)
        raise DataError(path, f"has no {len(names)} values in line {bad}", "expected a header, then a line a sample")
    if all(_is_number(name) for name in names):
        raise DataError(path, "has numbers in its first line", "write the names of the leads there, and time_s")
    try:
        table = np.array([[float(cell) if cell.strip() else np.nan for cell in row] for row in rows], np.float64)
    except ValueError as error:
        cure = "write each number with a decimal point, and nothing else in its cell"
        raise DataError(path, f"is not a table of numbers ({first_line(error)[:60]})", cure) from error
    clock = next((column for column, name in enumerate(names) if name.casefold() in _TIMES), None)
    if clock is not None:
        steps = np.diff(table[:, clock]) / _TIMES[names[clock].casefold()]
        step = float(np.mean(steps))  # of all, since the times may be rounded
        if not step > 0 or not np.abs(steps - step).max() < 0.5 * step:
            raise DataError(path, f"has times in {names[clock]} that do not grow evenly", "give a line a sample")
        rate = round(1 / step, 3)
        table = np.delete(table, clock, 1)
        names.pop(clock)
    return Record(table.T.astype(np.float32), _given(path, rate, "no column time_s"), lead_names(names))


def _npz(path: Path, rate: float | None) -> Record:
    with np.load(path, allow_pickle=False) as archive:
        found = {name: archive[name] for name in archive.files}
    if missing := sorted({"signal", "leads"} - set(found)):
        raise DataError(path, f"has no {missing[0]}", "expected signal (L, n) in mV, leads, rate")
    signal, leads = np.asarray(found["signal"], np.float32), [str(name) for name in found["leads"].ravel()]
    if signal.ndim != 2 or len(leads) != len(signal):
        raise DataError(path, f"has signal {signal.shape} for {len(leads)} leads", "expected a row a lead")
    hertz = float(found["rate"]) if "rate" in found else rate
    age, sex = (float(found.get(name, np.nan)) for name in ("age", "sex"))
    return Record(signal, _given(path, hertz, "no array rate"), lead_names(leads), age=age, sex=sex)


def _dicom(path: Path, rate: float | None) -> Record:
    del rate  # the file says
    data: _Waveforms = _library("pydicom", "medzoo-core[dicom]").dcmread(path)
    if not data.get("WaveformSequence"):
        raise DataError(path, "is DICOM without a waveform", "expected an electrocardiogram")
    groups = data.WaveformSequence
    index = max(range(len(groups)), key=lambda i: int(groups[i].NumberOfWaveformSamples))  # the rhythm, not a mean beat
    group = groups[index]
    channels = group.ChannelDefinitionSequence
    labels: Sequence[str] = [str(channel.ChannelSourceSequence[0].CodeMeaning) for channel in channels]
    units = [str(channel.ChannelSensitivityUnitsSequence[0].CodeValue) for channel in channels]
    signal, labels = in_millivolts(data.waveform_array(index).T.astype(np.float32), units, labels, path)
    said = re.fullmatch(r"(\d+)([YMWD])", str(data.get("PatientAge") or "").strip())
    age = int(said[1]) * _YEARS[said[2]] if said else np.nan
    sex = {"M": 0.0, "F": 1.0}.get(str(data.get("PatientSex") or ""), np.nan)
    return Record(signal, float(group.SamplingFrequency), lead_names(labels), age=age, sex=sex)


def _edf(path: Path, rate: float | None) -> Record:
    del rate  # the file says
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on fields of the header that break the standard
        found: _Edf = _library("edfio", "medzoo-anomaly[edf]").read_edf(path)
    volts = [s for s in found.signals if millivolts(str(s.physical_dimension)) is not None]
    hertz = max((float(s.sampling_frequency) for s in volts), default=0.0)
    kept = [s for s in volts if float(s.sampling_frequency) == hertz]
    stored = np.stack([s.data.astype(np.float32) for s in kept]) if kept else np.zeros((0, 0), np.float32)
    units = [str(s.physical_dimension) for s in kept or found.signals]
    signal, names = in_millivolts(stored, units, [str(s.label) for s in kept], path)
    return Record(signal, hertz, lead_names(names))


def _library(name: str, extra: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"this kind of record needs {name}: pip install '{extra}'") from error


READERS: dict[str, Callable[[Path, float | None], Record]] = {
    ".hea": _wfdb, ".csv": _csv, ".npz": _npz, ".dcm": _dicom, ".edf": _edf,
}  # fmt: skip
"""What reads a file, by its ending."""
