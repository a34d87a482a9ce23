"""GroupDRO, the loss of the worst group, and the choice of a loss of labels by name."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medzoo.core.classifier.losses import asymmetric, mean_known
from medzoo.fairness.losses import (
    cross_entropies,
    distribution_balanced,
    effective_weights,
    focal,
    group_means,
    log_priors,
)


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


def label_loss(
    name: str, logits: Tensor, label: Tensor, counts: tuple[Tensor, Tensor] | None, adjustment: float = 1.0
) -> Tensor:
    """Return the losses `(B,)` of a baseline that reads no groups.

    Args:
        name: `logit-adjusted`, `class-balanced`, `db`, `focal`, `asl`; another is the cross-entropy.
        logits: `(B, C)`.
        label: `(B,)` classes or `(B, C)` labels, NaN where unknown.
        counts: `(C,)` training images that have each label, and of how many it is known, for the first three.
        adjustment: Factor of the log priors.
    """
    if counts is not None:
        have, known = (count.to(logits.device) for count in counts)
        if name == "logit-adjusted":
            return cross_entropies(logits + adjustment * log_priors(have, known, label.ndim == 2), label)
        if name == "db":
            return mean_known(distribution_balanced(logits, label, have, int(known.max())), label)
        weights = effective_weights(have)
        if label.ndim == 1:
            return weights[label] * cross_entropies(logits, label)
        each = F.binary_cross_entropy_with_logits(logits, label.nan_to_num(0.0), reduction="none")
        return mean_known(each * torch.where(label == 1, weights, torch.ones_like(weights)), label)
    if name == "focal":
        return focal(logits, label)
    return asymmetric(logits, label) if name == "asl" else cross_entropies(logits, label)
