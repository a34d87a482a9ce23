"""Target and loss of GU2Net's public code: Gaussian patches and a cross-entropy summed over all pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def patch_target(points: Tensor, size: tuple[int, int], sigma: float = 3.0) -> Tensor:
    r"""Gaussians on square patches about the rounded landmarks, rescaled to reach from 0 to 1; 0 outside.

    With the paper's σ = 3 a patch has 18×18 pixels, offsets −9 to 8, as in the public code: one pixel asymmetric.

    Args:
        points: `(B, K, 2)` (x, y) in pixels of the map; maps of points that are NaN are 0.
        size: `(H, W)` of the map.
        sigma: Standard deviation in pixels; the half side of the patch is 3 σ.

    Returns:
        `(B, K, H, W)` in [0, 1].
    """
    radius = max(1, round(3 * sigma))
    axes = []
    for axis, length in ((1, size[0]), (0, size[1])):
        away = torch.arange(length, device=points.device) - points[..., axis : axis + 1].round()
        inside = ((away >= -radius) & (away < radius)).float()
        axes.append((torch.exp(-(away.nan_to_num() ** 2) / (2 * sigma**2)) * inside, inside))
    (rows, row_inside), (columns, column_inside) = axes
    lowest = float(torch.exp(torch.tensor(-(radius**2) / sigma**2)))  # in the corner (-radius, -radius)
    gauss = rows[..., :, None] * columns[..., None, :]
    return (gauss - lowest * row_inside[..., :, None] * column_inside[..., None, :]) / (1 - lowest)


def patch_loss(logits: Tensor, points: Tensor, sigma: float = 3.0) -> Tensor:
    """Binary cross-entropy with `patch_target`, summed over images, landmarks and pixels.

    Args:
        logits: Logits of the heat maps, `(B, K, H, W)`.
        points: `(B, K, 2)` (x, y) in pixels of the heat map; landmarks that are NaN do not count.
        sigma: Standard deviation of the target in pixels.
    """
    target = patch_target(points, (logits.shape[-2], logits.shape[-1]), sigma)
    known = (~points.isnan().any(dim=-1)).float()[..., None, None]
    return F.binary_cross_entropy_with_logits(logits.float(), target, weight=known, reduction="sum")
