"""Large-loss reconsideration of LTML (Lai et al., ISBI 2024); its regularisation is in `medzoo.fairness.losses`."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from medzoo.fairness.losses import distribution_balanced

Reconsider = Literal["none", "abandon", "modify"]


def as_positives(logits: Tensor, label: Tensor, counts: Tensor, total: int, bias: float = 0.025) -> Tensor:
    """Return the distribution-balanced loss that each entry would have as a positive, beside the labels of its sample.

    Args:
        logits: `(B, C)`; they are not changed.
        label: `(B, C)` of 0, 1 and NaN.
        counts: `(C,)` positives of each class in the training data.
        total: Number of training samples.
        bias: κ.
    """
    share = 1 / counts.to(logits.dtype).clamp(min=1)
    target = label.nan_to_num(0.0)
    others = (target * share).sum(1, keepdim=True) - target * share
    weight = 0.1 + torch.sigmoid(10 * (share / (others + share) - 0.2))
    positive = torch.ones_like(logits)
    return weight * distribution_balanced(logits, positive, counts, total, bias=bias, balanced=False)


def reconsidered(each: Tensor, flipped: Tensor, label: Tensor, rate: float, mode: Reconsider) -> tuple[Tensor, Tensor]:
    """Return the losses after the negatives of largest loss were doubted, and which these are, both `(B, C)`.

    `k = ⌈rate · entries⌉` negatives, at most all there are, lose their loss (`abandon`: LLA) or get that of the other
    label (`modify`: LLM). Exactly k change, those of equal loss by their place.

    Args:
        each: `(B, C)` losses.
        flipped: `(B, C)` losses with the other label.
        label: `(B, C)` of 0, 1 and NaN, which is never doubted.
        rate: Share of all known entries.
        mode: `none`, `abandon` or `modify`.
    """
    doubted = torch.zeros_like(each, dtype=torch.bool)
    negative = label == 0
    known = int((~label.isnan()).sum())
    count = min(math.ceil(known * rate - 1e-9), int(negative.sum())) if mode != "none" else 0
    if count:
        ranked = torch.where(negative, each.detach(), torch.full_like(each, -torch.inf)).flatten()
        doubted.view(-1)[torch.argsort(ranked, descending=True, stable=True)[:count]] = True
    return torch.where(doubted, flipped if mode == "modify" else torch.zeros_like(each), each), doubted
