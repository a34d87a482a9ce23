"""Cross-entropies of classes and of labels, of which some were not looked for."""

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
