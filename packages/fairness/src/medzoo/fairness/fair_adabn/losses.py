"""The losses of FairAdaBN (Xu et al., MICCAI 2023)."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from medzoo.fairness.losses import group_means


def group_sum(each: Tensor, group: Tensor, groups: int) -> Tensor:
    """Return the sum over groups of the mean loss of their samples, so that all groups count alike.

    Args:
        each: `(B,)` losses.
        group: `(B,)` int64; samples with −1 are left out.
        groups: Number of groups; one without a sample adds nothing.

    Returns:
        A scalar, 0 with gradients where no group has a sample.
    """
    return group_means(each, group, groups)[0].sum()


def disparity(probabilities: Tensor, group: Tensor, groups: int, hard: bool = False) -> Tensor:
    """Return the statistical disparity `Σ_c (P̂(c|g) − P̂(c|h))²` of a batch, the mean over pairs of groups.

    It pulls towards demographic parity: where the true prevalence differs between groups it works against accuracy and
    equalised odds.

    Args:
        probabilities: `(B, C)` after softmax or sigmoid.
        group: `(B,)` int64; samples with −1 are left out.
        groups: Number of groups.
        hard: Take the frequency of the predicted class (or label from one half on), as the paper writes; it has no
            gradient, so it changes the number and nothing else. Otherwise the mean probability.

    Returns:
        A scalar from 0 to 2 for exclusive classes; 0 with gradients where fewer than two groups have a sample.
    """
    if hard:
        exclusive = torch.allclose(probabilities.sum(1), torch.ones(1, device=probabilities.device), atol=1e-3)
        taken = torch.nn.functional.one_hot(probabilities.argmax(1), probabilities.shape[1])
        counted = (taken if exclusive else probabilities >= 0.5).to(probabilities.dtype)
    else:
        counted = probabilities
    shares = [counted[group == g].mean(0) for g in range(groups) if bool((group == g).any())]
    if len(shares) < 2:
        return probabilities.sum() * 0
    return torch.stack([((a - b) ** 2).sum() for a, b in combinations(shares, 2)]).mean()
