"""The losses of Ada-ABC (Luo et al., Medical Image Analysis 2025): a diverse council, and agreement with it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medzoo.fairness.losses import generalised_ce


def council_loss(logits: Tensor, label: Tensor, mask: Tensor, q: float = 0.7) -> Tensor:
    """Return the sum over heads of the mean generalised cross-entropy of the samples that a head sees.

    Args:
        logits: `(M, B, C)`.
        label: `(B,)` int64.
        mask: `(M, B)` bool; a head that sees no sample of the batch adds 0.
        q: Exponent of the generalised cross-entropy.
    """
    each = torch.stack([generalised_ce(own, label, q) for own in logits])
    return ((each * mask).sum(1) / mask.sum(1).clamp(min=1)).sum()


def confidence(logits: Tensor, label: Tensor) -> Tensor:
    """Return the council's mean probability of the label, `(B,)`, without gradient.

    Args:
        logits: `(M, B, C)`.
        label: `(B,)` int64.
    """
    p = logits.detach().float().softmax(2).mean(0)
    return p.gather(1, label[:, None])[:, 0]


def agreement_loss(logits: Tensor, label: Tensor, council: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """Return the two parts of the loss of the debiased network, both means over the batch.

    `p_B CE` learns the samples that the council knows, `λ (1 − p_B) · −log(p_D (1 − p_B) + p_B (1 − p_D))` disagrees
    with it on the others: at `p_B = 0` it is λ times the cross-entropy. All factors belong to one sample; in the
    public code the first product is one of two means.

    Args:
        logits: `(B, C)` of the debiased network.
        label: `(B,)` int64.
        council: `(B,)` p_B, see `confidence`.
        weight: λ.
    """
    each = F.cross_entropy(logits.float(), label, reduction="none")
    own = torch.exp(-each)
    apart = -torch.log(own * (1 - council) + council * (1 - own) + 1e-7)
    return (council * each).mean(), weight * ((1 - council) * apart).mean()


def subsets(samples: int, members: int, share: float, seed: int) -> Tensor:
    """Return which samples each head sees, `(M, N)` bool: `round(share · N)` each, drawn once.

    Args:
        samples: N.
        members: M.
        share: In (0, 1].
        seed: Of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    found = torch.zeros(members, samples, dtype=torch.bool)
    for row in found:
        row[torch.randperm(samples, generator=generator)[: max(1, round(share * samples))]] = True
    return found
