"""Weak labels of the cavity's contour, and the scan line that a contour leads to; a reconstruction, all of it ours.

A contour is two arcs, the inner borders of septum and posterior wall, `(2, J, 2)`: J places (odd) at equal distances
along the axis, from left to right in the picture, the middle one at the basal level. Pixels are turned into mm before
anything is measured, since they need not be squares.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

STEP = 2.0
"""mm between the places along the wall at which a border is searched."""
_FAR, _FINE = 6.0, 0.5  # mm, how far across the wall it is searched, and in which steps
_BOX = 2.5  # mm, depth of cavity and of muscle whose brightness is compared
_STIFF = 0.5  # of a deviation's change between neighbouring places, in mm⁻²
_PINNED = 1.0  # of a deviation from the annotated point, in mm⁻²


def directions(points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the unit vectors along the axis, which leads to the right, and across it, which leads downwards.

    Args:
        points: `(M, 4, 2)` in mm, which the line across the axis fits best (total least squares).

    Returns:
        Both `(M, 2)`.
    """
    offsets = points - points.mean(dim=1, keepdim=True)
    across = torch.linalg.svd(offsets, full_matrices=False).Vh[:, 0]
    across = across * torch.where(((points[:, -1] - points[:, 0]) * across).sum(dim=1, keepdim=True) < 0, -1, 1)
    return across.flip(-1) * across.new_tensor([1, -1]), across


def weak_contours(frames: Tensor, points: Tensor, spacing: Tensor, reach: float, places: int) -> Tensor:
    """Follow the inner borders from their annotated points along the wall, on either side of the scan line.

    At each place the border is where the picture brightens most from the cavity to the muscle, unless that is far from
    its neighbours; the best path of all is found by dynamic programming. It is shifted to lead through the annotated
    point: people mark a border at another brightness than the steepest.

    Args:
        frames: `(M, 1, H, W)` in [0, 1].
        points: `(M, 4, 2)` annotated, in pixels.
        spacing: `(M, 2)` mm per pixel along x, y.
        reach: How far an arc leads to either side, in mm.
        places: Of an arc, odd.

    Returns:
        `(M, 2, places, 2)` in pixels; NaN where a point is.
    """
    mm = points * spacing[:, None]
    known = torch.isfinite(mm).flatten(1).all(dim=1)
    along, across = directions(torch.where(known[:, None, None], mm, torch.eye(4, 2, dtype=mm.dtype)))
    side = int(reach // STEP)
    shifts = torch.arange(-side, side + 1, dtype=mm.dtype) * STEP
    half = round((_FAR + _BOX) / _FINE)
    outwards = torch.arange(-half, half + 1, dtype=mm.dtype) * _FINE
    signs = mm.new_tensor([-1, 1])
    grid = (
        mm[:, 1:3, None, None]
        + shifts[:, None, None] * along[:, None, None, None]
        + (signs[:, None, None] * outwards)[None, ..., None] * across[:, None, None, None]
    )  # (M, 2, places along, depths, 2)
    profiles = _sampled(frames, grid / spacing[:, None, None, None])
    cost = -_brightening(profiles) / profiles.std(dim=(1, 2, 3), keepdim=True).clamp(min=1e-3)
    depths = torch.arange(-round(_FAR / _FINE), round(_FAR / _FINE) + 1, dtype=mm.dtype) * _FINE
    cost[:, :, side] += _PINNED * depths**2
    path = depths[_best_path(cost, _STIFF * (depths[:, None] - depths) ** 2)]  # (M, 2, places along)
    at = torch.linspace(-reach, reach, places, dtype=mm.dtype)
    found = _interpolated(path - path[..., side, None], at / STEP + side)
    arcs = mm[:, 1:3, None] + at[:, None] * along[:, None, None]
    arcs = arcs + (signs[:, None] * found)[..., None] * across[:, None, None]
    return torch.where(known[:, None, None, None], arcs / spacing[:, None, None], torch.nan)


def _sampled(frames: Tensor, grid: Tensor) -> Tensor:
    """Return the brightness at pixels `(M, 2, P, D, 2)`, each blurred a little, `(M, 2, P, D)`."""
    height, width = frames.shape[2:]
    blurred = F.avg_pool2d(frames, 3, stride=1, padding=1, count_include_pad=False)
    unit = 2 * grid.flatten(1, 2) / grid.new_tensor([max(width - 1, 1), max(height - 1, 1)]) - 1
    values = F.grid_sample(blurred, unit.to(blurred.dtype), align_corners=True, padding_mode="border")
    return values.view(grid.shape[:-1]).to(grid.dtype)


def _brightening(profiles: Tensor) -> Tensor:
    """Return how much brighter the muscle behind each depth is than the cavity before it, `(M, 2, P, D')`."""
    count = round(_BOX / _FINE)
    kernel = torch.cat([-torch.ones(count), torch.zeros(1), torch.ones(count)]).to(profiles) / count
    changes = F.conv1d(profiles.flatten(0, 2)[:, None], kernel[None, None])
    return changes.view(*profiles.shape[:3], -1)


def _best_path(cost: Tensor, bend: Tensor) -> Tensor:
    """Return the depth's number at each place of the cheapest path, `(M, 2, P)` int64 (Viterbi).

    Args:
        cost: `(M, 2, P, D)`.
        bend: `(D, D)`, of a step from the second depth to the first.
    """
    total, back = cost[:, :, 0], []
    for place in range(1, cost.shape[2]):
        best = (total[:, :, None] + bend).min(dim=-1)
        back.append(best.indices)
        total = best.values + cost[:, :, place]
    path = [total.argmin(dim=-1)]
    for indices in reversed(back):
        path.append(indices.gather(-1, path[-1][..., None])[..., 0])
    return torch.stack(path[::-1], dim=-1)


def _interpolated(values: Tensor, at: Tensor) -> Tensor:
    """Return values `(…, P)` at places between them, those beyond the ends as at the ends, `(…, len(at))`."""
    at = at.clamp(0, values.shape[-1] - 1)
    low = at.floor().long().clamp(max=values.shape[-1] - 2)
    share = at - low
    return values[..., low] * (1 - share) + values[..., low + 1] * share


def placed(points: Tensor, contours: Tensor, spacing: Tensor) -> Tensor:
    """Place the scan line across the contour's axis, at the basal level.

    The axis leads through the middles between the two arcs, as they follow from left to right (least squares of place
    on number); the basal level is where the mean of all points, four and contour, projects onto it.

    Args:
        points: `(M, 4, 2)` in pixels.
        contours: `(M, 2, J, 2)` in pixels.
        spacing: `(M, 2)` mm per pixel along x, y.

    Returns:
        `(M, 2, 2)` two points of each line in pixels.
    """
    middles = contours.mean(dim=1) * spacing[:, None]
    centre = middles.mean(dim=1)
    number = torch.arange(middles.shape[1], dtype=middles.dtype) - middles.shape[1] // 2
    along = F.normalize((number[:, None] * middles).sum(dim=1), dim=1)
    places = contours.shape[2]
    outer = (points[:, [0, 3]] * spacing[:, None]).sum(dim=1)  # the other two are the contour's own middles
    offset = (outer + 2 * places * centre) / (2 * places + 2) - centre
    level = centre + (offset * along).sum(dim=1, keepdim=True) * along
    across = along.flip(-1) * along.new_tensor([-1, 1])
    return torch.stack([level, level + 10 * across], dim=1) / spacing[:, None]


def crossings(points: Tensor, lines: Tensor, spacing: Tensor) -> Tensor:
    """Return where other lines cross the four borders, taken as straight and along the axis near the points.

    Args:
        points: `(M, 4, 2)` annotated, in pixels.
        lines: `(M, 2, 2)` two points of each line in pixels.
        spacing: `(M, 2)` mm per pixel along x, y.

    Returns:
        `(M, 4, 2)` in pixels, on the lines.
    """
    mm, ends = points * spacing[:, None], lines * spacing[:, None]
    fitted = torch.where(torch.isfinite(mm), mm, torch.eye(4, 2, dtype=mm.dtype))
    _, across = directions(fitted)
    step = ends[:, 1] - ends[:, 0]
    share = ((mm - ends[:, :1]) @ across[..., None])[..., 0] / (step * across).sum(dim=1, keepdim=True)
    return (ends[:, :1] + share[..., None] * step[:, None]) / spacing[:, None]
