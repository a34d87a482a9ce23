"""Losses between heat maps and points, and the heat maps that go with them."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from medzoo.landmark.found import Found
from medzoo.landmark.networks.decode import DecoderName, decode, mass_near
from medzoo.landmark.networks.targets import alpha_power, gaussian, profiles

Target = Literal["alpha_power", "gaussian", "softmax"]
"""What the heat map is to become."""


def heatmap_loss(
    logits: Tensor,
    points: Tensor,
    sigma: float,
    target: Target = "alpha_power",
    alpha: float = 10.0,
    beta: float = 1.5,
    weight: Tensor | None = None,
) -> Tensor:
    r"""Distance of a heat map from its target.

    * `"alpha_power"` (public code): $\mathrm{SmoothL1}_\beta(\sigma(z), \alpha^{e^{-\lVert u-p\rVert^2/2\sigma^2}})$,
      mean over pixels. The target exceeds 1 on its whole support, so the optimum is a saturated disc of radius
      2.776 σ.
    * `"gaussian"`: binary cross-entropy of σ(z) with a Gaussian of peak 1, mean over pixels.
    * `"softmax"`: cross-entropy of the softmax over all pixels with a Gaussian of sum 1. Pixels compete for the
      landmark, so learning does not start with the long descent to an empty map, which random weights may not leave
      again.

    Args:
        logits: z, `(B, K, H, W)`.
        points: `(B, K, 2)` (x, y) in pixels of the heat map; landmarks that are NaN do not count.
        sigma: Standard deviation in pixels of the heat map.
        target: Form of the target.
        alpha: Peak of the `"alpha_power"` target.
        beta: Where SmoothL1 turns from square to linear.
        weight: `(B, K)`, weight of each landmark; None weighs all alike.

    Returns:
        The mean over landmarks by weight; 0 where none counts.
    """
    size = (logits.shape[-2], logits.shape[-1])
    logits = logits.float()  # half precision has too few steps near saturation
    if target == "alpha_power":
        wanted = alpha_power(points, size, sigma, alpha)
        each = F.smooth_l1_loss(logits.sigmoid(), wanted, beta=beta, reduction="none").mean(dim=(2, 3))
    elif target == "gaussian":
        wanted = gaussian(points, size, sigma)
        each = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(dim=(2, 3))
    elif target == "softmax":
        rows, columns = (axis / axis.sum(dim=2, keepdim=True).clamp(min=1e-6) for axis in profiles(points, size, sigma))
        # The Gaussian is a product, so its inner product with the logits needs no map of its own.
        inner = ((logits @ columns[..., None])[..., 0] * rows).sum(dim=2)
        each = logits.flatten(2).logsumexp(dim=2) - inner
    else:
        raise ValueError(f"target: expected 'alpha_power', 'gaussian' or 'softmax', got {target!r}")
    known = (~points.isnan().any(dim=-1)).to(each.dtype)
    weights = known if weight is None else known * weight
    total: Tensor = (each * weights).sum() / weights.sum().clamp(min=1e-6)
    return total


def heatmap(logits: Tensor, target: Target) -> Tensor:
    """Turn logits into the heat map that the loss compares with its target; peaks of the softmax are scaled to 1."""
    if target != "softmax":
        return logits.float().sigmoid()
    flat = logits.float().flatten(2)
    return (flat - flat.amax(dim=2, keepdim=True)).exp().view_as(logits)


def find_points(logits: Tensor, target: Target, decoder: DecoderName, sigma: float) -> Found:
    """Read points from the logits of heat maps, and how sure they are.

    Args:
        logits: `(B, K, H, W)`.
        target: What the heat maps were trained to become.
        decoder: Name of a decoder, one of `DecoderName`.
        sigma: Standard deviation of the target in pixels of the heat map.

    Returns:
        Points, scores in [0, 1] (the height of the peak, or with the `"softmax"` target the probability that the
        landmark lies within 3 σ of the point), and the logits.
    """
    heat = heatmap(logits, target)
    points, peak = decode(heat, decoder, sigma)
    return Found(points, mass_near(heat, points, 3 * sigma) if target == "softmax" else peak, logits)
