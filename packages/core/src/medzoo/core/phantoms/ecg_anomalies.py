"""Anomalies of electrocardiograms, each a change of the scene of a normal record; severity 0 changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from medzoo.core.phantoms.ecg_scene import QRS, Beat, Floats, P, Scene, T, scaled

Change = Callable[[Scene, np.random.Generator, float], Scene]

_ECTOPIC = (  # axis, mV, seconds, width, group; values of fecgsyn's ectopic beats
    (0, 0.65, -0.011, 0.054, QRS), (0, 0.70, 0.0, 0.080, QRS), (1, 0.35, -0.011, 0.054, QRS),
    (1, 0.55, 0.0, 0.080, QRS), (2, -0.70, 0.02, 0.060, QRS), (0, -0.35, 0.28, 0.06, T), (2, 0.35, 0.28, 0.06, T),
)  # fmt: skip
_RBBB = ((0, -0.40, 0.07, 0.020, QRS), (1, -0.05, 0.07, 0.020, QRS), (2, -0.50, 0.07, 0.020, QRS))
_LBBB = (
    (0, 0.75, -0.005, 0.028, QRS), (0, 0.85, 0.065, 0.028, QRS), (0, 0.25, 0.03, 0.04, QRS), (1, 0.25, 0.02, 0.03, QRS),
    (2, 0.35, 0.005, 0.03, QRS), (2, 0.75, 0.06, 0.03, QRS), (0, -0.30, 0.30, 0.05, T), (2, 0.30, 0.30, 0.05, T),
)  # fmt: skip


def _each(scene: Scene, change: Callable[[Beat], Beat]) -> Scene:
    return replace(scene, beats=tuple(change(beat) for beat in scene.beats))


def _with(beat: Beat, rows: tuple[tuple[float, ...], ...], gain: float = 1.0) -> Beat:
    added = np.array(rows, float)
    added[:, 1] *= gain
    return replace(beat, waves=np.concatenate([beat.waves, added]))


def _st(axis: int, millivolts: float, scene: Scene, rng: np.random.Generator, severity: float) -> Scene:
    """Shift the ST segment of every beat, from 50 to 200 ms after R."""
    size = millivolts * rng.uniform(0.8, 1.6) * severity
    bumps = tuple((axis, 0.55 * size, 0.07 + 0.033 * k, 0.024, QRS) for k in range(5))
    return _each(scene, lambda beat: _with(beat, bumps))


def _gain(group: int, factor: float, scene: Scene, rng: np.random.Generator, severity: float) -> Scene:
    """Scale the waves of a group in every beat."""
    total = 1 + (factor - 1) * severity * rng.uniform(0.8, 1.2)
    return _each(scene, lambda beat: scaled(beat, group, total))


def _block(rows: tuple[tuple[float, ...], ...], own: float, scene: Scene, rng: np.random.Generator, s: float) -> Scene:
    """Conduct every beat along another way; `own` is what remains of QRS and T."""
    remains = 1 + (own - 1) * s
    gain = s * rng.uniform(0.8, 1.2)
    return _each(scene, lambda beat: _with(scaled(scaled(beat, QRS, remains), T, remains), rows, gain))


def _early(scene: Scene, rng: np.random.Generator, count: int) -> list[int]:
    """Choose beats, not adjacent, that come too early."""
    inside = [i for i in range(1, len(scene.beats) - 1) if 1.2 < scene.beats[i].r < scene.seconds - 1.2]
    chosen: list[int] = []
    for i in rng.permutation(inside).tolist():
        if len(chosen) < count and all(abs(i - j) > 1 for j in chosen):
            chosen.append(i)
    return sorted(chosen)


def _pvc(scene: Scene, rng: np.random.Generator, severity: float) -> Scene:
    """Put one or two wide beats without a P wave in the place of normal ones, the next beat unmoved."""
    if not severity:
        return scene
    beats, spans = list(scene.beats), []
    for i in _early(scene, rng, int(rng.integers(1, 3))):
        before = beats[i - 1].r
        r = before + (1 - 0.38 * severity) * (beats[i].r - before)
        beats[i] = Beat(r, turn_waves(_ECTOPIC, rng, 20), beats[i].repolarisation)
        spans.append((r - 0.12, r + 0.45))
    return replace(scene, beats=tuple(beats), spans=tuple(spans))


def turn_waves(rows: tuple[tuple[float, ...], ...], rng: np.random.Generator, spread: float) -> Floats:
    """Return waves with heights that differ by `spread` per cent."""
    waves = np.array(rows, float)
    waves[:, 1] *= 1 + spread / 100 * rng.standard_normal(len(waves))
    return waves


def _run(scene: Scene, rng: np.random.Generator, severity: float) -> Scene:
    """Put a run of wide beats at 150 to 190 a minute into the record."""
    if not severity:
        return scene
    start = rng.uniform(1.5, 0.5 * scene.seconds)
    step, end = 60 / rng.uniform(150, 190), start + rng.uniform(1.6, 3.0) * (0.5 + 0.5 * severity)
    waves = turn_waves(_ECTOPIC, rng, 20)
    run = [Beat(float(r), waves, 0.6) for r in np.arange(start, end, step)]
    kept = [beat for beat in scene.beats if beat.r < start - 0.4 or beat.r > end + 0.4]
    return replace(scene, beats=tuple(sorted([*kept, *run], key=_time)), spans=((start - 0.15, end + 0.3),))


def _time(beat: Beat) -> float:
    return beat.r


def _apb(scene: Scene, rng: np.random.Generator, severity: float) -> Scene:
    """Let two beats come early with an altered P wave, and move what follows."""
    if not severity:
        return scene
    beats, spans = list(scene.beats), []
    for i in _early(scene, rng, 2):
        before, own = beats[i - 1].r, beats[i]
        early = 0.32 * severity * (own.r - before)
        beats[i] = scaled(replace(own, r=own.r - early), P, -0.8)
        beats[i + 1 :] = [replace(beat, r=beat.r - early) for beat in beats[i + 1 :]]
        spans.append((own.r - early - 0.22, own.r - early + 0.4))
    last = beats[-1]
    period = last.r - beats[-2].r
    while beats[-1].r < scene.seconds + 1:
        beats.append(replace(last, r=beats[-1].r + period))
    return replace(scene, beats=tuple(beats), spans=tuple(spans))


def _whole(scene: Scene) -> tuple[tuple[float, float], ...]:
    return ((0.0, scene.seconds),)


def _af(scene: Scene, rng: np.random.Generator, severity: float) -> Scene:
    """Drop P waves, draw intervals with a coefficient of variation of 0.2, and add waves of 4 to 9 Hz."""
    if not severity:
        return scene
    mean = float(np.mean(np.diff([beat.r for beat in scene.beats]))) * 0.85
    r, beats = scene.beats[0].r, list[Beat]()
    while r < scene.seconds + 1:
        rr = mean * float(np.exp(0.2 * severity * rng.standard_normal()))
        source = scene.beats[len(beats) % len(scene.beats)]
        beats.append(
            replace(scaled(source, P, 1 - severity), r=r, repolarisation=float(np.sqrt(np.clip(rr, 0.4, 1.5))))
        )
        r += max(rr, 0.33)
    time = np.arange(round(500 * scene.seconds)) / 500
    phase = 2 * np.pi * np.cumsum(rng.uniform(4, 9) + 1.2 * np.sin(2 * np.pi * 0.4 * time)) / 500
    wave = severity * rng.uniform(0.04, 0.1) * (np.sin(phase) + 0.4 * np.sin(2 * phase))
    extra = np.array([0.2, 0.7, -0.7])[:, None] * wave
    return replace(scene, beats=tuple(beats), extra=extra, spans=_whole(scene))


def _flutter(scene: Scene, rng: np.random.Generator, severity: float) -> Scene:
    """Replace P waves by a sawtooth of 5 Hz."""
    time = np.arange(round(500 * scene.seconds)) / 500
    saw = severity * rng.uniform(0.1, 0.2) * (((rng.uniform(4.7, 5.3) * time + rng.random()) % 1) - 0.5)
    changed = _each(scene, lambda beat: scaled(beat, P, 1 - severity))
    return replace(changed, extra=np.array([0.1, -1.0, 0.7])[:, None] * saw, spans=_whole(scene) if severity else ())


def _avb(scene: Scene, rng: np.random.Generator, severity: float) -> Scene:
    """Move every P wave 100 to 140 ms ahead: the PR interval of a first-degree block."""
    shift = severity * rng.uniform(0.10, 0.14)

    def earlier(beat: Beat) -> Beat:
        waves = beat.waves.copy()
        waves[waves[:, 4] == P, 2] -= shift
        return replace(beat, waves=waves)

    return _each(scene, earlier)


def _long_qt(scene: Scene, rng: np.random.Generator, severity: float) -> Scene:
    """Stretch repolarisation by 25 to 40 %."""
    factor = 1 + severity * rng.uniform(0.25, 0.4)
    return _each(scene, lambda beat: replace(beat, repolarisation=beat.repolarisation * factor))


def _lead_off(scene: Scene, rng: np.random.Generator, severity: float) -> Scene:
    """Disconnect one of V1 … V6."""
    return replace(scene, dead=(int(rng.integers(6, 12)),)) if severity else scene


ANOMALIES: dict[str, Change] = {
    "st_anterior": partial(_st, 2, -0.25),
    "st_inferior": partial(_st, 1, 0.25),
    "st_lateral": partial(_st, 0, 0.25),
    "st_depression": partial(_st, 0, -0.2),
    "pvc": _pvc,
    "vt": _run,
    "apb": _apb,
    "af": _af,
    "flutter": _flutter,
    "avb1": _avb,
    "rbbb": partial(_block, _RBBB, 1.0),
    "lbbb": partial(_block, _LBBB, 0.0),
    "lvh": partial(_gain, QRS, 1.8),
    "t_inversion": partial(_gain, T, -0.7),
    "tall_t": partial(_gain, T, 2.2),
    "long_qt": _long_qt,
    "lead_off": _lead_off,
}
KINDS = tuple(ANOMALIES)
