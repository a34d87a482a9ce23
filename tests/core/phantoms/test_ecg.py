"""Synthetic electrocardiograms: identities of leads, voltages, normal twins, exact points."""

from __future__ import annotations

import numpy as np
import pytest

from medzoo.core.phantoms.ecg import twelve_leads
from medzoo.core.phantoms.ecg_anomalies import KINDS
from medzoo.core.phantoms.ecg_scene import LEADS, attributes

RHYTHM = {"af", "flutter"}


def test_limb_leads_obey_einthoven_and_goldberger() -> None:
    one, two, three, avr, avl, avf = twelve_leads(1).signal[:6].astype(float)
    np.testing.assert_allclose(three, two - one, atol=1e-6)
    np.testing.assert_allclose(avr + avl + avf, 0, atol=1e-6)


def test_twelve_leads_are_not_of_rank_three() -> None:
    values = np.linalg.svd(twelve_leads(2).signal, compute_uv=False)
    assert values[3] > 0.05 * values[0]
    assert values[8] < 1e-4 * values[0]  # eight electrodes


def test_normal_beats_look_normal() -> None:
    tops, shifts = [], []
    for patient in range(8):
        made = twelve_leads(patient)
        for r in made.beats[1:-1]:
            level = np.median(made.signal[:, r - 40 : r - 30], axis=1)
            tops.append(made.signal[:, r - 10 : r + 10].max(1) - level)
            shifts.append(made.signal[:, r + 55] - level)
    height = dict(zip(LEADS, np.mean(tops, 0), strict=True))
    assert 0.5 < height["II"] < 1.6
    assert height["V4"] > height["V1"]
    assert np.abs(np.mean(shifts, 0)).max() < 0.1  # ST at R + 110 ms is flat


def test_a_beat_stands_where_it_is_said_to_and_intervals_vary() -> None:
    made = twelve_leads(3)
    strength = np.linalg.norm(made.signal - np.median(made.signal, 1, keepdims=True), axis=0)
    for r in made.beats[1:-1]:
        assert abs(int(np.argmax(strength[r - 60 : r + 60])) - 60) <= 12
    assert np.diff(made.beats).std() > 1


@pytest.mark.parametrize("kind", KINDS)
def test_severity_zero_is_the_normal_twin_and_one_is_marked(kind: str) -> None:
    normal, none, full = (twelve_leads(5, 1, *how) for how in (("", 1.0), (kind, 0.0), (kind, 1.0)))
    np.testing.assert_allclose(none.signal, normal.signal, atol=1e-6)
    assert not none.mask.any()
    assert 0.02 < full.mask.mean() < (1.01 if kind in RHYTHM else 0.75)
    difference = np.abs(full.signal - normal.signal)
    if kind not in RHYTHM:  # what is not marked equals the twin, up to the rule's limit
        limit = np.maximum(0.05 * np.ptp(normal.signal, axis=1, keepdims=True), 0.03)
        assert (difference > limit)[~full.mask].mean() < 0.01


def test_an_anterior_elevation_shows_in_the_anterior_leads() -> None:
    normal, made = twelve_leads(5, 1), twelve_leads(5, 1, "st_anterior")
    rise = [np.mean([(made.signal - normal.signal)[row, r + 55] for r in normal.beats[1:-1]]) for row in range(12)]
    assert {LEADS[i] for i in np.argsort(rise)[-3:]} <= {"V1", "V2", "V3", "V4"}


def test_attributes_differ_between_patients_and_lower_the_voltage() -> None:
    assert attributes(3) == attributes(3)
    people = [attributes(i) for i in range(200)]
    assert {sex for _, sex in people} == {0, 1}
    high = {sex: np.mean([np.ptp(twelve_leads(i, seconds=4).signal[1]) for i in range(60) if people[i][1] == sex])
            for sex in (0, 1)}  # fmt: skip
    assert high[1] < high[0]


def test_the_same_seeds_give_the_same_record_and_rates_agree() -> None:
    np.testing.assert_array_equal(twelve_leads(7, 1, "pvc").signal, twelve_leads(7, 1, "pvc").signal)
    assert twelve_leads(7).signal.shape == (12, 5000)
    assert twelve_leads(7, rate=100).signal.shape == (12, 1000)
    np.testing.assert_allclose(twelve_leads(7, rate=100).beats, twelve_leads(7).beats / 5, atol=1)
