"""Pixel embeddings of CC2D's stage 1 (arXiv 2103.04527), which other matchers use as well."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from medzoo.landmark.matching.search import LossVariant
from medzoo.landmark.networks.routing import ByDomain, ContextBlock
from medzoo.landmark.networks.vgg import DoubleConv, Norm, VGGEncoder, climb, load_vgg


class EmbeddingUNet(nn.Module):
    """Pixel embeddings at five strides from a VGG with a U-Net decoder.

    The public code has a sixth map, of stride 1, that nothing reads; it is left out.

    Args:
        in_channels: Channels of the image.
        widths: Channels of the VGG stages (paper: VGG19).
        depths: Convolutions of the VGG stages (paper: VGG19).
        decoder_widths: Channels of the decoder at strides 16, 8, 4, 2 (paper: 256, 128, 64, 128).
        embedding: Channels of the embeddings (classic: 16; v2: 64).
        norm: Normalisation in the encoder (paper: none).
        context: Put context blocks before the three coarsest heads; the classic network for patches has none.
    """

    def __init__(
        self,
        in_channels: int = 3,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        depths: Sequence[int] = (2, 2, 4, 4, 4),
        decoder_widths: Sequence[int] = (256, 128, 64, 128),
        embedding: int = 16,
        norm: Norm = "none",
        context: bool = True,
    ) -> None:
        super().__init__()
        self.encoder = VGGEncoder(in_channels, widths, depths, norm)
        self.decoder = unet_decoder(widths, decoder_widths, nn.BatchNorm2d)
        outputs = [widths[-1], *decoder_widths]
        self.context = nn.ModuleList(ContextBlock(width) for width in outputs[:3] if context)
        self.heads = nn.ModuleList(nn.Conv2d(width, embedding, 1) for width in outputs)
        self.strides = [2 ** (len(widths) - i) for i in range(len(outputs))]

    def forward(self, image: Tensor) -> list[Tensor]:
        """Embed images.

        Args:
            image: `(B, in_channels, H, W)`; H and W divisible by the coarsest stride.

        Returns:
            Maps `(B, embedding, H / s, W / s)` for s in `strides`, coarsest first, not normalised.
        """
        maps = climb(self.encoder(image), self.decoder)
        maps[: len(self.context)] = [block(m) for block, m in zip(self.context, maps, strict=False)]
        return [head(m) for head, m in zip(self.heads, maps, strict=True)]


class SideBySide(ByDomain, nn.ModuleList):
    """One network for each domain, with nothing in common."""

    def load_vgg(self, weights: Mapping[str, Tensor]) -> None:
        """Copy torchvision's VGG weights into every encoder; raises `ValueError` where they do not fit."""
        for network in self:
            encoder = network.get_submodule("encoder")
            assert isinstance(encoder, VGGEncoder)
            load_vgg(encoder, weights)


class Embedders(SideBySide):
    """`EmbeddingUNet`s side by side."""

    @property
    def strides(self) -> list[int]:
        """Strides of the maps, coarsest first."""
        first = self[0]
        assert isinstance(first, EmbeddingUNet)
        return first.strides

    def forward(self, image: Tensor, domain: int) -> list[Tensor]:
        """Embed images of a domain."""
        maps: list[Tensor] = self[domain](image)
        return maps


def matchers(
    domains: int, form: LossVariant, network: Callable[..., EmbeddingUNet]
) -> tuple[Embedders, Embedders | None]:
    """Make the networks of stage 1, for whole images and for patches; v2 has one for both.

    Args:
        domains: Number of domains.
        form: `"classic"` or `"v2"`.
        network: Makes an `EmbeddingUNet`, with or without `context`.
    """
    whole = Embedders(network() for _ in range(domains))
    patch = Embedders(network(context=False) for _ in range(domains)) if form == "classic" else None
    # The layout spares a CPU time; values do not depend on it.
    layout = torch.channels_last
    return whole.to(memory_format=layout), None if patch is None else patch.to(memory_format=layout)


def unet_decoder(widths: Sequence[int], decoder_widths: Sequence[int], norm: type[nn.Module]) -> nn.ModuleList:
    """Steps from the deepest tap to stride 2."""
    if len(decoder_widths) != len(widths) - 1:
        raise ValueError(
            f"decoder_widths: expected {len(widths) - 1} values down to stride 2, got {len(decoder_widths)}"
        )
    inputs = [widths[-1], *decoder_widths]
    skips = list(reversed(widths[:-1]))
    return nn.ModuleList(DoubleConv(inputs[i] + skips[i], decoder_widths[i], norm) for i in range(len(decoder_widths)))
