"""From a drawing in mm to a radiograph: pose, smooth warp, attenuation, scatter, noise, exposure, collimation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from medzoo.core.phantoms.raster import coverage
from medzoo.core.phantoms.shapes import Array, Drawing, turned

Image = NDArray[np.float32]

LEVELS = 4095
_BLOCK = 16  # samples interpolated at once
GRID = {"soft": 80, "smooth": 40}
"""Side of the grid on which a blurred layer is drawn, so that its blur is a fixed share of the field at every size."""


@dataclass(frozen=True)
class Setup:
    """How an anatomy is commonly imaged, and how much that varies.

    Args:
        field: Width and height of the field in mm.
        window: Shares of the field that are shown as black and not yet as white, before the exposure's variation.
        rotation: Largest tilt of the subject in radians.
        scale: Largest relative deviation of its size.
        shift: Largest displacement as a share of the field.
        warp: Standard amplitude of a wave of the smooth deformation, as a share of the field.
        haze: Share of scattered radiation, smallest and largest.
        noise: Relative deviation of one pixel's dose, smallest and largest.
        shutter: Probability that the collimator's edges are in the picture.
    """

    field: tuple[float, float]
    window: tuple[float, float]
    rotation: float = 0.16
    scale: float = 0.09
    shift: float = 0.07
    warp: float = 0.008
    haze: tuple[float, float] = (0.05, 0.25)
    noise: tuple[float, float] = (0.01, 0.03)
    shutter: float = 0.4


class Pose:
    """A smooth warp between subjects, then similarity, shear and a slight perspective: the map from drawing to frame.

    All points of a drawing and all its landmarks go through this one map, so landmarks stay exact.

    Args:
        rng: Draws the parameters.
        setup: Their ranges.
        landmarks: `(K, 2)` mm; the pose is shifted (and shrunk if need be) to keep them inside the frame.
    """

    margin = 0.03

    def __init__(self, rng: np.random.Generator, setup: Setup, landmarks: Array) -> None:
        self.field = np.array(setup.field) * rng.uniform(0.96, 1.04)  # mm; the film's side varies a little
        side = float(np.mean(setup.field))
        self.centre = 0.5 * np.array(setup.field)
        bearing = rng.uniform(0, 2 * np.pi, 4)
        cycles = rng.uniform(0.3, 1.1, 4)
        self.wave = 2 * np.pi * cycles * np.stack((np.cos(bearing), np.sin(bearing))) / side  # (2, 4)
        self.phase = rng.uniform(0, 2 * np.pi, 4)
        self.amplitude = (setup.warp * side * np.clip(rng.standard_normal((4, 2)), -2, 2)).astype(np.float32)
        angle = rng.uniform(-setup.rotation, setup.rotation)
        stretch = 1 + rng.uniform(-0.03, 0.03)
        shear = rng.uniform(-0.04, 0.04)
        self.matrix = np.array([[stretch, shear], [0.0, 1 / stretch]]) @ turned(np.eye(2), angle)
        self.matrix *= 1 + rng.uniform(-setup.scale, setup.scale)
        self.tilt = rng.uniform(-0.06, 0.06, 2) / side
        self.move = rng.uniform(-setup.shift, setup.shift, 2)
        self._keep_inside(landmarks)

    def _keep_inside(self, landmarks: Array) -> None:
        placed = self(landmarks)
        extent = (placed.max(axis=0) - placed.min(axis=0)).max()
        if extent > 1 - 2 * self.margin:
            self.matrix *= 0.999 * (1 - 2 * self.margin) / extent
            placed = self(landmarks)
        low, high = placed.min(axis=0) - self.margin, placed.max(axis=0) + self.margin - 1
        self.move -= np.minimum(low, 0) + np.maximum(high, 0)

    def __call__(self, points: Array) -> Array:
        """Shares of the frame `(P, 2)`, 0 at its left or upper border and 1 at the other, of points in mm."""
        angle = points @ self.wave + self.phase
        # Sines in single precision are exact to 1e-6 mm, the same for drawing and landmarks, and much faster.
        warped = points - self.centre + np.sin(angle.astype(np.float32)) @ self.amplitude
        warped = warped @ self.matrix
        warped /= (1 + warped @ self.tilt)[:, None]
        return np.asarray(warped / self.field + (0.5 + self.move))


def attenuation(drawing: Drawing, pose: Pose, size: tuple[int, int]) -> Image:
    """Line integral of the attenuation `(H, W)`: the sum of the drawing's layers, each at its own sharpness."""
    total = np.zeros(size, dtype=np.float32)
    for layer in ("sharp", "soft", "smooth"):
        points, successor, weight = drawing.edges(layer)
        if len(points):
            grid = size if layer == "sharp" else (GRID[layer], GRID[layer])
            placed = pose(points) * (grid[1], grid[0])
            field = coverage(placed, placed[successor], weight, grid).astype(np.float32)
            total += field if layer == "sharp" else enlarge(field, size)
    return total


@lru_cache(maxsize=64)
def _interpolation(small: int, large: int, sigma: float) -> tuple[NDArray[np.intp], Image]:
    """Gaussian weights that carry a row of `small` samples to `large`, in blocks of output samples.

    Returns:
        Samples that each block reads `(blocks, k)` and their weights `(blocks, _BLOCK, k)`.
    """
    blocks = -(-large // _BLOCK)
    place = (np.arange(blocks * _BLOCK) + 0.5) * (small / large) - 0.5
    reach = int(np.ceil(3.5 * sigma))
    first = np.floor(place[::_BLOCK]).astype(np.intp) - reach
    count = int(np.ceil(_BLOCK * small / large)) + 2 * reach + 2
    index = first[:, None] + np.arange(count)
    distance = place.reshape(blocks, _BLOCK, 1) - index[:, None]
    weight = np.exp(-0.5 * (distance / sigma) ** 2) * ((index >= 0) & (index < small))[:, None]
    weight[np.abs(distance) > reach] = 0.0
    weight /= np.maximum(weight.sum(axis=2, keepdims=True), 1e-30)  # rows beyond the last sample are cut off later
    return index.clip(0, small - 1), weight.astype(np.float32)


def _stretch(field: Image, length: int, sigma: float) -> Image:
    """Interpolate the first axis to `length` samples."""
    index, weight = _interpolation(len(field), length, sigma)
    # Many small products: each stays below the size at which a linear algebra library would split it between threads,
    # which would make the last bit of an image depend on their number.
    blocks = np.matmul(weight, field[index])
    return np.asarray(blocks.reshape(-1, field.shape[1])[:length])


def enlarge(field: Image, size: tuple[int, int], sigma: float = 0.7) -> Image:
    """Smooth interpolation of a coarse field to `size`; `sigma` in coarse pixels."""
    wide = np.ascontiguousarray(_stretch(np.ascontiguousarray(field.T), size[1], sigma).T)
    return _stretch(wide, size[0], sigma)


@lru_cache(maxsize=64)
def _mean(large: int, small: int) -> tuple[NDArray[np.intp], Image]:
    """Samples `(small, k)` that equal stretches of a row overlap, and their shares `(small, k)` in the mean."""
    width = large / small
    start = np.arange(small) * width
    index = np.floor(start + 1e-9).astype(np.intp)[:, None] + np.arange(int(np.ceil(width)) + 1)
    share = np.minimum(index + 1, (start + width)[:, None]) - np.maximum(index, start[:, None])
    return index.clip(0, large - 1), (share.clip(0, None) / width).astype(np.float32)


def cells(field: Image, number: int) -> Image:
    """Means of the field over `number` x `number` equal cells."""
    for _ in range(2):
        index, share = _mean(len(field), number)
        # einsum sums in one order whatever the machine's threads.
        field = np.einsum("ck,ckn->nc", share, field[index])
    return field


def texture(rng: np.random.Generator, size: tuple[int, int], cells: int) -> Image:
    """Smooth Gaussian noise of about unit deviation with `cells` grains along each side, the same at every size."""
    return enlarge(rng.standard_normal((cells, cells), dtype=np.float32), size, 0.6)


def aperture(field: Image) -> Image:
    """The field seen through the detector's aperture: a binomial of three pixels along each axis, borders repeated."""
    height, width = field.shape
    flat = np.empty((height + 2) * (width + 2), dtype=np.float32)
    padded = flat.reshape(height + 2, width + 2)
    padded[1:-1, 1:-1] = field
    padded[0, 1:-1], padded[-1, 1:-1] = field[0], field[-1]
    padded[:, 0], padded[:, -1] = padded[:, 1], padded[:, -2]
    # Sums of neighbours along the flattened image, in place: long runs and no copies, seven times as fast as slices.
    for step in (1, 1, width + 2, width + 2):
        flat = flat[:-step]
        np.add(flat, padded.reshape(-1)[step : step + len(flat)], out=flat)
    return padded[:height, :width] * np.float32(1 / 16)


def shutter(rng: np.random.Generator, landmarks: Array, size: tuple[int, int]) -> Image:
    """Share of each pixel that a collimator leaves open: four straight blades, slightly tilted, outside the landmarks.

    Args:
        rng: Draws the blades' places.
        landmarks: `(K, 2)` shares of the frame.
        size: Height and width.
    """
    room = np.concatenate((landmarks.min(axis=0), 1 - landmarks.max(axis=0))) - 0.025
    inset = np.minimum(rng.uniform(-0.03, 0.09, 4), room)
    left, top, right, bottom = inset[0], inset[1], 1 - inset[2], 1 - inset[3]
    lean = rng.uniform(-0.012, 0.012, 4)
    corners = np.array([
        (left + lean[0], top + lean[1]), (right + lean[2], top - lean[1]),
        (right - lean[2], bottom + lean[3]), (left - lean[0], bottom - lean[3]),
    ]) * (size[1], size[0])  # fmt: skip
    opening = coverage(corners, np.roll(corners, -1, axis=0), np.ones(4), size)
    return opening.clip(0, 1).astype(np.float32)  # sums may miss 0 and 1 by a rounding error


def expose(mu: Image, rng: np.random.Generator, grain: np.random.Generator, setup: Setup) -> Image:
    """Radiograph of an attenuation map.

    Beer-Lambert transmission, scattered radiation as a slow share of it, heel effect of the tube, quantum noise that
    grows as the square root of the dose and passes the detector's aperture, then the logarithm, a window, and a
    sigmoid curve of film or look-up table.

    Args:
        mu: `(H, W)` line integral of the attenuation.
        rng: Draws the exposure, which belongs to the subject.
        grain: Draws the noise, which belongs to the image.
        setup: Ranges.

    Returns:
        `(H, W)` float32 in [0, 1], dense bodies bright.
    """
    height, width = mu.shape
    anatomical = texture(rng, mu.shape, 80)
    anatomical *= -0.03
    anatomical -= 1
    primary = np.exp(mu * anatomical)
    haze = np.float32(rng.uniform(*setup.haze))
    dose = (1 - haze) * primary
    dose += haze * enlarge(cells(primary, 16), mu.shape, 0.9)
    heel_y, heel_x = rng.uniform(-0.12, 0.12, 2)
    dose *= np.exp(np.linspace(-heel_y, heel_y, height, dtype=np.float32)[:, None])
    dose *= np.exp(np.linspace(-heel_x, heel_x, width, dtype=np.float32))
    noise = grain.standard_normal(mu.shape, dtype=np.float32)
    noise *= np.float32(rng.uniform(*setup.noise))
    noise *= np.sqrt(dose)
    dose += noise
    dose = aperture(dose)
    density = np.log(np.maximum(dose, np.float32(2e-3), out=dose), out=dose)
    np.negative(density, out=density)
    # The look-up tables of digital sets even out slow changes, each to its own degree.
    density -= np.float32(rng.uniform(0.0, 0.4)) * enlarge(cells(density, 8), mu.shape, 0.9)
    return _display(density, rng, setup.window)


def _display(density: Image, rng: np.random.Generator, window: tuple[float, float]) -> Image:
    """Digitise to the 12 bits of a detector within a window, then look up a sigmoid curve; consumes `density`."""
    ordered = np.sort(cells(density, 32), axis=None)
    black, white = (float(ordered[int(share * (len(ordered) - 1))]) for share in window)
    span = (white - black) * rng.uniform(1.1, 1.45)
    black -= rng.uniform(0.0, 0.12) * span
    density -= np.float32(black)
    density *= np.float32(LEVELS / span)
    np.clip(density, 0, LEVELS, out=density)
    steep = rng.uniform(0.4, 1.2)
    table = np.tanh(np.linspace(-steep, steep, LEVELS + 1, dtype=np.float32))
    table = (0.5 + 0.5 / table[-1] * table).clip(0, 1) ** np.float32(np.exp(rng.uniform(-0.25, 0.25)))
    return np.asarray(table.take(density.astype(np.intp)))


def collimate(shown: Image, rng: np.random.Generator, opening: Image) -> Image:
    """Cover what the collimator closes: black, as most archives do, or like film that was not exposed."""
    covered = shown * opening
    if rng.random() < 0.3:
        covered += (1 - opening) * np.float32(rng.uniform(0.85, 1.0))
    return covered
