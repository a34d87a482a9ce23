"""From the network's opinion to a mask: window, bright voxels, growth into the dark border, specks dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

LOW, HIGH = -800.0, 100.0
"""Window in HU: below is air, above is soft tissue and bone."""


@dataclass(frozen=True)
class Growth:
    """How a mask grows from bright seeds.

    Attributes:
        rounds: Repetitions at most.
        share: Part of the 5 × 5 × 5 neighbours that must be in the mask.
        floor: Least HU of a voxel that is added.
        sure: Probability of being normal from which a voxel is never added.
        smallest: Volume in mm³ below which a region is dropped.
    """

    rounds: int = 10
    share: float = 0.3
    floor: float = -750.0
    sure: float = 0.9
    smallest: float = 30.0


def windowed(hu: Tensor) -> Tensor:
    """Return `(clip(HU, −800, 100) + 800) / 900`."""
    return (hu.clamp(LOW, HIGH) - LOW) / (HIGH - LOW)


def level_of(hu: float) -> float:
    """Return where a value of HU lies in the window."""
    return (min(max(hu, LOW), HIGH) - LOW) / (HIGH - LOW)


def seeds(normal: Tensor, volume: Tensor, organ: Tensor, level: float, threshold: float) -> Tensor:
    """Return the bright voxels of the organ that are abnormal with at least the probability `threshold`.

    Args:
        normal: `(D, H, W)` probability of being normal.
        volume: `(D, H, W)` in [0, 1].
        organ: `(D, H, W)` bool.
        level: τ.
        threshold: Least probability of being abnormal.
    """
    return organ & (volume >= level) & (1 - normal >= threshold)


def grow(mask: Tensor, normal: Tensor, volume: Tensor, organ: Tensor, rule: Growth, spacing: Sequence[float]) -> Tensor:
    """Add voxels around the seeds that are too dark to be seeds themselves, then drop small regions.

    Args:
        mask: `(D, H, W)` bool seeds.
        normal: Probability of being normal.
        volume: In [0, 1].
        organ: Bool; the mask never leaves it.
        rule: How to grow.
        spacing: Millimetres per voxel, any order.
    """
    allowed = (organ & (volume >= level_of(rule.floor)) & (normal < rule.sure)).numpy()
    grown = mask.numpy().copy()
    for _ in range(rule.rounds):
        near = ndimage.uniform_filter(grown.astype(np.float32), 5, mode="constant") >= rule.share
        added = near & allowed & ~grown
        if not added.any():
            break
        grown |= added
    regions, count = ndimage.label(grown, np.ones((3, 3, 3), dtype=bool))
    if count:
        sizes = np.bincount(regions.ravel()) * float(np.prod(np.asarray(spacing, dtype=float)))
        kept = sizes >= rule.smallest
        kept[0] = False
        grown = kept[regions]
    return torch.from_numpy(grown)
