"""How a whole volume is prepared and searched."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medzoo.anomaly.sim2real.adapt import large_regions
from medzoo.anomaly.sim2real.network import MASK, LayerUNet
from medzoo.core.geometry.boxes import box_of
from medzoo.core.inference.sliding import probability

MARGIN = 4
"""Voxels around the organ."""
_BRIGHTEST = 0.995  # quantile of the organ that becomes 1 where no window is given


def stretched(volume: Tensor, organ: Tensor, window: Sequence[float] | None) -> Tensor:
    """Return a volume in [0, 1], 0 outside of the organ.

    Args:
        volume: `(D, H, W)`, any unit.
        organ: `(D, H, W)` bool.
        window: What becomes 0 and 1; None: least value and 99.5 % quantile of the organ.
    """
    if window is not None:
        low, high = (torch.tensor(value, device=volume.device) for value in window)
    elif organ.any():
        inside = volume[organ]
        low, high = inside.min(), inside.kthvalue(max(1, int(_BRIGHTEST * len(inside)))).values
    else:
        low, high = volume.min(), volume.max()
    return ((volume - low) / (high - low).clamp_min(1e-6)).clamp(0, 1) * organ


def segment(
    net: LayerUNet,
    volume: Tensor,
    organ: Tensor,
    spacing: Sequence[float],
    *,
    window: Sequence[float] | None,
    patch: Sequence[int],
    overlap: float,
    windows: int,
    threshold: float,
    smallest: float,
) -> tuple[Tensor, Tensor]:
    """Return score map and mask of a whole volume, of which only the box around the organ is looked at.

    Args:
        net: The network, on its device.
        volume: `(D, H, W)` in main memory.
        organ: `(D, H, W)` bool, not empty.
        spacing: Millimetres per voxel, any order.
        window: See `stretched`.
        patch: Of the sliding window.
        overlap: Share of it that neighbours share.
        windows: Windows a step.
        threshold: Probability of being tumour that makes a voxel one.
        smallest: mm³ below which a region is dropped.

    Returns:
        `(D, H, W)` float32, probability of being tumour in the organ and 0 elsewhere; and `(D, H, W)` bool.
    """
    box = box_of(organ.numpy(), MARGIN)
    inside = organ[box]
    image = stretched(volume[box], inside, window)
    device = next(net.parameters()).device
    found = probability(image, [lambda x: net(x)[:, MASK : MASK + 1]], patch, overlap, device, windows) * inside
    score, mask = torch.zeros_like(volume), torch.zeros_like(organ)
    score[box] = found
    step = spacing[0] * spacing[1] * spacing[2]
    mask[box] = large_regions((found.detach() > threshold) & inside, smallest / step)
    return score, mask
