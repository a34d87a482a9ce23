"""Maps of landmarks: a disc around a point, and the point that a map shows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def discs(points: Tensor, size: Sequence[int], radius: float) -> Tensor:
    """Return maps that are exp(−d²/2r²) at a distance d < r of a point and 0 farther off.

    Computed for the pixels themselves, so that a disc at the border is cut and not displaced.

    Args:
        points: `(B, K, nd)` (x, y[, z]) in pixels of the map, within it.
        size: Of the map along its axes, such as height and width.
        radius: In pixels.

    Returns:
        `(B, K, *size)`, zero for a point that is NaN.
    """
    square = torch.zeros((), device=points.device)
    for axis, n in enumerate(size):
        place = torch.arange(n, device=points.device, dtype=torch.float32)
        along = (place - points[..., len(size) - 1 - axis, None]) ** 2
        shape = [*points.shape[:2], *(n if other == axis else 1 for other in range(len(size)))]
        square = square + along.reshape(shape)
    return torch.where(square < radius**2, torch.exp(-square / (2 * radius**2)), 0.0)


def peaks(maps: Tensor) -> Tensor:
    """Return the highest pixel of each map, `(B, K, nd)` as (x, y[, z]).

    Args:
        maps: `(B, K, *S)`.
    """
    highest = maps.flatten(2).argmax(dim=2)
    return torch.stack(torch.unravel_index(highest, maps.shape[2:])[::-1], dim=2).float()
