"""From images to codes, and back where the information in a code is measured by restoring the image."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from medzoo.anomaly.images.decoder import decoder
from medzoo.core.backbones.features import EncoderFeatures

MULTIPLE = 16
"""Height and width must be multiples of this."""


class Codes(NamedTuple):
    """What the network makes of images.

    Attributes:
        cells: `(B, L, H/16, W/16)`, the code of every cell.
        code: `(B, L)`, z, the mean over the cells.
    """

    cells: Tensor
    code: Tensor


class Coder(nn.Module):
    """A network of timm to stride 16, a linear map to codes without bias, and a decoder where one is wanted.

    Args:
        backbone: Network of timm, with weights drawn at random.
        widths: Channels of a small residual network with one block a stage; empty: timm's own.
        size: Height and width of the images.
        latent: L, length of a code.
        restores: Whether there is a decoder.
    """

    def __init__(
        self, backbone: str, widths: list[int] | None, size: tuple[int, int], latent: int, restores: bool
    ) -> None:
        super().__init__()
        self.stages = EncoderFeatures(backbone, widths or (), "none", size, strides=(MULTIPLE,))
        inside = self.stages.channels[-1]
        # Features are not negative: without taking their mean away all codes begin in one direction.
        self.head = nn.Sequential(nn.BatchNorm2d(inside, affine=False), nn.Conv2d(inside, latent, 1, bias=False))
        levels = [max(8, inside // factor) for factor in (8, 4, 2, 1)]
        cells = (size[0] // MULTIPLE, size[1] // MULTIPLE)
        self.decoder = decoder(levels, cells, latent) if restores else None

    def forward(self, images: Tensor) -> Codes:
        """Return the codes of `(B, 3, H, W)` in [0, 1]."""
        cells = self.head(self.stages(images)[-1])
        return Codes(cells, cells.mean((2, 3)))
