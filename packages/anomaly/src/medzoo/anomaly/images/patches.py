"""PatchCore's memory of normal patches: what it keeps, and how patches and images are scored against it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from medzoo.anomaly.images.coreset import coreset, neighbours
from medzoo.core.backbones.features import stacked


class Coreset(NamedTuple):
    """The coreset."""

    patches: Tensor
    """`(M, C)`."""


def patches(features: Sequence[Tensor]) -> Tensor:
    """Return features averaged over 3 × 3 neighbours, coarse ones interpolated to the finest, `(B, ΣC, h, w)`."""
    return stacked([F.avg_pool2d(f, 3, 1, 1) for f in features], "bilinear")


def memory(found: Tensor, share: float, most: int) -> Coreset:
    """Choose the coreset of `(K, C, h, w)` patches.

    Args:
        found: Of normal images.
        share: Part of the patches that is kept.
        most: Patches that are kept at most.
    """
    points = found.permute(0, 2, 3, 1).flatten(0, 2)  # (K, C, h, w) -> (N, C)
    count = max(1, min(most, int(share * len(points))))
    return Coreset(points[coreset(points, count).to(points.device)])


def memory_scores(bank: Tensor, found: Tensor, nearest: int) -> tuple[Tensor, Tensor]:
    """Return Euclidean distances to the nearest patch of the bank `(B, h, w)`, and re-weighted maxima `(B,)`.

    Args:
        bank: `(M, C)`.
        found: `(B, C, h, w)` patches of the images to score.
        nearest: Neighbours of the match that the largest distance is re-weighted by; 1 leaves it as it is.
    """
    batch, channels, height, width = found.shape
    points = found.permute(0, 2, 3, 1).reshape(-1, channels)
    distance, index = neighbours(points, bank)
    maps = distance.reshape(batch, height, width)
    top = maps.flatten(1).max(1)
    rows = torch.arange(batch, device=found.device) * height * width + top.indices
    return maps, top.values * _weight(points[rows], index[rows, 0], top.values, bank, nearest)


def _weight(points: Tensor, match: Tensor, distance: Tensor, bank: Tensor, nearest: int) -> Tensor:
    """Return `1 − exp(d*) / Σ exp(dᵢ)` over the neighbours of the match in the bank, without overflow."""
    if nearest <= 1 or len(bank) == 1:
        return torch.ones_like(distance)
    _, around = neighbours(bank[match], bank, nearest)  # (B, k), the match itself first
    others = torch.linalg.vector_norm(points[:, None] - bank[around], dim=-1)
    return 1 - torch.exp(distance - torch.logsumexp(others, dim=1))
