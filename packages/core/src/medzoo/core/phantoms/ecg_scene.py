"""What synthetic electrocardiograms are drawn from: a moving dipole, a rhythm, and a matrix to 12 leads.

The dipole is a sum of Gaussians in time about each R peak (Sameni et al., EURASIP J. Adv. Signal Process. 2007, after
McSharry et al., IEEE Trans. Biomed. Eng. 50(3), 2003, whose rhythm is used too); Dower's matrix makes leads of it.
P waves are larger and the ST segment flatter than with the published values, so that neither drowns in noise nor looks
elevated; each subject has an own matrix and parts that no dipole makes, so that 12 leads are not of rank 3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
P, QRS, T = 0, 1, 2
"""Groups of waves."""

_X = (
    (-1.09, -0.83, -0.19, -0.07, 0, 0.06, 0.22, 1.42, 1.68),
    (0.09, 0.16, -0.13, 0.85, 1.11, 0.75, 0.06, 0.17, 0.39),
    (0.0906, 0.1057, 0.0453, 0.0378, 0.0332, 0.0302, 0.0378, 0.302, 0.1812),
)
_Y = (
    (-1.1, -0.9, -0.11, -0.01, 0.065, 1.58),
    (0.08, 0.06, 0.32, 0.51, -0.32, 0.10),
    (0.07, 0.07, 0.055, 0.037, 0.0604, 0.3),
)
_Z = (
    (-1.1, -0.93, -0.4, -0.15, 0.095, 1.3, 1.55),
    (-0.03, -0.08, 0.02, -0.4, 0.46, -0.16, -0.33),
    (0.03, 0.12, 0.1, 0.045, 0.05, 0.28, 0.2),
)
_DOWER = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)  # I, II, V1 … V6 from x (left), y (down), z (back)


def _waves() -> Floats:
    """Return `(K, 5)`: axis, mV, seconds from R, width in seconds, group."""
    rows = []
    for axis, (theta, alpha, width) in enumerate((_X, _Y, _Z)):
        for angle, height, spread in zip(theta, alpha, width, strict=True):
            seconds = angle / (2 * np.pi)
            group = P if seconds < -0.09 else QRS if seconds < 0.1 else T
            rows.append((axis, height * (0.75 if group == T else 1.0), seconds, spread / (2 * np.pi), group))
    return np.array(rows)


WAVES = _waves()


@dataclass(frozen=True)
class Beat:
    """A heart beat: when, and its waves; times of T waves are stretched by `repolarisation`."""

    r: float
    waves: Floats
    repolarisation: float = 1.0


@dataclass(frozen=True)
class Scene:
    """What a record is drawn from.

    Attributes:
        beats: In order.
        matrix: `(8, 3)` from the dipole to I, II, V1 … V6.
        local: `(8, 2)` mV that no dipole makes, with QRS and T.
        seconds: Length.
        extra: `(3, n)` dipole beside the beats at 500 Hz; None for none.
        spans: Seconds (from, to) in which all leads count as abnormal, whatever the difference to the normal twin.
        dead: Leads without signal.
    """

    beats: tuple[Beat, ...]
    matrix: Floats
    local: Floats
    seconds: float
    extra: Floats | None = None
    spans: tuple[tuple[float, float], ...] = ()
    dead: tuple[int, ...] = ()


def attributes(patient: int) -> tuple[float, int]:
    """Return age in years and sex (0 male, 1 female) of a patient."""
    rng = np.random.default_rng((70, patient))
    return round(float(np.clip(rng.normal(57, 17), 18, 95)), 1), int(rng.random() < 0.5)


def normal_scene(patient: int, rng: np.random.Generator, age: float, sex: int, seconds: float) -> Scene:
    """Draw anatomy from the patient, rhythm from the record.

    Voltage falls by 0.4 % a year about 50 and is 12 % lower in women; QT grows by 0.1 % a year and is 4 % longer in
    women.
    """
    own = np.random.default_rng((74, patient))
    turn = _rotation(own.uniform(-15, 15, 3))
    matrix = _DOWER * (1 + 0.08 * own.standard_normal(_DOWER.shape)) + 0.02 * own.standard_normal(_DOWER.shape)
    waves = WAVES.copy()
    waves[:, 1] *= 1 + 0.08 * own.standard_normal(len(waves))
    waves[:, 3] *= 1 + 0.05 * own.standard_normal(len(waves))
    gain = own.uniform(0.75, 1.25) * (1 - 0.004 * (age - 50)) * (1 - 0.12 * sex)
    waves[waves[:, 4] == QRS, 1] *= gain
    waves[waves[:, 4] == T, 1] *= own.uniform(0.7, 1.25)
    waves[waves[:, 4] == P, 1] *= own.uniform(0.8, 1.2)
    waves[waves[:, 4] == P, 2] += own.normal(0, 0.01)
    stretch = (1 + 0.001 * (age - 50)) * (1 + 0.04 * sex) * own.uniform(0.97, 1.03)
    local = np.column_stack([0.08 * own.standard_normal(8), 0.03 * own.standard_normal(8)])
    rate = own.uniform(55, 95) + rng.normal(0, 3)
    peaks = rhythm(rng, rate, seconds)
    breath, drift = rng.uniform(0, 2 * np.pi, 2)
    beats = []
    for r, rr in zip(peaks[1:], np.diff(peaks), strict=True):
        each = waves.copy()
        each[:, 1] *= 1 + 0.02 * rng.standard_normal(len(each))
        each[each[:, 4] == T, 1] *= 1 + 0.05 * np.sin(2 * np.pi * 0.1 * r + drift)
        tilt = _rotation(3.0 * np.sin(2 * np.pi * 0.25 * r + breath) * np.array([1.0, 0.5, 0.0]))
        beats.append(Beat(float(r), turned(each, tilt @ turn), stretch * np.sqrt(np.clip(rr, 0.4, 1.5))))
    return Scene(tuple(beats), matrix, local, seconds)


def rhythm(rng: np.random.Generator, rate: float, seconds: float, spread: float = 3.0) -> Floats:
    """Return R times about a mean rate, from before the record to after it.

    Intervals follow the two-peaked spectrum of McSharry et al. (0.1 Hz, and breathing at 0.25 Hz, twice as strong).

    Args:
        rng: Source of phases.
        rate: Beats a minute.
        seconds: Length of the record.
        spread: Standard deviation of the rate, beats a minute.
    """
    phase = rng.uniform(0, 2 * np.pi, 2)
    times = [-2.0 + rng.uniform(0, 60 / rate)]
    while times[-1] < seconds + 1.5:
        wave = np.sqrt(1 / 3) * np.sin(2 * np.pi * 0.1 * times[-1] + phase[0])
        wave += np.sqrt(2 / 3) * np.sin(2 * np.pi * 0.25 * times[-1] + phase[1])
        times.append(times[-1] + 60 / rate * (1 + np.sqrt(2) * spread / rate * wave + 0.005 * rng.standard_normal()))
    return np.array(times)


def turned(waves: Floats, rotation: Floats) -> Floats:
    """Return waves about turned axes, three for each."""
    parts = []
    for axis in range(3):
        part = waves.copy()
        part[:, 1] = waves[:, 1] * rotation[axis, waves[:, 0].astype(int)]
        part[:, 0] = axis
        parts.append(part)
    return np.concatenate(parts)


def render(scene: Scene, length: int, rate: float) -> Floats:
    """Draw a scene without noise: `(12, length)` mV, in the order of `LEADS`; Einthoven's identities are exact."""
    dipole, own = np.zeros((3, length)), np.zeros((2, length))
    for beat in scene.beats:
        rows = [*beat.waves.tolist(), (-1, 1.0, 0.02, 0.012, QRS), (-2, 1.0, 0.26, 0.035, T)]
        for axis, height, delay, width, group in rows:
            stretch = beat.repolarisation if group == T else 1.0
            middle, spread = (beat.r + delay * stretch) * rate, width * (stretch if group == T else 1.0) * rate
            first, last = max(0, int(middle - 4 * spread)), min(length, int(middle + 4 * spread) + 2)
            if first < last:
                bump = height * np.exp(-0.5 * ((np.arange(first, last) - middle) / spread) ** 2)
                (dipole[int(axis)] if axis >= 0 else own[int(-1 - axis)])[first:last] += bump
    if scene.extra is not None:
        at = np.arange(length) / rate * 500
        dipole += np.array([np.interp(at, np.arange(scene.extra.shape[1]), row) for row in scene.extra])
    return expanded(scene.matrix @ dipole + scene.local @ own)


def expanded(eight: Floats) -> Floats:
    """Return 12 leads of I, II, V1 … V6."""
    one, two = eight[0], eight[1]
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return np.concatenate([np.array(limb), eight[2:]])


def _rotation(degrees: Floats) -> Floats:
    """Return a rotation about x, then y, then z."""
    turn = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        a, b = [i for i in range(3) if i != axis]
        step = np.eye(3)
        step[a, a] = step[b, b] = np.cos(angle)
        step[a, b], step[b, a] = -np.sin(angle), np.sin(angle)
        turn = step @ turn
    return turn


def scaled(beat: Beat, group: int, factor: float) -> Beat:
    """Return a beat with the waves of a group larger or smaller."""
    waves = beat.waves.copy()
    waves[waves[:, 4] == group, 1] *= factor
    return replace(beat, waves=waves)
