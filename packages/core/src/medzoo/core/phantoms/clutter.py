"""What lies on and around a subject: side markers, leads, a ruler. They distract detectors and mark nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from medzoo.core.phantoms.shapes import Drawing, curve, ellipse, tube

_LETTERS = {
    "L": (((0, 0), (0, 10), (5.5, 10)),),
    "R": (((0, 10), (0, 0)), ((0, 0), (3.6, 0.2), (5.4, 2.6), (3.6, 5), (0, 5.2)), ((2.6, 5.2), (6, 10))),
}


def marker(drawing: Drawing, rng: np.random.Generator, letter: str, at: ArrayLike) -> None:
    """A leaden letter of about 10 mm, turned a little, near a point in mm."""
    angle, size = rng.uniform(-0.35, 0.35), rng.uniform(0.8, 1.4)
    turn = size * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    place = np.asarray(at) + rng.uniform(-6, 6, 2)
    for stroke in _LETTERS[letter]:
        line = curve(stroke, per=4) if len(stroke) > 3 else np.array(stroke, dtype=np.float64)
        drawing.fill(tube(line @ turn + place, 0.9 * size), 2.5)


def leads(drawing: Drawing, rng: np.random.Generator, low: tuple[float, float], high: tuple[float, float]) -> None:
    """Up to three wires across a box from `low` to `high` (mm), each with a button at its end."""
    for _ in range(int(rng.integers(1, 4))):
        knots = rng.uniform(low, high, (4, 2))
        knots = knots[np.argsort(knots[:, int(rng.integers(2))])]
        drawing.fill(tube(curve(knots, per=8), 0.55), rng.uniform(0.15, 0.4))
        drawing.fill(ellipse(knots[-1], (4.5, 4.5), points=20), (0.25, 0.3), (0, 2.2))


def ruler(drawing: Drawing, rng: np.random.Generator, at: ArrayLike, length: float) -> None:
    """An upright metal scale: a bar with a tick every 5 mm."""
    x, y = np.asarray(at, dtype=np.float64) + rng.uniform(-3, 3, 2)
    ticks = np.arange(0.0, length, 5.0)
    long = np.where(np.arange(len(ticks)) % 2, 3.0, 6.0)
    box = np.array([(0.0, -0.5), (1.0, -0.5), (1.0, 0.5), (0.0, 0.5)])
    shape = (
        box * np.stack((long, np.ones_like(long)), axis=-1)[:, None]
        + np.stack((0 * ticks + x, y + ticks), axis=-1)[:, None]
    )
    drawing.fill(shape, 0.7)
    drawing.fill(np.array([(x - 1, y), (x, y), (x, y + length), (x - 1, y + length)]), 0.5)
