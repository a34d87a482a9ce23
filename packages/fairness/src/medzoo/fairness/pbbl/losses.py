"""The balanced softmax and the pseudo bias labels of PBBL (Luo et al., MICCAI 2022)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def log_prior(bias: Tensor, label: Tensor, classes: int) -> Tensor:
    """Return `log P̂(y | b)` from counts, `(2, C)`; 1e-9 is added, so that what was never seen is finite.

    Args:
        bias: `(N,)` int64, 0 or 1.
        label: `(N,)` int64.
        classes: C.
    """
    counts = torch.bincount(bias * classes + label, minlength=2 * classes).reshape(2, classes).float()
    return torch.log(counts / counts.sum(1, keepdim=True).clamp(min=1) + 1e-9)


def balanced_softmax(logits: Tensor, label: Tensor, bias: Tensor, prior: Tensor) -> Tensor:
    """Return the cross-entropy of `z + log P̂(y | b)`, a scalar: the prior, and not the network, explains the bias.

    Args:
        logits: `(B, C)`; at the test they are used alone.
        label: `(B,)` int64.
        bias: `(B,)` int64.
        prior: `(2, C)` of `log_prior`.
    """
    return F.cross_entropy(logits.float() + prior[bias], label)


def youden_threshold(scores: Tensor, label: Tensor) -> float:
    """Return the threshold `score > t` of the largest true-positive minus false-positive rate; the lowest of several.

    Args:
        scores: `(N,)` of label 1.
        label: `(N,)` int64, 0 or 1, both present.
    """
    distinct, place = torch.unique(scores.double(), return_inverse=True)
    size = len(distinct)
    rates = [
        1 - torch.bincount(place[label == kind], minlength=size).double().cumsum(0) / (label == kind).sum()
        for kind in (1, 0)
    ]
    return float(distinct[int(torch.argmax(torch.round(rates[0] - rates[1], decimals=12)))])
