"""A U-Net whose deepest features have a name, so that methods can look at them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def block(channels: int, width: int) -> nn.Sequential:
    """Return two convolutions with batch normalisation, `(B, channels, H, W)` to `(B, width, H, W)`."""
    layers: list[nn.Module] = []
    for inputs in (channels, width):
        layers += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """A U-Net (Ronneberger et al., MICCAI 2015) with batch normalisation and bilinear enlarging.

    `bottleneck` gives the deepest features, `(B, width · 2^depth, H / 2^depth, W / 2^depth)`; those of the levels above
    bypass it.

    Args:
        channels: Of the images.
        width: Features of the first level; each level has twice those of the one above.
        depth: Times that height and width are halved.
    """

    def __init__(self, channels: int, width: int = 16, depth: int = 3) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(
            block(inputs, own) for inputs, own in zip([channels, *widths[: depth - 1]], widths[:depth], strict=True)
        )
        self.bottleneck = block(widths[-2], widths[-1])
        self.up = nn.ModuleList(block(widths[k + 1] + widths[k], widths[k]) for k in reversed(range(depth)))
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits `(B, 1, H, W)` of images `(B, C, H, W)` in [0, 1]."""
        x, skips = (image - 0.5) / 0.25, []
        for level in self.down:
            x = level(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.bottleneck(x)
        for level, skip in zip(self.up, reversed(skips), strict=True):
            x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = level(torch.cat([x, skip], 1))
        logits: Tensor = self.head(x)
        return logits
