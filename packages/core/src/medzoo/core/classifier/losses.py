"""Losses of classes and of labels, of which some were not looked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def classes_loss(logits: Tensor, label: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Return the cross-entropy of exclusive classes.

    Args:
        logits: `(B, C)`.
        label: `(B,)` int64.
        weights: `(C,)` of the classes.
        smoothing: Probability that is spread over all classes.
    """
    return F.cross_entropy(logits, label, weights, label_smoothing=smoothing)


def labels_loss(logits: Tensor, label: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy of the labels that were looked for; 0 where there are none.

    Args:
        logits: `(B, C)`.
        label: `(B, C)` of 0, 1 and NaN.
        weights: `(C,)` of a label's positives.
        smoothing: Probability that is spread over both values.
    """
    known = ~label.isnan()
    target = label.nan_to_num(0.0) * (1 - smoothing) + smoothing / 2
    each = F.binary_cross_entropy_with_logits(logits, target, pos_weight=weights, reduction="none")
    return torch.where(known, each, torch.zeros_like(each)).sum() / known.sum().clamp(min=1)


def mean_known(each: Tensor, label: Tensor) -> Tensor:
    """Return the mean over the labels of each sample that were looked for, `(B,)`; 0 where none was.

    Args:
        each: `(B, C)` losses.
        label: `(B, C)` of 0, 1 and NaN.
    """
    known = ~label.isnan()
    return torch.where(known, each, torch.zeros_like(each)).sum(1) / known.sum(1).clamp(min=1)


def asymmetric(
    logits: Tensor,
    label: Tensor,
    negative: float = 4.0,
    positive: float = 1.0,
    clip: float = 0.05,
    through_focus: bool = True,
) -> Tensor:
    """Return the asymmetric loss of each sample (Ridnik et al., ICCV 2021, eq. 4 and 5), `(B,)`.

    Args:
        logits: `(B, C)`.
        label: `(B, C)` of 0, 1 and NaN.
        negative: Focusing exponent of negatives.
        positive: That of positives.
        clip: Probability by which negatives are shifted; easier ones add nothing.
        through_focus: Let gradients pass the focusing factors too; the authors' code does not.
    """
    p = logits.float().sigmoid()
    shifted = (p - clip).clamp(min=0)
    focus = torch.where(label == 1, (1 - p) ** positive, shifted**negative)
    each = torch.where(label == 1, F.logsigmoid(logits.float()), torch.log1p(-shifted.clamp(max=1 - 1e-6)))
    return mean_known(-(focus if through_focus else focus.detach()) * each, label)


def balanced_weights(have: Sequence[int], known: Sequence[int], multi_label: bool) -> list[float]:
    """Return weights under which rare classes count as much as frequent ones.

    Args:
        have: Images of each class.
        known: Images of which that is known.
        multi_label: For the positives of labels (negatives / positives) instead of classes (their mean is 1 over all
            images). A class without an image gets 1.
    """
    if multi_label:
        return [
            (total - count) / count if count and total > count else 1.0
            for count, total in zip(have, known, strict=True)
        ]
    present = sum(count > 0 for count in have)
    return [sum(have) / (present * count) if count else 1.0 for count in have]
