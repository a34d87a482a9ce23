"""Repairs of records and refusals: leads, gaps, flat lines, rates, lengths."""

from __future__ import annotations

import numpy as np
import pytest

from medzoo.anomaly.signals.module import Item, SignalDataset
from medzoo.anomaly.signals.prepare import STANDARD, Record, chosen_leads, filtered, resampled, without_gaps
from medzoo.core.errors import DataError
from medzoo.core.phantoms.ecg import twelve_leads


def record(**changes: object) -> Record:
    made = twelve_leads(3)
    return Record(**{"signal": made.signal, "rate": 500.0, "leads": STANDARD, "beats": made.beats, **changes})  # type: ignore[arg-type]


def read(given: Record, rate: float = 500.0, samples: int = 4800, band: tuple[float, ...] = ()) -> dict[str, object]:
    item = Item("r", "p", lambda: given, path="ward/r.hea")
    return SignalDataset([item], STANDARD, rate, samples, band, 0)[0]


def test_leads_are_found_by_name_in_any_order_and_missing_limb_leads_computed() -> None:
    whole = record()
    order = np.random.default_rng(0).permutation(12)
    mixed = record(signal=whole.signal[order], leads=tuple(STANDARD[i].upper() for i in order))
    np.testing.assert_array_equal(read(mixed)["signal"], read(whole)["signal"])
    kept = [0, 1, *range(6, 12)]
    eight = record(signal=whole.signal[kept], leads=tuple(STANDARD[i] for i in kept))
    np.testing.assert_allclose(read(eight)["signal"], read(whole)["signal"], atol=1e-5)
    with pytest.raises(DataError, match=r"ward/r.hea: has no lead V6") as caught:
        read(record(signal=whole.signal[:11], leads=STANDARD[:11]))
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="two leads of one name"):
        chosen_leads(whole.signal[:2], ("I", "i"), ("I",), "x")


def test_short_gaps_are_bridged_long_ones_refused() -> None:
    signal = np.tile(np.arange(1000, dtype=np.float32), (2, 1))
    holed = signal.copy()
    holed[1, 300:350] = np.nan
    np.testing.assert_allclose(without_gaps(holed, 500, ("I", "II"), "x"), signal, atol=1e-3)
    holed[1, 300:500] = np.nan
    with pytest.raises(DataError, match=r"x: lacks 0.40 s of lead II"):
        without_gaps(holed, 500, ("I", "II"), "x")


def test_one_flat_lead_is_kept_a_flat_record_refused() -> None:
    signal = record().signal.copy()
    signal[6] = 0
    assert not np.asarray(read(record(signal=signal))["signal"])[6].any()
    with pytest.raises(DataError, match="flat in all leads"):
        read(record(signal=np.zeros_like(signal)))


def test_another_rate_gives_the_same_beats_and_nearly_the_same_signal() -> None:
    fine = twelve_leads(3, rate=1000.0)
    given = record(signal=fine.signal, rate=1000.0, beats=fine.beats)
    made, whole = read(given, 100.0, 960, (0.5, 40.0)), read(record(), 100.0, 960, (0.5, 40.0))
    np.testing.assert_allclose(made["beats"], whole["beats"], atol=1)
    a, b = (np.asarray(each["signal"])[1] for each in (made, whole))
    assert np.corrcoef(a, b)[0, 1] > 0.98
    assert (made["original_rate"], made["original_length"], made["start"]) == (1000.0, 9600, 0.2)


def test_a_record_that_is_too_short_is_refused() -> None:
    with pytest.raises(DataError, match=r"has 8.00 s, expected at least 9.60 s"):
        read(record(signal=record().signal[:, :4000]))


def test_the_filter_removes_wander_and_keeps_beats() -> None:
    time = np.arange(5000) / 500
    beat, wander = np.sin(2 * np.pi * 8 * time), 3 * np.sin(2 * np.pi * 0.1 * time)
    out = filtered(np.stack([beat + wander]).astype(np.float32), 500, (0.5, 40.0))[0]
    assert np.abs(out - beat)[500:-500].max() < 0.15
    np.testing.assert_array_equal(filtered(out[None], 500, ()), out[None])


def test_resampling_keeps_level_and_length() -> None:
    out = resampled(np.full((2, 361), 0.4, np.float32), 360.0, 100.0, 101)
    assert out.shape == (2, 101)
    np.testing.assert_allclose(out, 0.4, atol=1e-3)
