"""Repairs of records and refusals: leads, gaps, flat lines, rates, lengths."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from medzoo.anomaly.signals.leads import STANDARD
from medzoo.anomaly.signals.module import Item, SignalDataset
from medzoo.anomaly.signals.phantoms import EcgPhantoms
from medzoo.anomaly.signals.prepare import Record, Samples, chosen_leads, filtered, resampled, without_gaps
from medzoo.core.data.wants import Wants
from medzoo.core.errors import ConfigError, DataError
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


def test_what_lies_outside_the_middle_of_a_long_record_does_not_end_its_answer() -> None:
    made = twelve_leads(3, seconds=40.0)
    signal = made.signal.copy()
    plain = np.asarray(read(record(signal=signal, beats=made.beats), band=(0.5, 40.0))["signal"])
    signal[3, :2500] = np.nan
    found = np.asarray(read(record(signal=signal, beats=made.beats), band=(0.5, 40.0))["signal"])
    np.testing.assert_allclose(found, plain, atol=0.01)
    assert not any("missing" in note for note in read(record(signal=signal, beats=made.beats))["notes"])  # type: ignore[attr-defined]
    signal[3, 9000:9500] = np.nan
    with pytest.raises(DataError, match=r"lacks 1.00 s of lead aVR"):
        read(record(signal=signal))
    signal[3] = np.nan
    with pytest.raises(DataError, match=r"lacks 40.00 s of lead aVR"):
        read(record(signal=signal))


def test_a_lead_that_is_off_in_the_middle_of_a_record_is_no_signal_there() -> None:
    made = twelve_leads(3, seconds=40.0)
    signal = made.signal.copy()
    signal[6, 7000:13000] = 0.4
    found = np.asarray(read(record(signal=signal, beats=made.beats), band=(0.5, 40.0))["signal"])
    assert np.ptp(found, axis=1).astype(bool).tolist() == [True] * 6 + [False] + [True] * 5
    signal[:, 7000:13000] = 0.4
    with pytest.raises(DataError, match="flat in all leads in its middle"):
        read(record(signal=signal, beats=made.beats))


def test_one_flat_lead_is_kept_a_flat_record_refused() -> None:
    signal = record().signal.copy()
    signal[6] = 0
    assert not np.asarray(read(record(signal=signal))["signal"])[6].any()
    with pytest.raises(DataError, match="flat in all leads"):
        read(record(signal=np.zeros_like(signal)))


@pytest.mark.parametrize("band", [(), (0.5, 40.0), (0.0, 40.0)])
def test_a_lead_at_a_constant_voltage_stays_constant_to_the_last_bit(band: tuple[float, ...]) -> None:
    """What a filter leaves by rounding would be scaled to a full signal."""
    signal = record().signal.copy()
    signal[6] = -2.7
    for rate in (500.0, 100.0):
        made = np.asarray(read(record(signal=signal), rate, round(9.6 * rate), band)["signal"])[6]
        assert np.ptp(made) == 0
        assert made[0] == (0 if band[:1] == (0.5,) else np.float32(-2.7))


def test_a_computed_lead_is_abnormal_wherever_a_lead_is_that_it_is_made_of() -> None:
    whole = record()
    mask = np.zeros((8, whole.signal.shape[1]), bool)
    mask[:2, 1000:1500] = True  # I and II, whose difference is III
    mask[1, 2000:2500] = True
    kept = [0, 1, *range(6, 12)]
    eight = record(signal=whole.signal[kept], leads=tuple(STANDARD[i] for i in kept), mask=mask)
    found = np.asarray(read(eight, samples=5000)["mask"])
    assert found[:6, 1000:1500].all()
    assert found[:, 2000:2500].all(1).tolist() == [False, *[True] * 5, *[False] * 6]
    assert not found[6:].any()


def test_r_peaks_are_looked_for_in_another_lead_where_the_second_is_flat(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Samples] = []

    def noted(lead: Samples, rate: float) -> NDArray[np.int64]:
        seen.append(lead)
        return np.zeros(0, np.int64)

    monkeypatch.setattr("medzoo.anomaly.signals.module.r_peaks", noted)
    signal = record().signal.copy()
    read(record(signal=signal, beats=None), samples=5000)
    np.testing.assert_array_equal(seen[0], signal[1])
    flat = signal.copy()
    flat[1] = 0.3
    read(record(signal=flat, beats=None), samples=5000)
    np.testing.assert_array_equal(seen[1], signal[0])


def test_a_rate_that_the_model_is_not_made_for_and_an_empty_band_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = EcgPhantoms(train=2, val=0, test=0, rate=250.0)
    monkeypatch.setattr(EcgPhantoms, "wants", Wants((12, 4800), 2, rate=500.0))
    with pytest.raises(ConfigError, match=r"--data.rate: the model sees 500 samples a second, got 250"):
        data.train_dataloader()
    with pytest.raises(ConfigError, match=r"--data.band"):
        EcgPhantoms(band=[40.0, 0.5])


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
