"""Losses over groups (equal groups, the worst group)."""

from __future__ import annotations

import torch
from torch import Tensor


def group_means(each: Tensor, group: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Return the mean loss of each group `(G,)`, 0 where it has no sample, and whether it has one `(G,)`.

    Args:
        each: `(B,)` losses.
        group: `(B,)` int64; samples with −1 are left out.
        groups: Number of groups.
    """
    member = (group[:, None] == torch.arange(groups, device=group.device)).to(each.dtype)
    count = member.sum(0)
    return (member * each[:, None]).sum(0) / count.clamp(min=1), count > 0


def equal_groups(each: Tensor, group: Tensor, groups: int) -> Tensor:
    """Return the mean of the groups' mean losses, absent groups left out; 0 with gradients without any."""
    means, there = group_means(each, group, groups)
    return means.sum() / there.sum().clamp(min=1)


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
