"""Pictures of manufactured surfaces and parts, each category with its own look and pose, perfect or with a defect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Look = tuple[Floats, Floats]
"""Brightness pattern in [0, 1] and coverage of the part in [0, 1]."""

DEFECTS = ("scratch", "stain", "missing", "warped")


@dataclass(frozen=True)
class TexturePhantom:
    """A picture with the exact place of its defect.

    Attributes:
        image: `(3, H, W)` float32 in [0, 1].
        mask: `(H, W)` bool, where the picture differs from a perfect one.
        category: Name in `CATEGORIES`.
        defect: Name in `DEFECTS`, empty for a perfect picture.
    """

    image: Floats
    mask: Mask
    category: str
    defect: str


@dataclass(frozen=True)
class Pose:
    """How far pictures of a category differ in pose; each is drawn evenly between minus and plus.

    Attributes:
        turn: Degrees.
        shift: Part of half a picture's side.
        zoom: Relative change of size.
    """

    turn: float = 12.0
    shift: float = 0.06
    zoom: float = 0.07


POSES = {"still": Pose(0.0, 0.0, 0.0), "near": Pose(), "free": Pose(180.0, 0.15, 0.2)}
"""Named poses: under a fixed camera, roughly placed, and lying as they fell."""


def textured(
    category: str, seed: int, size: tuple[int, int] = (128, 128), defect: str = "", pose: Pose = POSES["near"]
) -> TexturePhantom:
    """Make a picture.

    Pictures of a category differ in pose, light and grain; the same seed with and without a defect gives the same
    picture elsewhere.

    Args:
        category: Name in `CATEGORIES`.
        seed: Number of the picture.
        size: Height and width.
        defect: Name in `DEFECTS`; empty for none.
        pose: How far pictures differ in pose.

    Raises:
        ValueError: Category or defect is unknown.
    """
    if category not in CATEGORIES:
        raise ValueError(f"category must be one of {', '.join(CATEGORIES)}, got {category!r}")
    if defect and defect not in DEFECTS:
        raise ValueError(f"defect must be one of {', '.join(DEFECTS)} or empty, got {defect!r}")
    number = list(CATEGORIES).index(category)
    style = np.random.default_rng((number, 77))
    rng = np.random.default_rng((seed, number, 1))
    y, x = _placed(size, rng, pose)
    pattern, cover = CATEGORIES[category](y, x, rng)
    mask = np.zeros(size, dtype=bool)
    tint = np.zeros(size, np.float32)
    if defect:
        spoil = np.random.default_rng((seed, number, 2, DEFECTS.index(defect)))
        pattern, cover, tint, mask = _spoiled(defect, pattern, cover, spoil)
    front, dark, back = style.uniform(0.55, 0.95, 3), style.uniform(0.1, 0.4, 3), style.uniform(0.05, 0.9, 3)
    part = dark[:, None, None] + (front - dark)[:, None, None] * pattern
    image = back[:, None, None] * (1 - cover) + part * cover + tint * np.array([0.5, -0.2, -0.4])[:, None, None]
    light = rng.uniform(0.94, 1.06) + rng.uniform(-0.05, 0.05) * y + rng.uniform(-0.05, 0.05) * x
    grain = np.random.default_rng((seed, number, 3)).normal(0, 0.015, (3, *size))
    return TexturePhantom(np.clip(image * light + grain, 0, 1).astype(np.float32), mask, category, defect)


def _placed(size: tuple[int, int], rng: np.random.Generator, pose: Pose) -> tuple[Floats, Floats]:
    """Return y and x in [−1, 1] across the picture, seen from a slightly different place each time."""
    height, width = size
    v, u = np.meshgrid(
        (np.arange(height) + 0.5) / height * 2 - 1, (np.arange(width) + 0.5) / width * 2 - 1, indexing="ij"
    )
    angle, scale = np.deg2rad(rng.uniform(-pose.turn, pose.turn)), rng.uniform(1 - pose.zoom, 1 + pose.zoom)
    v, u = v + rng.uniform(-pose.shift, pose.shift), u + rng.uniform(-pose.shift, pose.shift)
    y = (np.cos(angle) * v - np.sin(angle) * u) * scale
    x = (np.sin(angle) * v + np.cos(angle) * u) * scale
    return y.astype(np.float32), x.astype(np.float32)


def _edge(distance: NDArray[np.floating]) -> Floats:
    """Return 1 inside (negative distance) and 0 outside, soft over about a pixel of 128."""
    return np.asarray(np.clip(0.5 - distance / 0.025, 0, 1), np.float32)


def _weave(y: Floats, x: Floats, rng: np.random.Generator) -> Look:
    over = np.sin(18 * x) * np.sin(18 * y) > 0
    pattern = np.where(over, np.abs(np.cos(18 * y)), np.abs(np.cos(18 * x)))
    return pattern.astype(np.float32), np.ones_like(y)


def _mesh(y: Floats, x: Floats, rng: np.random.Generator) -> Look:
    lines = np.minimum(np.abs(np.sin(11 * x)), np.abs(np.sin(11 * y)))
    return np.full_like(y, 0.8), _edge((lines - 0.25).astype(np.float32) / 8)


def _bricks(y: Floats, x: Floats, rng: np.random.Generator) -> Look:
    row = np.floor(y * 4)
    across = (x * 2 + 0.5 * (row % 2)) % 1
    joint = np.minimum(np.minimum(across, 1 - across) / 2, np.minimum(y * 4 % 1, 1 - y * 4 % 1) / 4)
    return _edge((0.03 - joint).astype(np.float32)), np.ones_like(y)


def _dots(y: Floats, x: Floats, rng: np.random.Generator) -> Look:
    near = np.hypot((x * 4) % 1 - 0.5, (y * 4) % 1 - 0.5) / 4
    return _edge((near - 0.07).astype(np.float32)), np.ones_like(y)


def _wood(y: Floats, x: Floats, rng: np.random.Generator) -> Look:
    phase = rng.uniform(0, 6)
    rings = np.sin(24 * x + 2.2 * np.sin(2.2 * y + phase) + 0.7 * np.sin(6 * y + phase))
    return (0.5 + 0.35 * rings).astype(np.float32), np.ones_like(y)


def _washer(y: Floats, x: Floats, rng: np.random.Generator) -> Look:
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    outer = 0.78 + 0.03 * np.cos(12 * angle)
    return (0.7 + 0.3 * np.cos(9 * radius)).astype(np.float32), _edge(np.maximum(radius - outer, 0.34 - radius))


def _pill(y: Floats, x: Floats, rng: np.random.Generator) -> Look:
    radius = np.hypot(np.maximum(np.abs(x) - 0.4, 0), y) - 0.38
    pattern = np.where(x > 0, 0.85, 0.35) + 0.15 * (1 - np.clip(np.abs(y) * 2, 0, 1))
    pattern = pattern * (1 - 0.7 * _edge((np.abs(np.hypot(x - 0.35, y) - 0.15) - 0.03).astype(np.float32)))
    return pattern.astype(np.float32), _edge(radius.astype(np.float32))


def _gear(y: Floats, x: Floats, rng: np.random.Generator) -> Look:
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    teeth = 0.66 + 0.1 * np.tanh(6 * np.sin(10 * angle))
    holes = np.minimum.reduce([np.hypot(x - 0.38 * np.cos(a), y - 0.38 * np.sin(a)) for a in np.arange(4) * np.pi / 2])
    shape = np.maximum.reduce([radius - teeth, 0.16 - radius, 0.11 - holes])
    return (0.6 + 0.3 * np.cos(40 * radius)).astype(np.float32), _edge(shape.astype(np.float32))


def _screw(y: Floats, x: Floats, rng: np.random.Generator) -> Look:
    head = np.maximum(np.abs(x + 0.62) - 0.16, np.abs(y) - 0.34)
    shaft = np.maximum(np.abs(x - 0.15) - 0.65, np.abs(y) - 0.17 - 0.03 * np.sin(45 * x))
    pattern = 0.6 + 0.4 * np.sin(45 * x + 6 * y) * (x > -0.42)
    return np.clip(pattern, 0, 1).astype(np.float32), _edge(np.minimum(head, shaft).astype(np.float32))


def _blister(y: Floats, x: Floats, rng: np.random.Generator) -> Look:
    plate = np.maximum(np.abs(x) - 0.85, np.abs(y) - 0.62)
    cells = np.minimum.reduce([np.hypot(x - a, y - b) for a in (-0.55, 0.0, 0.55) for b in (-0.3, 0.3)])
    pattern = np.where(cells < 0.2, 0.95 - cells * 2, 0.3)
    return np.clip(pattern, 0, 1).astype(np.float32), _edge(plate.astype(np.float32))


CATEGORIES: dict[str, Callable[[Floats, Floats, np.random.Generator], Look]] = {
    "weave": _weave,
    "mesh": _mesh,
    "bricks": _bricks,
    "dots": _dots,
    "wood": _wood,
    "washer": _washer,
    "pill": _pill,
    "gear": _gear,
    "screw": _screw,
    "blister": _blister,
}
"""Surfaces first, then parts on a background."""


def _spoiled(
    defect: str, pattern: Floats, cover: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats, Mask]:
    """Return pattern, coverage, change of colour and place of a picture with a defect that lies on the part."""
    height, width = pattern.shape
    inner = ndimage.binary_erosion(cover > 0.5, iterations=2, border_value=0)
    on_part = np.flatnonzero(inner if inner.any() else cover == cover.max())  # of a few pixels all is rim
    cy, cx = np.unravel_index(int(rng.choice(on_part)), pattern.shape)
    v, u = np.mgrid[0:height, 0:width].astype(np.float32)
    unit = min(height, width)
    radius = rng.uniform(0.05, 0.11) * unit
    wobble = ndimage.gaussian_filter(rng.standard_normal(pattern.shape), 0.03 * unit)
    distance = np.hypot(v - cy, u - cx) + 0.25 * radius * wobble / wobble.std()
    blob = np.clip((radius - distance) / 1.5 + 0.5, 0, 1).astype(np.float32)
    tint = np.zeros_like(pattern)
    if defect == "scratch":
        angle, length, curl = rng.uniform(0, np.pi), rng.uniform(0.15, 0.3) * unit, rng.uniform(-0.01, 0.01)
        along = (u - cx) * np.cos(angle) + (v - cy) * np.sin(angle)
        off = -(u - cx) * np.sin(angle) + (v - cy) * np.cos(angle) + curl * along**2
        weight = np.clip(rng.uniform(1.0, 1.8) + 0.5 - np.abs(off), 0, 1) * (np.abs(along) < length / 2)
        level = 1.0 if rng.random() < 0.5 else 0.0
        return (pattern + weight * (level - pattern)).astype(np.float32), cover, tint, (weight > 0.3) & (cover > 0.3)
    if defect == "stain":
        tint = (rng.choice([-1, 1]) * rng.uniform(0.25, 0.5) * blob * cover).astype(np.float32)
        return pattern, cover, tint, (blob > 0.5) & (cover > 0.3)
    if defect == "missing":
        mask = (blob > 0.5) & (cover > 0.3)
        if cover.min() < 0.5:  # a part loses a piece, a surface its pattern
            return pattern, cover * (1 - blob), tint, mask
        return pattern + blob * (rng.uniform(0, 1) - pattern), cover, tint, mask
    radius *= 1.5
    reach = np.clip(1 - np.hypot(v - cy, u - cx) / radius, 0, 1)
    turn = rng.choice([-1, 1]) * rng.uniform(1.2, 2.0) * reach**0.7
    rows = cy + (v - cy) * np.cos(turn) - (u - cx) * np.sin(turn)
    columns = cx + (v - cy) * np.sin(turn) + (u - cx) * np.cos(turn)
    moved = [ndimage.map_coordinates(part, [rows, columns], order=1, mode="nearest") for part in (pattern, cover)]
    changed = np.abs(moved[0] * moved[1] - pattern * cover) + np.abs(moved[1] - cover) > 0.1
    return moved[0], moved[1], tint, ndimage.binary_closing(changed, iterations=2) & (reach > 0)
