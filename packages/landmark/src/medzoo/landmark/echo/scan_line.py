"""Virtual scan lines through a clip, and the anatomical M-mode (AMM) image along one (EnLVAM, arXiv 2506.22063).

Points are `(x, y)` in pixels of a frame, the centre of the first pixel at 0; depths are samples from the line's upper
end.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class ScanLine:
    """A straight line through a frame from border to border, sampled at equal distances.

    Attributes:
        start: `(2,)` float64, its upper end, which is depth 0.
        end: `(2,)` float64, its lower end, which is depth `samples − 1`.
        samples: Samples along it, at least 2.
    """

    start: Tensor
    end: Tensor
    samples: int

    @property
    def step(self) -> Tensor:
        """`(2,)`, from one sample to the next, in pixels."""
        return (self.end - self.start) / (self.samples - 1)

    def points(self) -> Tensor:
        """Return the samples, `(samples, 2)` in pixels."""
        return self.to_frame(torch.arange(self.samples, dtype=torch.float64))

    def to_depth(self, points: Tensor) -> Tensor:
        """Project points onto the line.

        Args:
            points: `(…, 2)` in pixels.

        Returns:
            `(…)` depths, not rounded: the public code takes the nearest sample instead.
        """
        return (points.double() - self.start) @ self.step / (self.step @ self.step)

    def to_frame(self, depths: Tensor) -> Tensor:
        """Return where depths `(…)` lie in the frame, `(…, 2)` in pixels; all on one straight line."""
        return self.start + depths.double()[..., None] * self.step


def line_through(first: Tensor, second: Tensor, size: tuple[int, int]) -> ScanLine:
    """Extend the segment between two points to the border of the frame, with max(H, W) samples.

    Args:
        first: `(2,)` in pixels.
        second: `(2,)` in pixels, another point.
        size: Height and width of the frame.

    Raises:
        ValueError: The points are the same, not finite, or their line misses the frame.
    """
    upper, lower = sorted((first.double(), second.double()), key=lambda point: (float(point[1]), float(point[0])))
    along = lower - upper
    if not bool(torch.isfinite(along).all()) or not bool(along.any()):
        raise ValueError(f"expected two different points, got {first.tolist()} and {second.tolist()}")
    enter, leave = -torch.inf, torch.inf  # Liang and Barsky: between which multiples of `along` the line is inside
    for axis, extent in enumerate((size[1] - 1, size[0] - 1)):
        place, slope = float(upper[axis]), float(along[axis])
        if slope == 0:
            enter = enter if 0 <= place <= extent else torch.inf
            continue
        near, far = sorted((-place / slope, (extent - place) / slope))
        enter, leave = max(enter, near), min(leave, far)
    if enter >= leave:
        raise ValueError(f"the line through {first.tolist()} and {second.tolist()} misses a frame of {size}")
    return ScanLine(upper + enter * along, upper + leave * along, max(size))


def fitted_line(points: Tensor, size: tuple[int, int]) -> ScanLine:
    """Fit a line to points by total least squares, which has no direction that it fails in.

    The public code regresses y on x, which fails for upright lines.

    Args:
        points: `(N, 2)` in pixels, at least two different ones.
        size: Height and width of the frame.

    Raises:
        ValueError: As `line_through`.
    """
    middle = points.double().mean(dim=0)
    offsets = points.double() - middle
    if not bool(torch.isfinite(offsets).all()) or not bool(offsets.any()):
        raise ValueError(f"expected two different points at least, got {points.tolist()}")
    direction = torch.linalg.svd(offsets, full_matrices=False).Vh[0]
    return line_through(middle, middle + direction, size)


def window(frames: int, key: int, columns: int = 64) -> Tensor:
    """Return the frames `(columns,)` about a key frame, which is column `columns // 2` and stands there alone.

    Clips hold a cycle, so that the window wraps round their ends. (The public code has the key frame twice.)

    Args:
        frames: Frames of the clip.
        key: Index of the key frame.
        columns: Length of the window.

    Raises:
        ValueError: The clip has no such frame.
    """
    if not 0 <= key < frames:
        raise ValueError(f"expected a key frame from 0 to {frames - 1}, got {key}")
    return (torch.arange(columns) - columns // 2 + key) % frames


def motion_image(clip: Tensor, line: ScanLine, key: int, columns: int = 64) -> Tensor:
    """Sample a clip along a line: `AMM[r, t] = bilinear(frame_t, line[r])`.

    Args:
        clip: `(T, H, W)` float.
        line: The scan line.
        key: Index of the key frame.
        columns: Frames about it, see `window`.

    Returns:
        `(samples, columns)`, with gradients to the clip and to the ends of the line.
    """
    frames = clip[window(len(clip), key, columns)]  # (columns, H, W)
    height, width = clip.shape[1:]
    extent = line.start.new_tensor([max(width - 1, 1), max(height - 1, 1)])
    grid = (2 * line.points() / extent - 1).to(clip.dtype)  # (samples, 2) in [-1, 1]
    sampled = F.grid_sample(
        frames[None], grid[None, :, None], mode="bilinear", align_corners=True, padding_mode="border"
    )
    return sampled[0, :, :, 0].T  # (1, columns, samples, 1) -> (samples, columns)


def lengths_mm(points: Tensor, spacing: Tensor) -> Tensor:
    """Return the distances between neighbours of a row of points.

    Args:
        points: `(…, K, 2)` in pixels.
        spacing: `(2,)` or `(…, 1, 2)`, mm per pixel along x, y.

    Returns:
        `(…, K − 1)` in mm: of septum, cavity and posterior wall for the four points of EnLVAM.
    """
    lengths: Tensor = torch.linalg.vector_norm((points * spacing).diff(dim=-2), dim=-1)
    return lengths
