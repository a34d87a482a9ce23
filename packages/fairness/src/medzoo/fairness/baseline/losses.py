"""GroupDRO, the loss of the worst group."""

from __future__ import annotations

import torch
from torch import Tensor

from medzoo.fairness.losses import group_means


def worst_groups(each: Tensor, group: Tensor, weights: Tensor, rate: float = 0.01) -> tuple[Tensor, Tensor]:
    """Return the GroupDRO loss `Σ_g q_g ℓ_g` (Sagawa et al., ICLR 2020, algorithm 1) and the new weights q.

    `q_g ∝ q_g exp(η ℓ_g)`; an absent group keeps its weight before all are scaled to a sum of 1.

    Args:
        each: `(B,)` losses.
        group: `(B,)` int64; samples with −1 are left out.
        weights: `(G,)` q before this step.
        rate: η.
    """
    means, _ = group_means(each, group, len(weights))
    new = weights * torch.exp(rate * means.detach())
    new = new / new.sum()
    return (new * means).sum(), new
