"""Drawn clips of a parasternal long-axis view (PLAX) with exact landmarks: a code check, never a claim about hearts.

Everything is laid out in millimetres about the long axis of the left ventricle: `s` runs along it from the mitral
annulus (0) to the apex, `u` across it, negative towards the septum and the probe. Septum and posterior wall move by
different amounts, so that no fixed line through the middle is right; their speckle moves with the wall.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medzoo.core.seeding import derive_seed

Array = NDArray[np.float64]
_GRID = 0.5  # mm, of the speckle that is fixed to tissue
_TEXTURE = 512
_CAVITY, _MUSCLE, _AROUND, _BLOOD = 0.05, 0.4, 0.25, 0.03  # echo amplitude of tissues; a border facing the probe is 1


@dataclass(frozen=True)
class Heart:
    """A drawn patient and how the probe sees it; lengths in mm, angles in radians.

    Attributes:
        radius: Largest inner radius at the end of diastole.
        length: From annulus to apex.
        septum: Thickness of the septum at the end of diastole.
        wall: Likewise of the posterior wall.
        level: Place on the axis at which is measured.
        tilt: Angle of the axis to the horizontal.
        flip: 1 where the apex is on the right, −1 on the left.
        moves: How much septum and posterior wall move inwards in systole, as shares of the radius.
        period: Frames of a cycle.
        systole: Frames of its contraction.
        first: First end of diastole.
        sway: Translation `(2,)` in mm and tilt in radians in systole.
    """

    radius: float
    length: float
    septum: float
    wall: float
    level: float
    tilt: float
    flip: int
    moves: tuple[float, float]
    period: int
    systole: int
    first: int
    sway: tuple[float, float, float]

    def contraction(self, frame: int) -> float:
        """Return 0 at the end of diastole to 1 at the end of systole, a raised cosine between."""
        place = (frame - self.first) % self.period
        share = place / self.systole if place <= self.systole else 1 + (place - self.systole) / self.diastole
        return float(0.5 - 0.5 * np.cos(np.pi * share))

    @property
    def diastole(self) -> int:
        """Frames of the filling."""
        return self.period - self.systole

    def borders(self, s: Array | float, frame: int) -> Array:
        """Return `u` of the four borders of septum and posterior wall, `(4, …)` from the right ventricle downwards."""
        c = self.contraction(frame)
        rest = self.radius * np.sqrt(np.clip(1 - (np.maximum(s, 0) / self.length) ** 2, 0, 1))
        upper, lower = (rest * (1 - move * c) for move in self.moves)
        # A wall keeps its area, so that it thickens as its radius falls.
        above, below = (
            np.sqrt(inner**2 + thick * (2 * rest + thick)) - inner
            for inner, thick in ((upper, self.septum), (lower, self.wall))
        )
        return np.stack([-upper - above, -upper, lower, lower + below])

    def pose(self, frame: int) -> tuple[Array, Array, Array]:
        """Return the annulus, the direction along the axis and that across it, each `(2,)` (x, y), of a frame.

        The annulus is relative to the middle of the picture.
        """
        c = self.contraction(frame)
        angle = self.tilt + self.sway[2] * c
        along = np.array([self.flip * np.cos(angle), np.sin(angle)])
        across = np.array([-self.flip * np.sin(angle), np.cos(angle)])
        return c * np.array(self.sway[:2]) - self.level * along, along, across


@dataclass(frozen=True)
class PlaxPhantom:
    """A drawn clip.

    Attributes:
        clip: `(T, H, W)` float32 in [0, 1].
        spacing: mm per pixel along x, y.
        rate: Frames a second.
        keys: Key frames, an end of diastole and the end of systole after it.
        points: `(2, 4, 2)` float64 (x, y) in pixels at the key frames: the borders of septum and posterior wall on the
            perpendicular to the axis at the heart's level.
        heart: What was drawn.
    """

    clip: NDArray[np.float32]
    spacing: tuple[float, float]
    rate: float
    keys: tuple[int, int]
    points: Array
    heart: Heart


def draw_heart(rng: np.random.Generator, frames: int) -> Heart:
    """Draw a patient whose clip of so many frames, at least 24, has both key frames away from its ends and middle."""
    period = int(rng.integers(20, min(45, frames - 3) + 1))
    systole = round(period * rng.uniform(0.33, 0.45))
    candidates = [
        first
        for first in range(2, frames - systole - 2)
        if abs(first - frames // 2) > 1 and abs(first + systole - frames // 2) > 1
    ]
    radius = rng.uniform(18, 29)
    return Heart(
        radius=radius,
        length=rng.uniform(70, 95),
        septum=rng.uniform(7, 13),
        wall=rng.uniform(7, 12),
        level=rng.uniform(8, 20),
        tilt=np.deg2rad(rng.uniform(-25, 25)),
        flip=int(rng.choice([-1, 1])),
        moves=(rng.uniform(0.18, 0.32), rng.uniform(0.27, 0.43)),
        period=period,
        systole=systole,
        first=int(rng.choice(candidates)),
        sway=(rng.uniform(-4, 4), rng.uniform(-4, 4), np.deg2rad(rng.uniform(-6, 6))),
    )


def plax_clip(
    seed: tuple[int, ...], size: tuple[int, int] = (96, 96), frames: int = 48, noise: bool = True
) -> PlaxPhantom:
    """Draw a patient's clip.

    Args:
        seed: Non-negative integers; another seed is another patient.
        size: Height and width in pixels.
        frames: Frames of the clip, at least 24.
        noise: Draw speckle, drop-out and shadows; otherwise the layers of tissue alone, for tests of geometry.
    """
    rng = np.random.default_rng(derive_seed(83, *seed))
    heart = draw_heart(rng, frames)
    height, width = size
    dy = rng.uniform(105, 140) / height
    spacing = (float(dy * rng.uniform(0.85, 1.2) * height / width), float(dy))
    middle = np.array([(width - 1) / 2, (height - 1) / 2]) + rng.uniform(-0.05, 0.05, 2) * (width, height)
    scene = _Scene(rng, heart, size, spacing, middle)
    keys = heart.first, heart.first + heart.systole
    clip = scene.render(frames) if noise else np.stack([scene.layers(frame) for frame in range(frames)])
    points = np.stack([scene.landmarks(frame) for frame in keys])
    return PlaxPhantom(
        clip.astype(np.float32), spacing, float(heart.period / rng.uniform(0.7, 1.1)), keys, points, heart
    )


class _Scene:
    """A heart in front of a probe, whose sector has its tip above the middle of the picture."""

    def __init__(
        self, rng: np.random.Generator, heart: Heart, size: tuple[int, int], spacing: tuple[float, float], middle: Array
    ) -> None:
        self.rng, self.heart, self.spacing, self.middle = rng, heart, np.array(spacing), middle
        y, x = np.mgrid[: size[0], : size[1]].astype(float)
        self.place = np.stack([x, y], axis=-1) * self.spacing  # (H, W, 2) mm
        tip = np.array([(size[1] - 1) / 2 * spacing[0], -6.0])
        ray = self.place - tip
        self.depth = np.linalg.norm(ray, axis=-1)
        self.beam = ray / self.depth[..., None]
        self.angle = np.arctan2(ray[..., 0], ray[..., 1])
        self.sector = np.abs(self.angle) < np.deg2rad(rng.uniform(75, 90)) / 2
        self.right = rng.uniform(15, 25)  # mm, width of the right ventricle
        self.gap = rng.uniform(2, 5)  # mm from the posterior wall to the bright pericardium
        self.muscle = rng.uniform(0.45, 0.65) * heart.length, rng.uniform(0.5, 0.7)  # papillary: s, share of radius
        texture = rng.normal(size=(2, _TEXTURE, _TEXTURE))
        self.texture = texture[0] + 1j * texture[1]

    def coordinates(self, frame: int) -> tuple[Array, Array]:
        """Return `s` and `u` of each pixel."""
        start, along, across = self.heart.pose(frame)
        offset = self.place - (self.middle * self.spacing + start)
        return offset @ along, offset @ across

    def landmarks(self, frame: int) -> Array:
        """Return the four points `(4, 2)` in pixels."""
        start, along, across = self.heart.pose(frame)
        u = self.heart.borders(self.heart.level, frame)
        mm = start + self.heart.level * along + u[:, None] * across
        pixels: Array = mm / self.spacing + self.middle
        return pixels

    def layers(self, frame: int) -> Array:
        """Return the mean echo amplitude of each pixel by tissue, its borders two pixels wide."""
        heart = self.heart
        s, u = self.coordinates(frame)
        outer_s, inner_s, inner_p, outer_p = heart.borders(s, frame)
        soft = 2 * float(self.spacing.mean())
        below = [
            (outer_s - self.right, _BLOOD - _AROUND),
            (outer_s, _MUSCLE - _BLOOD),
            (inner_s, _CAVITY - _MUSCLE),
            (inner_p, _MUSCLE - _CAVITY),
            (outer_p, _AROUND - _MUSCLE),
        ]
        out = np.full_like(u, _AROUND)
        for border, change in below:
            out += change * np.clip(0.5 + (u - border) / soft, 0, 1)
        return out

    def amplitude(self, frame: int) -> Array:
        """Add what shines: borders that face the probe, the pericardium, papillary muscle and mitral leaflets."""
        heart, c = self.heart, self.heart.contraction(frame)
        s, u = self.coordinates(frame)
        outer_s, inner_s, inner_p, outer_p = heart.borders(s, frame)
        out = self.layers(frame)
        _, _, across = heart.pose(frame)
        facing = (self.beam @ across) ** 2
        for border, strength in ((outer_s, 0.6), (inner_s, 0.8), (inner_p, 0.8), (outer_p + self.gap, 1.3)):
            out += strength * facing * np.exp(-0.5 * ((u - border) / 0.7) ** 2)
        out += 0.5 * np.exp(-(((s - self.muscle[0]) / 7) ** 2) - (((u - self.muscle[1] * inner_p) / 4) ** 2))
        # Leaflets from the annulus to tips before the level of measurement, open in diastole.
        opened = 0.1 + 0.5 * (1 - c) ** 2
        for border, sign in ((-inner_s, -1), (inner_p, 1)):
            share = np.clip(s / (heart.level - 3), 0, 1)
            leaf = sign * border * ((1 - share) * 0.95 + share * opened)
            out += 0.7 * (np.abs(s - heart.level / 2) < heart.level / 2 - 3) * np.exp(-0.5 * ((u - leaf) / 0.9) ** 2)
        return out

    def render(self, frames: int) -> NDArray[np.float32]:
        """Draw speckle that moves with the tissue, as the probe blurs it, log-compressed."""
        heart, rng = self.heart, self.rng
        fields = np.empty((frames, *self.depth.shape), np.complex64)
        for frame in range(frames):
            s, u = self.coordinates(frame)
            _, inner_s, inner_p, _ = heart.borders(s, frame)
            rest = heart.borders(s, heart.first)
            # Depth in the tissue as at the end of diastole: walls keep their distance from the moving inner border.
            material = np.where(u < inner_s, u - inner_s + rest[1], np.where(u > inner_p, u - inner_p + rest[2], u))
            grid = np.stack([s, material]) / _GRID
            noise = ndimage.map_coordinates(self.texture, grid, order=1, mode="grid-wrap")
            fields[frame] = noise * self.amplitude(frame)
        axial = 0.7 / self.spacing[1]
        near, far = (
            ndimage.gaussian_filter(fields, (0, axial, factor * 0.7 / self.spacing[0])) for factor in (1.5, 3.0)
        )
        blend = np.clip(self.depth / self.depth.max(), 0, 1)
        envelope = np.abs(near * (1 - blend) + far * blend)
        if rng.random() < 0.2:  # a rib's shadow
            at, half = np.deg2rad(rng.uniform(-35, 35)), np.deg2rad(rng.uniform(3, 6))
            envelope *= 1 - 0.9 * np.exp(-(((self.angle - at) / half) ** 4))
        gain = rng.uniform(-4, 4) + rng.uniform(-6, 6) * (blend - 0.5)  # dB
        decibels = 20 * np.log10(envelope / np.quantile(envelope, 0.995) + 1e-6) + gain
        out: NDArray[np.float32] = (np.clip(1 + decibels / rng.uniform(45, 65), 0, 1) * self.sector).astype(np.float32)
        return out
