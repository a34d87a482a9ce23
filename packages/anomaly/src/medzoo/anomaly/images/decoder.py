"""A decoder from a code to an image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def decoder(widths: Sequence[int], cells: tuple[int, int], latent: int) -> nn.Sequential:
    """Return a network from codes `(B, L)` to images `(B, 3, H, W)` in [0, 1].

    Args:
        widths: Channels from the finest level to the coarsest; each level doubles the sides.
        cells: Height and width of the coarsest level.
        latent: L.
    """
    layers: list[nn.Module] = [
        nn.Linear(latent, widths[-1] * cells[0] * cells[1]),
        nn.Unflatten(1, (widths[-1], *cells)),
    ]
    for i, o in pairwise(widths[::-1]):
        layers += [*_up(i, o), nn.BatchNorm2d(o), nn.LeakyReLU(0.01)]
    return nn.Sequential(*layers, *_up(widths[0], 3), nn.Sigmoid())


def _up(i: int, o: int) -> list[nn.Module]:
    return [nn.Upsample(scale_factor=2.0, mode="nearest"), nn.Conv2d(i, o, 3, padding=1)]
