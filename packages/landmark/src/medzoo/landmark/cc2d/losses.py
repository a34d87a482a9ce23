"""Losses of CC2D's stage 2, of CC2D-TPL: discs, and in them the way to the landmark."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from medzoo.landmark.networks.heatmaps import heatmap_loss

Target = Literal["disc", "softmax"]
"""What the heat map is to become: the disc around the landmark, or a distribution over pixels."""


def discs(points: Tensor, size: tuple[int, int], radius: int) -> Tensor:
    """Pixels nearer to each landmark than the radius.

    Computed from coordinates, so that discs are centred at borders too; the public code pastes templates, which are a
    pixel off and at borders cut at the wrong side.

    Args:
        points: `(B, K, 2)` (x, y) in pixels of the map; landmarks that are NaN have an empty disc.
        size: `(H, W)` of the map.
        radius: Radius R in pixels.

    Returns:
        `(B, K, H, W)`, bool.
    """
    xs = torch.arange(size[1], device=points.device, dtype=points.dtype)
    ys = torch.arange(size[0], device=points.device, dtype=points.dtype)
    away_x, away_y = (points[..., 0:1] - xs).square(), (points[..., 1:2] - ys).square()
    return away_y[..., :, None] + away_x[..., None, :] < radius**2


def voting_loss(
    heat: Tensor,
    offset_x: Tensor,
    offset_y: Tensor,
    points: Tensor,
    radius: int,
    heat_weight: float,
    target: Target = "disc",
) -> Tensor:
    r"""Loss of the voting maps.

    $$L = \lambda\,\mathrm{mean}\bigl[-(1-h)\,g\log h - h\,(1-g)\log(1-h)\bigr]
      + \sum_{a\in\{x,y\}} \frac{\sum_{disc} |\hat o_a - o_a|}{\sum_{disc} 1}$$

    with $h=\sigma(z)$, g the indicator of the disc and $o=(p-u)/R$: a cross-entropy that pixels which are right already
    leave, and the way to the landmark from the pixels around it.

    Args:
        heat: Logits z, `(B, K, H, W)`.
        offset_x: `(B, K, H, W)`.
        offset_y: `(B, K, H, W)`.
        points: `(B, K, 2)` (x, y) in pixels of the maps; landmarks that are NaN do not count.
        radius: Radius R of the discs in pixels.
        heat_weight: λ (head and hand: 2; leg: 5; chest: 15).
        target: `"disc"`, or `"softmax"`: instead of the first term the cross-entropy of the softmax over pixels with
            a Gaussian of standard deviation R / 2, which random weights learn in far fewer steps.
    """
    disc = discs(points, (heat.shape[-2], heat.shape[-1]), radius)
    if target == "softmax":
        of_heat = heatmap_loss(heat, points, radius / 2, "softmax")
    else:
        # Of the two terms one is left at each pixel: in the disc that of −z, elsewhere that of z.
        wrong = torch.where(disc, -heat, heat).float()
        known = ~points.isnan().any(dim=-1)
        each = (wrong.sigmoid() * F.softplus(wrong)).mean(dim=(2, 3))  # (B, K)
        of_heat = (each * known).sum() / known.sum().clamp(min=1)
    b, k, y, x = disc.nonzero(as_tuple=True)
    true = (points[b, k] - torch.stack([x, y], dim=-1)) / radius  # (N, 2)
    found = torch.stack([offset_x[b, k, y, x], offset_y[b, k, y, x]], dim=-1).float()
    loss: Tensor = heat_weight * of_heat + (found - true).abs().sum() / max(len(true), 1)
    return loss
