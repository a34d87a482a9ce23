"""Bringing what was found on one grid to another."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def on_grid(score: Tensor, mask: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Bring score map and mask `(D, H, W)` to another size."""
    if list(size) == list(score.shape):
        return score, mask
    score = F.interpolate(score[None, None], list(size), mode="trilinear", align_corners=False)[0, 0]
    return score, F.interpolate(mask[None, None].float(), list(size), mode="trilinear", align_corners=False)[
        0, 0
    ] >= 0.5
