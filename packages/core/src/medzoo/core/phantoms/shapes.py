"""Outlines in mm: smooth curves, tubes, ellipses, and the drawing that collects them with their attenuation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
LAYERS = ("sharp", "soft", "smooth")
"""Drawn at the image's own resolution, blurred by about a hundredth of the field, and by a thirtieth."""


@lru_cache(maxsize=256)
def _spline(controls: int, per: int, closed: bool) -> Array:
    """Matrix from control points to a Catmull-Rom curve through them, `per` points a segment."""
    t = np.arange(per)[:, None] / per
    basis = 0.5 * np.hstack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2])
    segments = controls if closed else controls - 1
    matrix = np.zeros((segments * per + (not closed), controls))
    for segment in range(segments):
        for k in range(4):
            index = segment + k - 1
            rows = matrix[segment * per : (segment + 1) * per]
            if closed or 0 <= index < controls:
                rows[:, index % controls] += basis[:, k]
            elif index < 0:  # the curve leaves its first point along the first chord
                rows[:, 0] += 2 * basis[:, k]
                rows[:, 1] -= basis[:, k]
            else:
                rows[:, -1] += 2 * basis[:, k]
                rows[:, -2] -= basis[:, k]
    if not closed:
        matrix[-1, -1] = 1.0
    matrix.setflags(write=False)
    return matrix


def curve(points: ArrayLike, per: int = 6, closed: bool = False) -> Array:
    """Smooth curve through control points, which stay points of the result (every `per`-th).

    Args:
        points: `(..., N, 2)` control points.
        per: Points per segment.
        closed: Whether the last point joins the first.

    Returns:
        `(..., M, 2)`, `M = N * per` if closed, else `(N - 1) * per + 1`.
    """
    controls = np.asarray(points, dtype=np.float64)
    return np.asarray(_spline(controls.shape[-2], per, closed) @ controls)


def _square(tangent: Array) -> Array:
    """Unit vectors square to tangents `(..., 2)`: to the right of a direction of travel on a screen with y down."""
    length = np.maximum(np.hypot(tangent[..., 0], tangent[..., 1]), 1e-9)
    square = np.empty_like(tangent)
    np.divide(tangent[..., 1], -length, out=square[..., 0])
    np.divide(tangent[..., 0], length, out=square[..., 1])
    return square


def normals(axis: Array) -> Array:
    """Unit normals `(..., N, 2)` of open lines `(..., N, 2)`, turned from x towards y by a right angle."""
    tangent = np.empty_like(axis)
    tangent[..., 1:-1, :] = axis[..., 2:, :] - axis[..., :-2, :]
    tangent[..., 0, :] = axis[..., 1, :] - axis[..., 0, :]
    tangent[..., -1, :] = axis[..., -1, :] - axis[..., -2, :]
    return _square(tangent)


@lru_cache(maxsize=256)
def taper(points: int, *knots: tuple[float, float]) -> Array:
    """Values at `points` equal steps from 0 to 1 of a line through `(place, value)` knots; read-only."""
    place, value = zip(*knots, strict=True)
    values: Array = np.interp(np.linspace(0, 1, points), place, value)
    values.setflags(write=False)
    return values


def tube(axis: Array, half_width: ArrayLike) -> Array:
    """Outline `(..., 2N, 2)` around an open axis `(..., N, 2)` with half widths that broadcast to `(..., N)`."""
    side = normals(axis) * np.asarray(half_width, dtype=np.float64)[..., None]
    return np.concatenate((axis - side, (axis + side)[..., ::-1, :]), axis=-2)


def ellipse(centre: ArrayLike, radii: ArrayLike, angle: float = 0.0, points: int = 32) -> Array:
    """Ellipses `(..., points, 2)`; `centre` and `radii` `(..., 2)` mm, `angle` in radians towards positive y."""
    turn = np.arange(points) * (2 * np.pi / points)
    local = np.asarray(radii, dtype=np.float64)[..., None, :] * np.stack((np.cos(turn), np.sin(turn)), axis=-1)
    c, s = np.cos(angle), np.sin(angle)
    placed: Array = np.asarray(centre, dtype=np.float64)[..., None, :] + local @ np.array([[c, s], [-s, c]])
    return placed


class Drawing:
    """Polygons with their attenuation, and the landmarks that ride on them, all in millimetres of the subject.

    Args:
        origin: Added to all that is drawn or marked; lets an anatomy be described from its own midline.
    """

    def __init__(self, origin: tuple[float, float] = (0.0, 0.0)) -> None:
        self.origin = np.asarray(origin, dtype=np.float64)
        self._fills: dict[str, list[tuple[Array, Array, Array]]] = {layer: [] for layer in LAYERS}
        self._marks: list[Array] = []

    def fill(self, outline: Array, weights: ArrayLike, depths: ArrayLike = 0.0, layer: str = "sharp") -> None:
        """Add bodies whose attenuation rises in steps with the depth below their outline.

        Steps at increasing depths are the projection of a round body (a rising profile) or of a bone: a bright cortical
        rim is a high step at the outline followed by a negative one where the marrow begins.

        Args:
            outline: `(..., N, 2)` closed outlines, either orientation.
            weights: Attenuation added inside each step, negative for air: `(L,)`, `(..., L)` per outline, or a number.
            depths: mm below the outline where each step begins; shaped like the weights.
            layer: One of `LAYERS`.
        """
        outlines = outline.reshape(-1, *outline.shape[-2:])
        steps = np.atleast_1d(np.asarray(weights, dtype=np.float64))
        steps = steps.reshape(-1, steps.shape[-1])
        depth = np.asarray(depths, dtype=np.float64).reshape(-1, steps.shape[1])
        number = len(outlines)
        steps = steps if len(steps) == number else steps.repeat(number, axis=0)
        depth = depth if len(depth) == number else depth.repeat(number, axis=0)
        self._fills[layer].append((outlines, steps, depth))

    def mark(self, points: ArrayLike) -> None:
        """Append landmarks `(N, 2)` or `(2,)`, in the order of the anatomy's names."""
        self._marks.append(np.asarray(points, dtype=np.float64).reshape(-1, 2))

    @property
    def landmarks(self) -> Array:
        """`(K, 2)` mm."""
        return np.concatenate(self._marks) + self.origin

    def edges(self, layer: str) -> tuple[Array, NDArray[np.intp], Array]:
        """Polygons of a layer, one for each outline and step.

        Returns:
            Vertices `(P, 2)` in mm, the index of each one's successor in its polygon, and the weight of its polygon
            (negated where the outline runs the other way round, as `raster.coverage` wants it).
        """
        fills = self._fills[layer]
        if not fills:
            return np.zeros((0, 2)), np.zeros(0, dtype=np.intp), np.zeros(0)
        points = np.concatenate([outlines.reshape(-1, 2) for outlines, _, _ in fills]) + self.origin
        size = np.concatenate([np.full(len(outlines), outlines.shape[1]) for outlines, _, _ in fills])
        start = np.cumsum(size) - size
        after = np.arange(1, len(points) + 1)
        after[start + size - 1] = start
        before = np.arange(-1, len(points) - 1)
        before[start] = start + size - 1
        turn = np.sign(np.add.reduceat(_cross(points, points[after]), start))
        inward = _square(points[after] - points[before]) * np.repeat(turn, size)[:, None]
        # Each outline once for each of its steps, moved inwards by the step's depth.
        steps = np.concatenate([np.full(len(weights), weights.shape[1]) for _, weights, _ in fills])
        owner = np.repeat(np.arange(len(size)), steps)
        count = size[owner]
        vertex = np.arange(int(count.sum()))
        shift = np.repeat(np.cumsum(count) - count - start[owner], count)  # from a vertex to the one it comes from
        source = vertex - shift
        depth = np.concatenate([depths.ravel() for _, _, depths in fills])
        weight = np.concatenate([weights.ravel() for _, weights, _ in fills]) * turn[owner]
        moved = points[source] + np.repeat(depth, count)[:, None] * inward[source]
        return moved, after[source] + shift, np.repeat(weight, count)


def _cross(a: Array, b: Array) -> Array:
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])


def mix(a: ArrayLike, b: ArrayLike, t: float) -> Array:
    """Point a share `t` of the way from `a` to `b`."""
    mixed: Array = (1.0 - t) * np.asarray(a, dtype=np.float64) + t * np.asarray(b, dtype=np.float64)
    return mixed


def moved(points: ArrayLike, right: float, down: float) -> Array:
    """Points `(..., 2)` moved by some mm towards the image's right and bottom."""
    placed: Array = np.asarray(points, dtype=np.float64) + np.array((right, down))
    return placed


def turned(points: ArrayLike, angle: float, about: ArrayLike = (0.0, 0.0)) -> Array:
    """Points `(..., 2)` turned by `angle` radians towards positive y about a centre."""
    centre = np.asarray(about, dtype=np.float64)
    c, s = np.cos(angle), np.sin(angle)
    placed: Array = (np.asarray(points, dtype=np.float64) - centre) @ np.array([[c, s], [-s, c]]) + centre
    return placed


def jitter(rng: np.random.Generator, points: Sequence[Sequence[float]] | Array, sigma: float) -> Array:
    """Points moved independently by a normal deviate of `sigma` mm along each axis, cut at two sigma."""
    base = np.asarray(points, dtype=np.float64)
    moves: Array = sigma * np.clip(rng.standard_normal(base.shape), -2.0, 2.0)
    return base + moves
