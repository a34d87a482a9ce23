"""Encoder, decoder and second encoder."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from medzoo.anomaly.images.decoder import decoder

MULTIPLE = 16
"""Height and width must be multiples of this."""


class Codes(NamedTuple):
    """What the network makes of images.

    Attributes:
        first: z, `(B, L)`.
        made: x̂, `(B, 3, H, W)` in [0, 1].
        second: ẑ, `(B, L)`, of the images that were made.
    """

    first: Tensor
    made: Tensor
    second: Tensor


class TwinEncoder(nn.Module):
    r"""Returns $z = E_1(x)$, $\hat x = D(z)$ and $\hat z = E_2(\hat x)$.

    Encoders have no bias and no learnt shift, since a constant code would then be a solution.

    Args:
        size: Height and width.
        width: Channels of the finest level.
        latent: L, length of a code.
        tied: Both encoders are one.
    """

    def __init__(self, size: tuple[int, int], width: int = 32, latent: int = 128, tied: bool = False) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 4 * width]
        cells = (size[0] // MULTIPLE, size[1] // MULTIPLE)
        self.first = _encoder(widths, cells, latent)
        self.decoder = decoder(widths, cells, latent)
        self.second = self.first if tied else _encoder(widths, cells, latent)

    def forward(self, x: Tensor) -> Codes:
        """Return the codes of `(B, 3, H, W)` in [0, 1]."""
        first = self.first(x)
        made = self.decoder(first)
        return Codes(first, made, self.second(made))


def _encoder(widths: list[int], cells: tuple[int, int], latent: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, o in pairwise([3, *widths]):
        layers += [
            nn.Conv2d(i, o, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(o, affine=False),
            nn.LeakyReLU(0.01),
        ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * cells[0] * cells[1], latent, bias=False))


def lengths(codes: Tensor) -> Tensor:
    """Return the Euclidean lengths of codes `(B, L)`, `(B,)`, whose gradient is finite at 0."""
    return torch.sqrt((codes**2).sum(1) + 1e-12)
