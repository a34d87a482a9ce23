"""Fourteen findings, drawn into the built-in chest radiographs with a side and a severity."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medzoo.core.phantoms.radiographs import radiograph

Floats = NDArray[np.float64]
SEVERITIES = ("mild", "moderate", "severe")


@dataclass(frozen=True)
class Kind:
    """A finding that can be drawn.

    Attributes:
        share: Part of the patients that have it.
        sided: Whether it lies on one side.
        draw: Draws it.
    """

    share: float
    sided: bool
    draw: Callable[[_Canvas], None]


@dataclass(frozen=True)
class Finding:
    """A finding of one patient.

    Attributes:
        name: A key of `FINDINGS`.
        side: `left` or `right`, of the patient, whose right lies at the image's left; empty where it has none.
        severity: One of `SEVERITIES`.
    """

    name: str
    side: str
    severity: str


class _Canvas:
    """An image with the places of the lungs, in units of their height.

    Args:
        image: `(H, W)`, which is drawn into.
        lungs: `(2, 3, 2)`, of the right and the left lung: apex, costophrenic and cardiophrenic angle, in pixels.
        side: 0 for the right lung, 1 for the left.
        strength: 0.7 (mild) to 1.3 (severe).
        rng: Source of the details.
    """

    def __init__(self, image: Floats, lungs: Floats, side: int, strength: float, rng: np.random.Generator) -> None:
        self.image, self.lungs, self.side, self.strength, self.rng = image, lungs, side, strength, rng
        self.y, self.x = (axis.astype(np.float64) for axis in np.mgrid[: image.shape[0], : image.shape[1]])
        self.unit = float(np.mean(lungs[:, 1, 1] - lungs[:, 0, 1]))

    def at(self, across: float, down: float, side: int | None = None) -> tuple[float, float]:
        """Return a point of a lung: 0 to 1 from the midline's border to the wall, and from apex to base."""
        apex, wall, inner = self.lungs[self.side if side is None else side]
        low, high = inner[0], wall[0]
        return float(low + across * (high - low)), float(apex[1] + down * (wall[1] - apex[1]))

    def far(self, centre: tuple[float, float], radii: tuple[float, float], turn: float = 0.0) -> Floats:
        """Return the distance of all pixels from a centre, in radii that are given in lung heights."""
        dx, dy = (self.x - centre[0]) / self.unit, (self.y - centre[1]) / self.unit
        along, across = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        found: Floats = np.hypot(along / radii[0], across / radii[1])
        return found

    def paint(self, cover: Floats, level: float) -> None:
        """Let a level show through where `cover`, 0 to 1, says so."""
        cover = np.clip(cover, 0, 1)
        self.image[:] = self.image * (1 - cover) + level * cover

    def disc(self, centre: tuple[float, float], radii: tuple[float, float], soft: float, turn: float = 0.0) -> Floats:
        """Return the cover of an ellipse whose border is `soft` radii wide."""
        found: Floats = np.clip((1 - self.far(centre, radii, turn)) / soft + 0.5, 0, 1)
        return found


def _effusion(c: _Canvas) -> None:
    inner, wall = c.at(-0.1, 1)[0], c.at(1.15, 1)[0]
    across = np.clip((c.x - inner) / (wall - inner), 0, 1)
    within = (c.x - inner) * np.sign(wall - inner) >= 0
    height = c.unit * (0.1 + 0.2 * c.strength) * (0.6 + 0.9 * across**3)
    level = c.at(0, 1)[1] + 0.05 * c.unit - height
    inside = within & ((wall - c.x) * np.sign(wall - inner) >= 0) & (c.y < c.at(0, 1)[1] + 0.15 * c.unit)
    c.paint(np.clip((c.y - level) / 3 + 0.5, 0, 1) * inside * 0.85, 0.85)


def _pneumothorax(c: _Canvas) -> None:
    depth = 0.12 + 0.16 * c.strength
    lung = c.disc(c.at(0.45, 0.52), (0.3, 0.54), 0.08)
    shrunk = c.disc(c.at(0.45 - 0.75 * depth, 0.52 + 0.45 * depth), (0.3 - 0.45 * depth, 0.54 - 0.35 * depth), 0.08)
    c.paint(np.clip(lung - shrunk, 0, 1) * (c.y < c.at(0, 0.75)[1]) * 0.85, 0.02)
    edge = np.exp(-(((shrunk - 0.5) / 0.45) ** 2)) * (c.y < c.at(0, 0.75)[1]) * lung
    c.paint(0.5 * edge, 0.8)


def _cardiomegaly(c: _Canvas) -> None:
    middle = (c.lungs[0, 2] + c.lungs[1, 2]) / 2
    wide = 0.27 + 0.12 * c.strength
    centre = (float(middle[0] + 0.08 * c.unit), float(middle[1] - 0.16 * c.unit))
    c.paint(0.8 * c.disc(centre, (wide, 0.22 + 0.05 * c.strength), 0.12, 0.4), 0.8)


def _consolidation(c: _Canvas) -> None:
    grain = ndimage.gaussian_filter(c.rng.normal(size=c.image.shape), 0.03 * c.unit)
    far = c.far(c.at(c.rng.uniform(0.35, 0.65), c.rng.uniform(0.3, 0.65)), (0.15, 0.19), c.rng.uniform(-0.6, 0.6))
    cloud = np.clip(1.15 - far / (0.75 + 0.35 * c.strength) + 0.35 * grain / grain.std() * (far < 1.6), 0, 1)
    c.paint((0.35 + 0.3 * c.strength) * cloud, 0.85)


def _atelectasis(c: _Canvas) -> None:
    for step in range(2 if c.strength < 1.2 else 3):
        centre = c.at(c.rng.uniform(0.4, 0.55), 0.9 - 0.11 * step)
        bar = c.disc(centre, (0.2, 0.018 + 0.008 * c.strength), 0.6, c.rng.uniform(-0.12, 0.12))
        c.paint(0.75 * bar, 0.95)


def _round(c: _Canvas, radius: float, cover: float, level: float) -> None:
    centre = c.at(c.rng.uniform(0.3, 0.75), c.rng.uniform(0.22, 0.75))
    c.paint(cover * c.disc(centre, (radius, radius), 0.35), level)


def _nodule(c: _Canvas) -> None:
    _round(c, 0.045 + 0.012 * c.strength, 0.8, 0.8)


def _mass(c: _Canvas) -> None:
    _round(c, 0.1 + 0.04 * c.strength, 0.85, 0.85)


def _granuloma(c: _Canvas) -> None:
    _round(c, 0.03 + 0.006 * c.strength, 1.0, 1.2)


def _edema(c: _Canvas) -> None:
    for side in (0, 1):
        far = c.far(c.at(0.2, 0.5, side), (0.2, 0.3))
        c.paint((0.3 + 0.25 * c.strength) * np.exp(-(far**2)), 0.85)


def _emphysema(c: _Canvas) -> None:
    for side in (0, 1):
        c.paint((0.45 + 0.25 * c.strength) * c.disc(c.at(0.45, 0.5, side), (0.27, 0.55), 0.3), 0.03)


def _fibrosis(c: _Canvas) -> None:
    noise = c.rng.normal(size=c.image.shape)
    lines = ndimage.gaussian_filter(noise, 0.014 * c.unit) - ndimage.gaussian_filter(noise, 0.03 * c.unit)
    where = np.zeros_like(c.image)
    for side in (0, 1):
        where += np.clip(1.5 - c.far(c.at(0.5, 0.75, side), (0.3, 0.35)), 0, 1)
    c.image += 0.16 * c.strength * lines / lines.std() * where


def _pacemaker(c: _Canvas) -> None:
    x, y = c.at(0.72, 0.1)
    box = np.maximum(np.abs(c.x - x) / (0.1 * c.unit), np.abs(c.y - y) / (0.075 * c.unit)) < 1
    c.paint(box * 1.0, 1.0)
    end = c.at(0.1, 0.85, 1)
    for share in np.linspace(0, 1, 60):
        bend = np.sin(np.pi * share) * 0.12 * c.unit
        point = (x + (end[0] - x) * share, y + (end[1] - y) * share - bend)
        c.paint(1.0 * (np.hypot(c.x - point[0], c.y - point[1]) < 0.6), 1.0)


def _hernia(c: _Canvas) -> None:
    middle = (c.lungs[0, 2] + c.lungs[1, 2]) / 2
    centre = (float(middle[0]), float(middle[1] - 0.05 * c.unit))
    radius = 0.11 + 0.03 * c.strength
    c.paint(0.9 * c.disc(centre, (radius, radius), 0.2), 0.95)
    c.paint(0.95 * c.disc(centre, (0.65 * radius, 0.65 * radius), 0.3) * (c.y < centre[1] + 0.02 * c.unit), 0.05)


def _fracture(c: _Canvas) -> None:
    x, y = c.at(0.95, c.rng.uniform(0.35, 0.7))
    for shift, level in ((-0.035, 1.0), (0.0, 0.0), (0.035, 1.0)):
        bar = c.disc((x, y + shift * c.unit * (0.8 + 0.3 * c.strength)), (0.075, 0.02), 0.5, 0.5 if c.side else -0.5)
        c.paint(0.9 * bar, level)


FINDINGS: dict[str, Kind] = {
    "pleural effusion": Kind(0.2, True, _effusion),
    "cardiomegaly": Kind(0.2, False, _cardiomegaly),
    "consolidation": Kind(0.16, True, _consolidation),
    "pneumothorax": Kind(0.14, True, _pneumothorax),
    "atelectasis": Kind(0.14, True, _atelectasis),
    "lung nodule": Kind(0.14, True, _nodule),
    "pulmonary edema": Kind(0.1, False, _edema),
    "emphysema": Kind(0.1, False, _emphysema),
    "pulmonary fibrosis": Kind(0.1, False, _fibrosis),
    "lung mass": Kind(0.08, True, _mass),
    "pacemaker": Kind(0.08, True, _pacemaker),
    "hiatal hernia": Kind(0.03, False, _hernia),
    "calcified granuloma": Kind(0.025, True, _granuloma),
    "rib fracture": Kind(0.02, True, _fracture),
}
"""What can be drawn, in the order of classes; the last three are rare."""

DIAGNOSES: dict[str, Callable[[Collection[str]], bool]] = {
    "heart failure": lambda has: "cardiomegaly" in has or "pulmonary edema" in has,
    "malignancy": lambda has: "lung mass" in has or ("lung nodule" in has and "calcified granuloma" not in has),
    "infection": lambda has: "consolidation" in has and "lung mass" not in has,
    "chronic lung disease": lambda has: "emphysema" in has or "pulmonary fibrosis" in has,
}
"""What follows from the findings, by rules made up for tests of models that reason; no report names it."""


def draw_findings(rng: np.random.Generator) -> tuple[Finding, ...]:
    """Draw which findings a patient has, each by its share, with side and severity."""
    has = rng.random(len(FINDINGS)) < [kind.share for kind in FINDINGS.values()]
    sides, grades = rng.integers(2, size=len(FINDINGS)), rng.integers(3, size=len(FINDINGS))
    return tuple(
        Finding(name, ("right", "left")[side] if kind.sided else "", SEVERITIES[grade])
        for (name, kind), yes, side, grade in zip(FINDINGS.items(), has, sides, grades, strict=True)
        if yes
    )


def chest_radiograph(findings: Sequence[Finding], seed: tuple[int, ...], pixels: int) -> NDArray[np.float32]:
    """Draw a chest `(pixels, pixels)` in [0, 1] with findings.

    The same seed gives the same subject and exposure, with and without findings.

    Args:
        findings: What is to be seen.
        seed: Integers >= 0.
        pixels: Height and width.
    """
    chest = radiograph("chest", seed, pixels)
    image = chest.image.astype(np.float64)
    lungs = chest.landmarks.reshape(2, 3, 2)
    names = list(FINDINGS)
    for finding in findings:
        rng = np.random.default_rng((*seed, 1 + names.index(finding.name)))
        strength = 0.7 + 0.3 * SEVERITIES.index(finding.severity)
        FINDINGS[finding.name].draw(_Canvas(image, lungs, int(finding.side == "left"), strength, rng))
    return np.clip(image, 0, 1).astype(np.float32)
