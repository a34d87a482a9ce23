"""Losses that several methods share: against easy negatives, rare classes and shortcuts. Labels may be NaN: unknown."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medzoo.core.classifier.losses import mean_known


def cross_entropies(logits: Tensor, label: Tensor) -> Tensor:
    """Return the cross-entropy of each sample, `(B,)`; of several labels, the mean over those that were looked for.

    Args:
        logits: `(B, C)`.
        label: `(B,)` int64 of exclusive classes, or `(B, C)` of 0, 1 and NaN.
    """
    if label.ndim == 1:
        return F.cross_entropy(logits, label, reduction="none")
    each = F.binary_cross_entropy_with_logits(logits, label.nan_to_num(0.0), reduction="none")
    return mean_known(each, label)


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


def generalised_ce(logits: Tensor, label: Tensor, q: float = 0.7) -> Tensor:
    """Return `(1 − p_y^q) / q` of each sample (Zhang and Sabuncu, NeurIPS 2018), whose gradient is `p_y^q ∇CE`.

    Samples that fit badly pull less than under cross-entropy, so that a network learns what is easy. q → 0 is the
    cross-entropy, q = 1 the mean absolute error.

    Args:
        logits: `(B, C)`.
        label: `(B,)` int64.
        q: In (0, 1].
    """
    log_p = logits.float().log_softmax(1).gather(1, label[:, None])[:, 0]
    return -torch.expm1(q * log_p) / q


def focal(logits: Tensor, label: Tensor, gamma: float = 2.0) -> Tensor:
    """Return the focal loss of each sample, `(1 − p_y)^γ CE` (Lin et al., ICCV 2017), `(B,)`.

    Args:
        logits: `(B, C)`.
        label: `(B,)` int64, or `(B, C)` of 0, 1 and NaN.
        gamma: Exponent; 0 is the cross-entropy.
    """
    if label.ndim == 1:
        each = F.cross_entropy(logits, label, reduction="none")
        return (-torch.expm1(-each)) ** gamma * each
    each = F.binary_cross_entropy_with_logits(logits, label.nan_to_num(0.0), reduction="none")
    return mean_known((-torch.expm1(-each)) ** gamma * each, label)


def effective_weights(counts: Tensor, beta: float = 0.999) -> Tensor:
    """Return the class weights `(1 − β) / (1 − β^n)` (Cui et al., CVPR 2019), scaled to a mean of 1.

    Args:
        counts: `(C,)` samples of each class; an absent one counts as 1.
        beta: Below 1; 0 gives all classes the same weight.
    """
    weights = (1 - beta) / (1 - beta ** counts.double().clamp(min=1))
    return (weights / weights.mean()).float()


def log_priors(counts: Tensor, known: Tensor, multi_label: bool) -> Tensor:
    """Return what logit adjustment adds to the logits in training (Menon et al., ICLR 2021): `(C,)`.

    `log π_c` of exclusive classes, `log π_c / (1 − π_c)` of labels; an absent class counts as one sample.

    Args:
        counts: `(C,)` samples of each class.
        known: `(C,)` samples of which that is known.
        multi_label: Whether several may hold at once.
    """
    share = counts.double().clamp(min=1) / known.double().clamp(min=2)
    share = share.clamp(max=1 - 1e-6)
    return (torch.log(share) - torch.log1p(-share) if multi_label else torch.log(share)).float()


def distribution_balanced(
    logits: Tensor,
    label: Tensor,
    counts: Tensor,
    total: int,
    scale: float = 2.0,
    adaptive: float | None = None,
    detach_scale: bool = True,
    bias: float = 0.025,
    balanced: bool = True,
    focusing: bool = True,
) -> Tensor:
    """Return the distribution-balanced loss of each label (Wu et al., ECCV 2020), `(B, C)`; 0 where it is NaN.

    Positives cost `w softplus(−(z + ν))`, negatives `w / λ · softplus(λ (z + ν))`, times `2 (1 − p_t)²` of the scaled
    logit. `ν_c = −κ log(N / n_c − 1)`; `w = 0.1 + σ(10 (r − 0.2))` with `r = (1 / n_c) / Σ_j y_j / n_j`.

    With `adaptive` the scale is that of adaptive negative regularisation (Lai et al., ISBI 2024): `λ(z) = 1 + b (1 −
    σ(z))` of the raw logit, always detached where it divides. Where it multiplies the logit, the public code lets
    gradients through, so that the slope at z ≈ 2.4 all but vanishes for b = 10 and is negative above.

    Args:
        logits: `(B, C)`; they are not changed.
        label: `(B, C)` of 0, 1 and NaN.
        counts: `(C,)` positives of each class in the training data.
        total: Number of training samples.
        scale: λ where `adaptive` is None.
        adaptive: b.
        detach_scale: Let no gradient through λ(z) at all.
        bias: κ; 0 for none.
        balanced: Weigh by w; otherwise 1.
        focusing: Multiply by the focal factor.
    """
    z = logits.float()
    positives = counts.to(z).clamp(min=1)
    target = label.nan_to_num(0.0)
    inner = z - bias * torch.log((total / positives - 1).clamp(min=1e-6))
    stretch = torch.full_like(z, scale) if adaptive is None else 1 + adaptive * (1 - z.sigmoid())
    multiplier = stretch.detach() if detach_scale else stretch
    scaled = torch.where(target == 1, inner, multiplier * inner)
    each = F.binary_cross_entropy_with_logits(scaled, target, reduction="none")
    weight = torch.ones_like(z)
    if balanced:
        share = (1 / positives) / (target / positives).sum(1, keepdim=True)  # infinite without a positive: weight 1.1
        weight = 0.1 + torch.sigmoid(10 * (share - 0.2))
    weight = torch.where(target == 1, weight, weight / stretch.detach())
    if focusing:
        each = 2 * (-torch.expm1(-each)) ** 2 * each
    return torch.where(label.isnan(), torch.zeros_like(each), weight * each)
