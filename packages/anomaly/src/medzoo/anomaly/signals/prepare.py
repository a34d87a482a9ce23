"""From a record as it is stored to what a network sees: leads by name, gaps, filter, rate, length."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy import signal as filters

from medzoo.anomaly.signals.leads import lead_names
from medzoo.core.errors import DataError

Samples = NDArray[np.float32]

_LONGEST_GAP = 0.2
"""Seconds of missing values that are bridged by a straight line."""
_LEAST_RATE = 200.0
"""Samples a second that XQRS needs: at 100 it misses some beats, at 50 all, and from 40 down it ends with an error."""
_LIMB: dict[str, tuple[str, str, float, float]] = {
    "I": ("II", "III", 1.0, -1.0), "II": ("I", "III", 1.0, 1.0), "III": ("II", "I", 1.0, -1.0),
    "aVR": ("I", "II", -0.5, -0.5), "aVL": ("I", "II", 1.0, -0.5), "aVF": ("II", "I", 1.0, -0.5),
}  # fmt: skip


@dataclass(frozen=True)
class Record:
    """A record in memory.

    Attributes:
        signal: `(L, n)` float32 mV, NaN where missing.
        rate: Samples a second.
        leads: Names.
        beats: `(N,)` int64 R peaks; None where they are still to be found.
        mask: `(L, n)` bool, where it is abnormal; None where nobody marked it.
        age: Years, NaN where unknown.
        sex: 0 male, 1 female, NaN where unknown.
    """

    signal: Samples
    rate: float
    leads: tuple[str, ...]
    beats: NDArray[np.int64] | None = None
    mask: NDArray[np.bool_] | None = None
    age: float = float("nan")
    sex: float = float("nan")


def chosen_leads(signal: Samples, leads: Sequence[str], wanted: Sequence[str], place: str) -> Samples:
    """Return the wanted leads in their order, found by name whatever their order in the record.

    A limb lead that is missing is computed from two others (Einthoven, Goldberger).

    Args:
        signal: `(L, n)`.
        leads: Names of its rows; neither case nor what devices add matters, see `lead_names`.
        wanted: Names of the rows to return.
        place: File, for messages.

    Raises:
        DataError: A lead is missing and cannot be computed, or two have one name.
    """
    made = _sources(leads, wanted, place)
    return np.stack([sum(factor * signal[row] for row, factor in parts) for parts in made]).astype(np.float32)


def chosen_marks(mask: NDArray[np.bool_], leads: Sequence[str], wanted: Sequence[str], place: str) -> NDArray[np.bool_]:
    """Return where the wanted leads are abnormal: a computed one wherever a lead is that it is made of.

    Args:
        mask: `(L, n)`.
        leads: Names of its rows; neither case nor what devices add matters, see `lead_names`.
        wanted: Names of the rows to return.
        place: File, for messages.

    Raises:
        DataError: As `chosen_leads`.
    """
    return np.stack([mask[[row for row, _ in parts]].any(0) for parts in _sources(leads, wanted, place)])


def _sources(leads: Sequence[str], wanted: Sequence[str], place: str) -> list[list[tuple[int, float]]]:
    """Return of each wanted lead the rows that it is the sum of, with their factors."""
    rows: Mapping[str, int] = {name.casefold(): row for row, name in enumerate(lead_names(leads))}
    if len(rows) < len(leads):
        raise DataError(place, f"has two leads of one name: {', '.join(leads)}", "name each lead once")
    found = []
    for name in lead_names(wanted):
        if name.casefold() in rows:
            found.append([(rows[name.casefold()], 1.0)])
            continue
        first, second, a, b = _LIMB.get(name, ("", "", 0.0, 0.0))
        if not {first.casefold(), second.casefold()} <= rows.keys():
            cure = "record it, or choose others by --data.leads"
            raise DataError(place, f"has no lead {name}; it has {', '.join(leads) or 'none'}", cure)
        found.append([(rows[first.casefold()], a), (rows[second.casefold()], b)])
    return found


def without_gaps(signal: Samples, rate: float, leads: Sequence[str], place: str, part: slice = slice(None)) -> Samples:
    """Return a signal with missing values bridged by straight lines, in the part that is looked at of at most 0.2 s.

    Args:
        signal: `(L, n)`, NaN where missing.
        rate: Samples a second.
        leads: Names of its rows.
        place: File, for messages.
        part: Samples that are looked at.

    Raises:
        DataError: A gap there is longer, or every lead of the record is constant.
    """
    first, last, _ = part.indices(signal.shape[1])
    bad = ~np.isfinite(signal)
    filled = signal
    if bad.any():
        filled = signal.copy()
        at = np.arange(signal.shape[1])
        for row in np.flatnonzero(bad.any(1)).tolist():
            edges = np.flatnonzero(np.diff(np.pad(bad[row].astype(np.int8), 1)))
            starts, ends = edges[::2], edges[1::2]
            inside = (ends > first) & (starts < last)
            longest = int((ends - starts)[inside].max(initial=0)) / rate
            if longest > _LONGEST_GAP or bad[row].all():
                problem = f"lacks {longest:.2f} s of lead {leads[row]}; at most {_LONGEST_GAP} s can be bridged"
                raise DataError(place, problem, "leave this record out, or cut it")
            filled[row, bad[row]] = np.interp(at[bad[row]], at[~bad[row]], signal[row, ~bad[row]])
    if not np.ptp(filled, axis=1).any():
        raise DataError(place, "is flat in all leads", "leave this record out")
    return filled


def filtered(signal: Samples, rate: float, band: Sequence[float]) -> Samples:
    """Return a signal without what lies outside a band, in Hz: Butterworth of order 2, there and back.

    Args:
        signal: `(L, n)`.
        rate: Samples a second.
        band: Lower and upper limit; 0 leaves that side as it is; empty returns the signal. An upper limit that the
            rate cannot hold is left out.

    Returns:
        `(L, n)`, in which a constant lead stays constant: what rounding leaves of it would be scaled to a signal.
    """
    out = signal.astype(np.float64)
    still = ~np.ptp(signal, axis=-1).astype(bool)
    for limit, kind in zip(band, ("highpass", "lowpass"), strict=False):
        if 0 < limit < 0.45 * rate:
            sections = filters.butter(2, limit, kind, fs=rate, output="sos")
            out = filters.sosfiltfilt(sections, out, axis=-1, padlen=min(out.shape[-1] - 1, round(rate)))
            out[still] = 0 if kind == "highpass" else out[still, :1]
    return out.astype(np.float32)


def resampled(signal: Samples, rate: float, to: float, length: int) -> Samples:
    """Return a signal at another rate, `(L, length)`, by a polyphase filter; its end is cut or held.

    A constant lead stays constant, see `filtered`.

    Args:
        signal: `(L, n)` at `rate`.
        rate: Samples a second.
        to: Samples a second to have.
        length: Samples to return.
    """
    if rate != to:
        ratio = Fraction(to / rate).limit_denominator(2000)
        level, still = signal[:, :1], ~np.ptp(signal, axis=-1).astype(bool)
        signal = filters.resample_poly(signal, ratio.numerator, ratio.denominator, axis=-1, padtype="edge")
        signal[still] = level[still]
    short = length - signal.shape[-1]
    if short > 0:
        signal = np.pad(signal, ((0, 0), (0, short)), mode="edge")
    return np.ascontiguousarray(signal[:, :length], np.float32)


def r_peaks(lead: Samples, rate: float) -> NDArray[np.int64]:
    """Return R peaks of one lead, found by XQRS of the library wfdb; empty where there is none.

    Args:
        lead: `(n,)` mV.
        rate: Samples a second.

    Raises:
        ConfigError: The library is not installed.
    """
    from medzoo.anomaly.signals.files import wfdb

    if not np.ptp(lead):
        return np.zeros(0, np.int64)
    finer = math.ceil(_LEAST_RATE / rate)
    fine = filters.resample_poly(lead.astype(np.float64), finer, 1, padtype="edge") if finer > 1 else lead
    found = wfdb().processing.xqrs_detect(np.asarray(fine, np.float64), finer * rate, verbose=False)
    return np.asarray(found, np.int64) // finer
