"""Random changes in training: of key frames with their points, and of where the scan line lies."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medzoo.landmark.wiselvam.contour import directions

_TURN, _SCALE, _SHIFT = 15.0, 0.15, 0.08  # degrees; share of the size; share of the frame


def moved(frames: Tensor, points: Tensor, contours: Tensor, spacing: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Turn, scale, shift and mirror key frames with their points, each at random.

    Args:
        frames: `(M, 1, H, W)`.
        points: `(M, 4, 2)` in pixels.
        contours: `(M, 2, J, 2)` in pixels, whose arcs lead from left to right before and after.
        spacing: `(M, 2)` mm per pixel along x, y; a turn is one of the heart, whatever shape pixels have.
    """
    count, _, height, width = frames.shape
    turn, scale, *shift = (2 * torch.rand(4, count, dtype=spacing.dtype) - 1).unbind()
    mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0).to(spacing)
    angle, size = torch.deg2rad(_TURN * turn), 1 + _SCALE * scale
    rows = [size * angle.cos() * mirror, -size * angle.sin(), size * angle.sin() * mirror, size * angle.cos()]
    in_mm = torch.stack(rows, dim=-1).view(count, 2, 2)
    matrix = in_mm * spacing[:, None] / spacing[:, :, None]  # in pixels
    extent = spacing.new_tensor([width, height])
    middle = (extent - 1) / 2
    offset = middle + _SHIFT * extent * torch.stack(shift, dim=-1)
    back = torch.linalg.inv(matrix)
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([xs, ys], dim=-1).to(spacing).flatten(0, 1)  # (H * W, 2)
    places = (pixels - offset[:, None]) @ back.mT + middle
    grid = (2 * places / (extent - 1).clamp(min=1) - 1).view(count, height, width, 2).to(frames)
    drawn = F.grid_sample(frames, grid, align_corners=True)

    def there(old: Tensor) -> Tensor:
        return ((old.flatten(1, -2) - middle) @ matrix.mT + offset[:, None]).view_as(old)

    arcs = there(contours)
    return drawn, there(points), torch.where(mirror[:, None, None, None] < 0, arcs.flip(2), arcs)


def jittered(points: Tensor, spacing: Tensor, angle: float, level: float) -> Tensor:
    """Return scan lines as a detector may place them: off the annotated points by a normal deviation.

    Args:
        points: `(M, 4, 2)` in pixels.
        spacing: `(M, 2)` mm per pixel along x, y.
        angle: Standard deviation of the turn, in degrees.
        level: That of the shift along the axis, in mm.

    Returns:
        `(M, 2, 2)` two points of each line in pixels, NaN where a point is.
    """
    mm = points * spacing[:, None]
    known = torch.isfinite(mm).flatten(1).all(dim=1)
    along, across = directions(torch.where(known[:, None, None], mm, torch.eye(4, 2, dtype=mm.dtype)))
    turn, shift = torch.randn(2, len(points), 1, dtype=mm.dtype)
    turn = torch.deg2rad(angle * turn)
    start = mm[:, 1:3].mean(dim=1) + level * shift * along
    end = start + 10 * (turn.cos() * across + turn.sin() * along)
    return torch.stack([start, end], dim=1) / spacing[:, None]
