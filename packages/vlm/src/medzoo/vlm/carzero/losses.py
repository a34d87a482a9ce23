"""Contrastive losses over all pairs of the images and sentences of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

TARGETS = ("diagonal", "dedup", "multi_positive")


class Pairs(NamedTuple):
    """Which image should choose which sentence.

    Attributes:
        texts: The sentences, the columns of the logits.
        right: `(B, M)` bool, pairs that belong together.
        out: `(B, M)` bool, pairs that are neither right nor wrong.
    """

    texts: list[str]
    right: Tensor
    out: Tensor


def pair_up(drawn: Sequence[Sequence[str]], said: Sequence[Sequence[str]], targets: str = "diagonal") -> Pairs:
    """Return the columns of a batch and which images they belong to.

    Args:
        drawn: Sentences drawn for each image.
        said: All sentences of each image's report.
        targets: `diagonal` has a column for each drawn sentence, which is wrong for all other images, even where it is
            the same sentence, as in the paper; `dedup` has a column for each distinct one and leaves out images whose
            report says it, though it was not drawn for them; in `multi_positive` it is right for them too.
    """
    if targets == "diagonal":
        texts = [text for own in drawn for text in own]
        owner = torch.tensor([index for index, own in enumerate(drawn) for _ in own])
        right = owner == torch.arange(len(drawn))[:, None]
        return Pairs(texts, right, torch.zeros_like(right))
    texts = list(dict.fromkeys(text for own in drawn for text in own))
    right, true = (
        torch.tensor([[text in kept for text in texts] for kept in map(set, rows)]) for rows in (drawn, said)
    )
    return (
        Pairs(texts, right | true, right & ~right)
        if targets == "multi_positive"
        else Pairs(texts, right, true & ~right)
    )


def contrastive(logits: Tensor, right: Tensor, out: Tensor) -> Tensor:
    """Return the mean of the losses of images that choose sentences and of sentences that choose images.

    For each right pair `−log(exp(s) / (exp(s) + Σ exp(wrong)))`, where the wrong ones are those of its row, or of its
    column; the mean over all right pairs. With one sentence an image this is the symmetric cross-entropy of CARZero
    (section 3.3); with several, RadZero's loss for several positives (MP-NCE, arXiv 2504.07416), summed in logarithms.

    Args:
        logits: `(B, M)`, a row an image, a column a sentence.
        right: `(B, M)` bool.
        out: `(B, M)` bool, pairs that do not count.
    """
    others = logits.masked_fill(right | out, -torch.inf)
    losses = []
    for axis in (1, 0):
        rest = others.logsumexp(axis, keepdim=True).expand_as(logits)
        # Where nothing is wrong, −inf has no gradient: such a pair teaches nothing.
        losses.append(functional.softplus(rest - logits)[right].mean())
    return (losses[0] + losses[1]) / 2


def choices(logits: Tensor, twins: Tensor, right: Tensor, out: Tensor, affirmed: Tensor) -> Tensor:
    """Return the losses of two choices about denials, each the mean over sentences of the mean over their images.

    An image chooses between its sentence and the opposite one, `softplus(opposite − own)`. And of the denial of an
    affirmed sentence, an image that the sentence belongs to should have less than the mean image of the batch that it
    does not belong to, `softplus(own − mean)`. Reconstructed after Bi-MCQ's questions from image to text and from text
    to image, with weight 1. The mean over sentences lets a rare finding count as much as a frequent one; an image whose
    report does not speak of a finding is taken for one without it.

    Args:
        logits: `(B, M)`, a row an image, a column a sentence that has an opposite.
        twins: `(B, M)`, of the opposite sentences.
        right: `(B, M)` bool.
        out: `(B, M)` bool, pairs that do not count.
        affirmed: `(M,)` bool, sentences that affirm.
    """
    if not right.any():
        return 0.0 * logits.sum()
    counts = right.sum(0)
    own = (functional.softplus(twins - logits) * right).sum(0)[counts > 0] / counts[counts > 0]
    without = ~(right | out)
    asked = affirmed & (counts > 0) & without.any(0)
    if not asked.any():
        return own.mean()
    twins, right, without, counts = twins[:, asked], right[:, asked], without[:, asked], counts[asked]
    others = (twins * without).sum(0) / without.sum(0)
    chosen = (functional.softplus(twins - others) * right).sum(0) / counts
    return own.mean() + chosen.mean()
