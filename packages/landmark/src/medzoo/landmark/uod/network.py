"""Networks of UOD: UVGG (stage I, pixel embeddings) and DATR (stage II, heat maps). arXiv 2306.07615."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from medzoo.landmark.networks.routing import ContextBlock, PerDomain, SeparableDoubleConv
from medzoo.landmark.networks.vgg import DoubleConv, Norm, VGGEncoder, climb, load_vgg
from medzoo.landmark.uod.swin import AdaptiveSwin, AttentionMode, MLPMode, Residual


class UVGG(nn.Module):
    """Pixel embeddings at five strides: one VGG per domain, a universal decoder, shared context blocks and heads.

    The decoder's depthwise convolutions and normalisations are per domain, its pointwise convolutions shared (§2.1 of
    the paper). The encoders are separate networks, as in the public code.

    Args:
        domains: Number of domains.
        in_channels: Channels of the image.
        widths: Channels of the VGG stages (paper: VGG19).
        depths: Convolutions of the VGG stages (paper: VGG19).
        decoder_widths: Channels of the decoder at strides 16, 8, 4, 2 (paper: 256, 128, 64, 128).
        embedding: Channels of the embeddings (paper: 16).
        norm: Normalisation in the encoders (paper: none).
        full_resolution: Also build the map of stride 1, which neither the loss nor the matching of the paper uses.
    """

    def __init__(
        self,
        domains: int,
        in_channels: int = 3,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        depths: Sequence[int] = (2, 2, 4, 4, 4),
        decoder_widths: Sequence[int] = (256, 128, 64, 128),
        embedding: int = 16,
        norm: Norm = "none",
        full_resolution: bool = False,
    ) -> None:
        super().__init__()
        if len(decoder_widths) != len(widths) - 1:
            raise ValueError(f"decoder_widths: expected {len(widths) - 1} values, got {len(decoder_widths)}")
        self.encoders = PerDomain(VGGEncoder(in_channels, widths, depths, norm) for _ in range(domains))
        self.decoder = nn.ModuleList()
        channels = widths[-1]
        for width, skip in zip(decoder_widths, reversed(widths[:-1]), strict=True):
            self.decoder.append(SeparableDoubleConv(channels + skip, width, width, domains))
            channels = width
        outputs = [widths[-1], *decoder_widths]
        self.context = nn.ModuleList(ContextBlock(width, domains) for width in outputs[:3])
        self.full = DoubleConv(channels, channels) if full_resolution else None
        if full_resolution:
            outputs.append(channels)
        self.heads = nn.ModuleList(nn.Conv2d(width, embedding, 1) for width in outputs)
        self.strides = [2 ** (len(widths) - i) for i in range(len(outputs))]

    def load_vgg(self, weights: Mapping[str, Tensor]) -> None:
        """Copy torchvision's VGG weights into every encoder; raises `ValueError` where they do not fit."""
        for encoder in self.encoders:
            assert isinstance(encoder, VGGEncoder)
            load_vgg(encoder, weights)

    def forward(self, image: Tensor, domain: int) -> list[Tensor]:
        """Embed images of one domain.

        Args:
            image: `(B, in_channels, H, W)` in [0, 1]; H and W divisible by the coarsest stride.
            domain: Index of the domain.

        Returns:
            Maps `(B, embedding, H / s, W / s)` for s in `strides`, coarsest first, not normalised.
        """
        maps = climb(self.encoders[domain](image), [partial(block, domain=domain) for block in self.decoder])
        x = maps[-1]
        maps[:3] = [block(m, domain) for block, m in zip(self.context, maps[:3], strict=True)]
        if self.full is not None:
            maps.append(self.full(F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)))
        return [head(m) for head, m in zip(self.heads, maps, strict=True)]


class DATR(nn.Module):
    """Heat maps from a Swin transformer with domain-specific queries and scales, and a domain-routed decoder (§2.2).

    Args:
        landmarks: Number of landmarks of each domain.
        embed: Channels of the first stage (paper: Swin-B, 128).
        depths: Blocks of the four stages (paper: 2, 2, 18, 2).
        heads: Attention heads of the stages (paper: 4, 8, 16, 32).
        window: Side of the attention windows in tokens (paper: 7).
        in_channels: Channels of the image.
        drop_path: Largest rate of stochastic depth, reached linearly at the last block (public code: 0.5).
        layer_scale: Initial value of the domain-specific scales (paper: 1e-4, for pretrained weights; blocks trained
            from random weights in few steps want 0.1 to 1). None leaves the scales out.
        attention: `"query"`: the query projection is per domain (paper); `"origin"`: nothing is (plain Swin).
        mlp: `"domain"`: an MLP per domain (public code); `"shared"`: one for all.
        residual: `"outer"`: x + γ·MLP(x); `"inner"`: γ·(x + MLP(x)), which is what the public code computes.
        checkpointing: Trade time for memory: recompute the blocks in the backward pass.
    """

    def __init__(
        self,
        landmarks: Sequence[int],
        embed: int = 128,
        depths: Sequence[int] = (2, 2, 18, 2),
        heads: Sequence[int] = (4, 8, 16, 32),
        window: int = 7,
        in_channels: int = 3,
        drop_path: float = 0.5,
        layer_scale: float | None = 1e-4,
        attention: AttentionMode = "query",
        mlp: MLPMode = "domain",
        residual: Residual = "outer",
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        domains = len(landmarks)
        self.encoder = AdaptiveSwin(
            domains, embed, depths, heads, window, in_channels, drop_path, layer_scale, attention, mlp, residual,
            checkpointing=checkpointing,
        )  # fmt: skip
        widths = self.encoder.widths
        self.decoder = nn.ModuleList()
        channels = widths[-1]
        for skip in reversed(widths):
            total = channels + skip
            # The last step halves as well: 2·E → E → E/2.
            self.decoder.append(SeparableDoubleConv(total, total // 2, total // 4, domains))
            channels = total // 4
        self.heads = PerDomain(nn.Conv2d(channels, count, 1) for count in landmarks)

    def forward(self, image: Tensor, domain: int) -> Tensor:
        """Return heat-map logits.

        The public code concatenates the deepest map with a copy of itself that was enlarged and cropped again, by way
        of a negative padding; here it meets a plain copy, which keeps the widths.

        Args:
            image: `(B, in_channels, H, W)`, normalised.
            domain: Index of the domain.

        Returns:
            Logits `(B, K_domain, H, W)`; the sigmoid belongs to the loss and the decoding.
        """
        features = self.encoder(image, domain)
        # The deepest map stands twice: it is its own neighbour in the first step.
        x = climb([*features, features[-1]], [partial(block, domain=domain) for block in self.decoder])[-1]
        out = self.heads(x, domain)
        return F.interpolate(out, size=image.shape[-2:], mode="bilinear", align_corners=True)
