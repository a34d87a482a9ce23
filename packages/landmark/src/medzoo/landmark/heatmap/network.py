"""Heat maps from a U-Net, or from an encoder of timm with the U-Net's decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch.nn.functional as F
from timm.models import FeatureInfo
from torch import Tensor, nn

from medzoo.core.backbones.encoders import copy_weights, timm_encoder
from medzoo.landmark.networks.routing import PerDomain, route, route_norms
from medzoo.landmark.networks.vgg import DoubleConv, climb


class UNetEncoder(nn.Module):
    """The contracting path of a U-Net: double convolutions with poolings between (arXiv 1505.04597).

    Args:
        in_channels: Channels of the image.
        width: Channels at full resolution; they double with each of the first three of the four poolings.
    """

    def __init__(self, in_channels: int = 1, width: int = 64) -> None:
        super().__init__()
        self.widths = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        pairs = zip([in_channels, *self.widths], self.widths, strict=False)
        self.blocks = nn.ModuleList(DoubleConv(before, after) for before, after in pairs)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map an image `(B, C, H, W)` to maps at strides 1, 2, 4, 8, 16."""
        taps = [self.blocks[0](image)]
        for block in self.blocks[1:]:
            taps.append(block(F.max_pool2d(taps[-1], 2)))
        return taps


class HeatmapNetwork(nn.Module):
    """An encoder, a decoder that climbs from tap to tap, and a 1×1 head for each domain.

    Domains share all convolutions but the heads; batch normalisations are per domain.

    Args:
        landmarks: Number of landmarks of each domain.
        backbone: `"unet"` or the name of a timm model that gives features.
        in_channels: Channels of the image.
        width: Channels of the U-Net at full resolution.
        decoder_width: Most channels of a decoder step; otherwise it has those of its tap.

    Raises:
        ValueError: timm has no such model, or it gives no features.
    """

    def __init__(
        self,
        landmarks: Sequence[int],
        backbone: str = "unet",
        in_channels: int = 1,
        width: int = 64,
        decoder_width: int = 256,
    ) -> None:
        super().__init__()
        widths: list[int]
        if backbone == "unet":
            self.encoder: nn.Module = UNetEncoder(in_channels, width)
            widths = self.encoder.widths
        else:
            self.encoder = timm_encoder(backbone, in_channels)
            widths = cast(FeatureInfo, self.encoder.feature_info).channels()
        self.decoder = nn.ModuleList()
        channels = widths[-1]
        for skip in reversed(widths[:-1]):
            out = min(skip, decoder_width)
            self.decoder.append(DoubleConv(channels + skip, out))
            channels = out
        route_norms(self, len(landmarks))
        self.heads = PerDomain(nn.Conv2d(channels, count, 1) for count in landmarks)

    def load_encoder(self, weights: Mapping[str, Tensor]) -> None:
        """Copy the weights of the timm classifier into the encoder, for each domain and for grey images.

        Raises:
            ValueError: A weight is missing or has another shape.
        """
        copy_weights(self.encoder, weights)

    def forward(self, image: Tensor, domain: int) -> Tensor:
        """Return heat-map logits.

        Args:
            image: `(B, in_channels, H, W)`, normalised, of one domain; for timm H and W are multiples of 32.
            domain: Index of the domain.

        Returns:
            Logits `(B, K_domain, H, W)`; from timm's encoders enlarged from their finest stride, 2 or 4.
        """
        route(self, domain)
        out: Tensor = self.heads(climb(self.encoder(image), list(self.decoder))[-1], domain)
        if out.shape[-2:] != image.shape[-2:]:
            out = F.interpolate(out, size=image.shape[-2:], mode="bilinear", align_corners=False)
        return out
