"""Whose a record is, read from its tokens: the head, the loss on it, and how attributes are scaled."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

ATTRIBUTES = ("age", "sex", "heart rate")
_OLDEST = 90.0
"""Years; PTB-XL writes 300 for all above 89."""


def attributes(age: Tensor, sex: Tensor, beats: list[Tensor], rate: float) -> Tensor:
    """Return the attributes of records `(B, 3)`, each of about unit size, NaN where unknown.

    Age is (years − 60) / 20, at most of 90 years; sex is 0 or 1; heart rate is (beats a minute − 70) / 15, of the
    median interval between R peaks. The paper's scaling is not public.

    Args:
        age: `(B,)` years.
        sex: `(B,)` 0 male, 1 female.
        beats: R peaks of each record, in samples.
        rate: Samples a second.
    """
    hearts = [60 * rate / float(at.diff().float().median()) if len(at) > 2 else torch.nan for at in beats]
    heart = torch.tensor(hearts).to(age)
    return torch.stack([(age.clamp(max=_OLDEST) - 60) / 20, sex, (heart - 70) / 15], dim=1).float()


def attribute_loss(found: Tensor, known: Tensor) -> Tensor:
    """Return the mean squared error over the attributes that are known, 0 where none is.

    Args:
        found: `(B, A)`.
        known: `(B, A)`, NaN where unknown.
    """
    there = known.isfinite()
    errors = (found - torch.where(there, known, torch.zeros_like(known))).square()
    return (errors * there).sum() / there.sum().clamp_min(1)


class AttributeHead(nn.Sequential):
    """Reads attributes from tokens `(B, C, n)`: `(B, attributes)`, scaled.

    Args:
        features: C × n.
        widths: Of the layers between.
        attributes: How many.
    """

    def __init__(self, features: int, widths: Sequence[int], attributes: int) -> None:
        layers: list[nn.Module] = [nn.Flatten()]
        before = features
        for width in widths:
            layers += [nn.Linear(before, width), nn.ReLU()]
            before = width
        super().__init__(*layers, nn.Linear(before, attributes))
