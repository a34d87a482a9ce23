"""Electrocardiograms of 12 leads from a moving dipole, normal ones and ones with an injected anomaly and exact truth.

Noise is added to the electrodes, so that the identities of the limb leads survive it. See `ecg_scene` and
`ecg_anomalies` for what is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medzoo.core.phantoms.ecg_anomalies import ANOMALIES
from medzoo.core.phantoms.ecg_scene import Floats, Scene, attributes, expanded, normal_scene, render


@dataclass(frozen=True)
class EcgPhantom:
    """A drawn record.

    Attributes:
        signal: `(12, n)` float32 mV.
        mask: `(12, n)` bool, where it is abnormal.
        beats: `(N,)` int64, R peaks.
        age: Years.
        sex: 0 male, 1 female.
    """

    signal: NDArray[np.float32]
    mask: NDArray[np.bool_]
    beats: NDArray[np.int64]
    age: float
    sex: int


def twelve_leads(
    patient: int, record: int = 0, kind: str = "", severity: float = 1.0, rate: float = 500.0, seconds: float = 10.0
) -> EcgPhantom:
    """Draw a record and mark where it differs from the normal record of the same seeds.

    A point of a lead is abnormal where both differ, before noise, by more than 4 % of the range of that lead in the
    normal record (at least 0.02 mV), closed over gaps of 20 ms; anomalies of rhythm mark all leads.

    Args:
        patient: Seed of age, sex, anatomy.
        record: Seed of rhythm and noise.
        kind: One of `medzoo.core.phantoms.ecg_anomalies.KINDS`, or several joined by `+`, each of which changes what
            the one before has made; empty for a normal record.
        severity: From 0 (none) to 1.
        rate: Samples a second.
        seconds: Length.
    """
    age, sex = attributes(patient)
    rng = np.random.default_rng((71, patient, record))
    normal = normal_scene(patient, rng, age, sex, seconds)
    length = round(seconds * rate)
    clean = render(normal, length, rate)
    scene, mask = normal, np.zeros(clean.shape, bool)
    if kind:
        changes = np.random.default_rng((72, patient, record))
        for name in kind.split("+"):
            changed = ANOMALIES[name](scene, changes, severity)
            scene = replace(changed, spans=(*scene.spans, *changed.spans), dead=(*scene.dead, *changed.dead))
        made = render(scene, length, rate)
        mask = _marked(made, clean, scene, rate)
        clean = made
    noise_rng = np.random.default_rng((73, patient, record))
    noisy = clean + expanded(_noise(noise_rng, length, rate))
    noisy[list(scene.dead)] = 1e-3 * noise_rng.standard_normal((len(scene.dead), length))
    beats = np.array([round(beat.r * rate) for beat in scene.beats], np.int64)
    beats = beats[(beats >= 0) & (beats < length)]
    return EcgPhantom(noisy.astype(np.float32), mask, beats, age, sex)


def _noise(rng: np.random.Generator, length: int, rate: float) -> Floats:
    """Return wander, muscle and mains of 8 electrodes, mV."""
    time = np.arange(length) / rate
    noise = rng.uniform(0.005, 0.02) * rng.standard_normal((8, length))
    for frequency in rng.uniform(0.05, 0.5, 3):
        noise += rng.uniform(0.01, 0.06, (8, 1)) * np.sin(2 * np.pi * (frequency * time + rng.random((8, 1))))
    return noise + rng.uniform(0, 0.01, (8, 1)) * np.sin(2 * np.pi * (50 * time + rng.random()))


def _marked(made: Floats, twin: Floats, scene: Scene, rate: float) -> NDArray[np.bool_]:
    """Return where two clean records differ; see `twelve_leads`."""
    from scipy import ndimage

    limit = np.maximum(0.04 * np.ptp(twin, axis=1, keepdims=True), 0.02)
    mask = np.abs(made - twin) > limit
    gap = max(3, round(0.02 * rate) | 1)
    mask = ndimage.binary_closing(np.pad(mask, ((0, 0), (gap, gap))), np.ones((1, gap)))[:, gap:-gap]
    for start, end in scene.spans:
        mask[:, max(0, round(start * rate)) : max(0, round(end * rate))] = True
    mask[list(scene.dead)] = True
    return np.asarray(mask, bool)
