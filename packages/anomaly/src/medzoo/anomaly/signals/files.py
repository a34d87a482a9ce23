"""WFDB records through the library of that name, whose errors become lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from medzoo.anomaly.signals.leads import lead_names
from medzoo.core.errors import ConfigError, DataError, MedzooError, first_line

Read = TypeVar("Read")
Samples = NDArray[np.float32]
_SCALE = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "v": 1e3}


def wfdb() -> ModuleType:
    """Return the library wfdb, which is imported when it is first needed.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import_module("wfdb.processing")
        return import_module("wfdb")
    except ModuleNotFoundError as error:
        raise ConfigError(f"R peaks and WFDB files need {error.name}: pip install 'medzoo-anomaly[wfdb]'") from error


class Header:
    """What is used of wfdb's header."""

    sig_len: int
    fs: float
    file_name: list[str] | None
    sig_name: list[str] | None
    units: list[str] | None


def leads_of(header: Header) -> tuple[str, ...]:
    """Return the names of the voltages of a record."""
    pairs = zip(header.sig_name or (), header.units or (), strict=False)
    return lead_names([str(name) for name, unit in pairs if millivolts(str(unit)) is not None])


def wfdb_header(path: Path) -> Header:
    """Read a header; the files that it names must be there.

    Raises:
        DataError: It cannot be read, is of several segments, or a file is missing.
    """
    found = read_by_wfdb(path, partial(_rdheader, str(path.with_suffix(""))))
    if hasattr(found, "seg_name"):
        raise DataError(path, "is a header of several segments", "give those of its segments, each a record by itself")
    for name in sorted(set(found.file_name or ())):
        if not path.with_name(name).is_file():
            raise DataError(path, f"names {name}, which is not beside it", "copy that file there too")
    if not found.sig_len:
        raise DataError(path, "does not say how many samples the record has", "write the number in its first line")
    return found


def _rdheader(name: str) -> Header:
    found: Header = wfdb().rdheader(name)
    return found


def wfdb_signal(path: Path) -> tuple[Samples, float, tuple[str, ...]]:
    """Return signal `(L, n)` in mV, samples a second and names of the leads of the record of a header.

    Raises:
        DataError: It cannot be read, or no signal is a voltage.
    """
    found = read_by_wfdb(path, lambda: wfdb().rdrecord(str(path.with_suffix(""))))
    units, names = [str(unit) for unit in found.units], [str(name) for name in found.sig_name]
    signal, leads = in_millivolts(np.asarray(found.p_signal.T, np.float32), units, names, path)
    return signal, float(found.fs), lead_names(leads)


def read_by_wfdb(path: Path, how: Callable[[], Read]) -> Read:
    """Read with the library, whose errors are of all kinds.

    Raises:
        DataError: It fails.
    """
    try:
        return how()
    except MedzooError:
        raise
    except Exception as error:
        raise DataError(path, f"cannot be read as WFDB ({first_line(error)[:80]})", "copy it again") from error


def millivolts(unit: str) -> float | None:
    """Return the factor that brings a unit to mV; None where it is no voltage."""
    return _SCALE.get(unit.strip().casefold().replace("μ", "µ"))  # the two letters of micro


def in_millivolts(
    signal: Samples, units: Sequence[str], names: Sequence[str], path: Path
) -> tuple[Samples, tuple[str, ...]]:
    """Return the voltages among signals, `(L, n)` in mV, and their names; others, such as pressures, are no leads.

    Args:
        signal: `(S, n)`, each row in its own unit.
        units: Of each row.
        names: Of each row.
        path: File, for messages.

    Raises:
        DataError: None is a voltage.
    """
    factors = {row: factor for row, unit in enumerate(units) if (factor := millivolts(unit)) is not None}
    if not factors:
        have = ", ".join(sorted({unit.strip() or "no unit" for unit in units})) or "nothing"
        raise DataError(path, f"has no signal in mV, uV or V ({have})", "expected an electrocardiogram")
    scale = np.array(list(factors.values()), np.float32)[:, None]
    return signal[list(factors)] * scale, tuple(names[row] for row in factors)
