"""Targets and loss of HAN's deep supervision, and how the points of its three heat maps become one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medzoo.landmark.networks.heatmaps import heatmap_loss
from medzoo.landmark.networks.targets import gaussian


def rounded_gaussian(points: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """Gaussians of peak 1 about the pixels nearest to the points, 0 beyond 3 σ along an axis.

    Args:
        points: `(B, K, 2)` (x, y) in pixels of the map; maps of points that are NaN are 0.
        size: `(H, W)` of the map.
        sigma: Standard deviation in pixels.

    Returns:
        `(B, K, H, W)` in [0, 1].
    """
    centre = (points + 0.5).floor()
    ys, xs = torch.arange(size[0], device=points.device), torch.arange(size[1], device=points.device)
    near_y, near_x = ((axis - centre[..., i : i + 1]).abs() <= 3 * sigma for i, axis in ((1, ys), (0, xs)))
    return gaussian(centre, size, sigma) * (near_y[..., :, None] & near_x[..., None, :])


def at_stride(points: Tensor, stride: float) -> Tensor:
    """Move points of an image to a map of it that is `stride` times smaller; 1 / stride leads back."""
    return (points + 0.5) / stride - 0.5


def deep_loss(
    maps: Sequence[Tensor],
    points: Tensor,
    size: tuple[int, int],
    sigmas: Sequence[float],
    weights: Sequence[float],
    softmax: bool = False,
) -> Tensor:
    """Weighted sum of the losses of several heat maps (equation of the public code: 1000, 3000 and 3000 times the MSE).

    Args:
        maps: Heat maps `(B, K, H / s, W / s)`.
        points: `(B, K, 2)` (x, y) in pixels of the image; landmarks that are NaN do not count.
        size: `(H, W)` of the image.
        sigmas: Standard deviations of the targets, in pixels of their maps.
        weights: Weights of the maps.
        softmax: Instead of the mean squared distance from `rounded_gaussian`, take the cross-entropy of the softmax
            over all pixels with a Gaussian of sum 1.
    """
    known = ~points.isnan().any(dim=-1)
    total = maps[0].new_zeros((), dtype=torch.float32)
    for heat, sigma, weight in zip(maps, sigmas, weights, strict=True):
        there = at_stride(points, size[1] / heat.shape[-1])
        if softmax:
            loss = heatmap_loss(heat, there, sigma, "softmax")
        else:
            wanted = rounded_gaussian(there, (heat.shape[-2], heat.shape[-1]), sigma)
            loss = ((heat.float() - wanted).square().mean(dim=(2, 3)) * known).mean()
        total = total + weight * loss
    return total
