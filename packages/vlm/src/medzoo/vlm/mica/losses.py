"""MICA's losses: images that choose captions and the other way round, and concepts from margins."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def alignment(logits: Tensor, same: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy of images that choose captions and of captions that choose images (InfoNCE).

    Args:
        logits: `(B, B)`, image and caption i belong together.
        same: `(B, B)` bool, pairs whose captions say the same, which are left out off the diagonal; None takes all
            others for wrong, as the paper does.
    """
    own = torch.arange(len(logits), device=logits.device)
    if same is not None:
        apart = same & ~torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        logits = logits.masked_fill(apart, -torch.inf)
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


def concept_loss(margins: Tensor, labels: Tensor) -> Tensor:
    """Return `−Σ_k y_k log softmax(m)_k`, the mean over images (MICA's public code).

    Args:
        margins: `(B, K)`.
        labels: `(B, K)` of 0, 1 and NaN, concepts that were not looked for, which have no part in the softmax.
    """
    known = ~labels.isnan()
    shares = margins.masked_fill(~known & known.any(1, keepdim=True), -torch.inf).log_softmax(1)
    return -torch.where(labels == 1, shares, torch.zeros_like(shares)).sum(1).mean()
