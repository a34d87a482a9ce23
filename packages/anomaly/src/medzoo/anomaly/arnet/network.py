"""The U-Net that restores what was erased."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MULTIPLE = 16
"""Height and width must be multiples of this."""


class RestoringUNet(nn.Module):
    """Restores upright colour images from what an operation left of them.

    The skips carry features in the frame of the input; that a turned image comes back upright is for the network to
    learn, not undone on the way.

    Args:
        width: Channels of the finest level; the deeper ones have 2, 4, 8 and 8 times as many.
        left: Channels of what the operations leave.
        colours: Channels of the image.
    """

    def __init__(self, width: int = 64, left: int = 1, colours: int = 3) -> None:
        super().__init__()
        sizes = [width * factor for factor in (1, 2, 4, 8, 8)]
        self.down = nn.ModuleList(_double(i, o) for i, o in pairwise([left, *sizes]))
        outs = [sizes[2], sizes[1], sizes[0], sizes[0]]
        ins = [sizes[4], *outs]
        self.up = nn.ModuleList(_double(i + skip, o) for i, skip, o in zip(ins, sizes[3::-1], outs, strict=False))
        self.head = nn.Conv2d(width, colours, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, 3, H, W)` from `(B, C, H, W)` in [0, 1]; nothing bounds the values."""
        seen: list[Tensor] = []
        for step in self.down:
            x = step(F.max_pool2d(x, 2) if seen else x)
            seen.append(x)
        for step, skip in zip(self.up, seen[-2::-1], strict=True):
            wide = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = step(torch.cat([wide, skip], dim=1))
        made: Tensor = self.head(x)
        return made


def _double(i: int, o: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for first in (i, o):
        parts += [nn.Conv2d(first, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(inplace=True)]
    return nn.Sequential(*parts)
