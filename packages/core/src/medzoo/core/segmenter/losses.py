"""The usual loss of masks."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return cross-entropy plus `1 − (2 Σ p t + 1) / (Σ p + Σ t + 1)` (soft Dice) of each image, `(B,)`.

    Args:
        logits: `(B, 1, H, W)`.
        target: `(B, 1, H, W)` in [0, 1].
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none").flatten(1).mean(1)
    p, t = logits.sigmoid().flatten(1), target.flatten(1)
    overlap = (2 * (p * t).sum(1) + 1) / (p.sum(1) + t.sum(1) + 1)
    return entropy + 1 - overlap
