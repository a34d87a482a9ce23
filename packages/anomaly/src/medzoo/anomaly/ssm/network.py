"""A U-Net whose encoder never sees the mask; the mask reaches the features behind the bottleneck and in the decoder."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MULTIPLE = 16
"""Height and width must be multiples of this."""


class MaskBlock(nn.Module):
    """Adds to the features, where the mask shows the image, a correction that features and mask decide on.

    Args:
        width: Channels of the features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.look = nn.Sequential(
            nn.Conv2d(width + 1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.change = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Return `(B, C, h, w)`; the mask `(B, 1, H, W)` is 1 where the image is visible."""
        near = F.interpolate(mask, features.shape[-2:], mode="nearest")
        change: Tensor = self.change(self.look(torch.cat([self.norm(features), near], dim=1)))
        return features + near * change


class MaskedUNet(nn.Module):
    """Restores an image and its mask (the public code's conditional U-Net: 33,301,188 parameters with a width of 64).

    Args:
        width: Channels of the finest level; the deeper ones have 2, 4, 8 and 8 times as many.
        colours: Channels of the image.
    """

    def __init__(self, width: int = 64, colours: int = 3) -> None:
        super().__init__()
        sizes = [width * factor for factor in (1, 2, 4, 8, 8)]
        self.down = nn.ModuleList([nn.Sequential(*_conv(colours, width, 3), *_conv(width, width, 3))])
        for i, o in pairwise(sizes):
            self.down.append(nn.Sequential(*_conv(i, o, 4), *_conv(o, o, 3)))
        back = sizes[::-1]
        self.shrink = nn.ModuleList(nn.Conv2d(i, o, 1) for i, o in pairwise(back))
        self.up = nn.ModuleList(nn.Sequential(*_conv(2 * o, o, 3), *_conv(o, o, 3)) for o in back[1:])
        self.masked = nn.ModuleList(MaskBlock(size) for size in back)
        self.head = nn.Conv2d(width, colours + 1, 3, padding=1)
        self.colours = colours

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Restore.

        Args:
            image: `(B, 3, H, W)` in [0, 1], 0 where hidden.
            mask: `(B, 1, H, W)`, 1 where visible, 0 where hidden.

        Returns:
            The image `(B, 3, H, W)` and the mask `(B, 1, H, W)`, both in [−1, 1].
        """
        seen = []
        x = image
        for step in self.down:
            x = step(x)
            seen.append(x)
        x = self.masked[0](x, mask)
        for shrink, step, block, skip in zip(self.shrink, self.up, self.masked[1:], seen[-2::-1], strict=True):
            x = shrink(F.interpolate(x, scale_factor=2.0, mode="nearest"))
            x = block(step(torch.cat([x, skip], dim=1)), mask)
        found = torch.tanh(self.head(x))
        return found[:, : self.colours], found[:, self.colours :]


def _conv(i: int, o: int, kernel: int) -> list[nn.Module]:
    stride = 2 if kernel == 4 else 1
    return [nn.Conv2d(i, o, kernel, stride, padding=1), nn.BatchNorm2d(o), nn.ReLU(inplace=True)]
