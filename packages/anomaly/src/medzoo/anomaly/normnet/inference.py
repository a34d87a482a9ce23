"""How NormNet segments a whole volume: a sliding window over the organ, seeds, and their growth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from medzoo.anomaly.normnet.segment import grow, seeds, windowed
from medzoo.core.geometry.boxes import box_of
from medzoo.core.inference.sliding import probability

if TYPE_CHECKING:
    from medzoo.anomaly.normnet.module import NormNet

MARGIN = 4
"""Voxels around the organ, more than the growth looks."""


def normal_probability(net: NormNet, hu: Tensor, organ: Tensor) -> tuple[Tensor, Tensor]:
    """Return probability of being normal and windowed image of a volume, both `(D, H, W)` in main memory.

    Args:
        net: The model.
        hu: `(D, H, W)` Hounsfield units.
        organ: `(D, H, W)` bool.
    """
    image = windowed(hu) * organ
    return probability(image, list(net.networks), net.patch, net.overlap, net.device, net.windows), image


def segment(net: NormNet, hu: Tensor, organ: Tensor, spacing: list[float]) -> tuple[Tensor, Tensor]:
    """Return score map and mask of a whole volume, of which only the box around the organ is looked at.

    Args:
        net: The model.
        hu: `(D, H, W)` Hounsfield units.
        organ: `(D, H, W)` bool.
        spacing: Millimetres per voxel along z, y, x.

    Returns:
        `(D, H, W)` float32, probability of being abnormal on the bright voxels of the organ and 0 elsewhere; and
        `(D, H, W)` bool.
    """
    box = box_of(organ.numpy(), MARGIN)
    inside = organ[box]
    inner = net.inner(hu[box], inside, spacing)
    normal, image = normal_probability(net, hu[box], inner)
    start = seeds(normal.detach(), image.detach(), inner, net.level, float(net.threshold))
    # The network saw nothing on the rim: there the brightness and the neighbours decide.
    normal = torch.where(inside & ~inner, 0.5, normal)
    score, mask = torch.zeros_like(hu), torch.zeros_like(organ)
    brightness = (windowed(hu[box]) * inside).detach()
    mask[box] = grown = grow(start, normal.detach(), brightness, inside, net.growth, spacing)
    score[box] = torch.where(inside & ((image >= net.level) | grown), 1 - normal, 0.0)
    return score, mask
