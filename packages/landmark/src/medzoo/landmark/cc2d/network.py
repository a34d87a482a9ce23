"""Voting maps of CC2D's stage 2 (arXiv 2103.04527); its stage 1 is `medzoo.landmark.networks.embedding`."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from medzoo.landmark.networks.embedding import SideBySide, unet_decoder
from medzoo.landmark.networks.vgg import DoubleConv, Norm, VGGEncoder, climb


class VotingUNet(nn.Module):
    """Where each landmark may be, and from each pixel the way to it: 3 maps a landmark.

    Args:
        landmarks: Number of landmarks.
        in_channels: Channels of the image.
        widths: Channels of the VGG stages (paper: VGG19).
        depths: Convolutions of the VGG stages (paper: VGG19).
        decoder_widths: Channels of the decoder at strides 16, 8, 4, 2 and 1 (public code: 256, 128, 64, 128, 64).
        norm: Normalisation in the encoder (paper: none).
    """

    def __init__(
        self,
        landmarks: int,
        in_channels: int = 3,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        depths: Sequence[int] = (2, 2, 4, 4, 4),
        decoder_widths: Sequence[int] = (256, 128, 64, 128, 64),
        norm: Norm = "none",
    ) -> None:
        super().__init__()
        self.encoder = VGGEncoder(in_channels, widths, depths, norm)
        self.decoder = unet_decoder(widths, decoder_widths[:-1], nn.InstanceNorm2d)
        self.finest = DoubleConv(decoder_widths[-2], decoder_widths[-1], nn.InstanceNorm2d)
        self.head = nn.Conv2d(decoder_widths[-1], 3 * landmarks, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits of the heat map and the offsets along x and y, `(B, K, H, W)` each.

        The sigmoid of the paper belongs to the loss: votes depend on the order of the values only. Offsets are
        `(p − u) / R`.

        Args:
            image: `(B, in_channels, H, W)`; H and W divisible by the coarsest stride.
        """
        x = climb(self.encoder(image), self.decoder)[-1]
        x = self.finest(F.interpolate(x, size=image.shape[-2:], mode="bilinear", align_corners=True))
        heat, offset_x, offset_y = self.head(x).chunk(3, dim=1)
        return heat, offset_x, offset_y


class Voters(SideBySide):
    """`VotingUNet`s side by side."""

    def forward(self, image: Tensor, domain: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the voting maps of images of a domain."""
        heat, offset_x, offset_y = self[domain](image)
        return heat, offset_x, offset_y
