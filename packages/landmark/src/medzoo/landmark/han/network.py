"""Network of HAN (arXiv 2412.06499; HYATT-Net): transformer and convolutions in turn, a pyramid neck, three heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medzoo.landmark.han.attention import FullAttention, RoutingAttention
from medzoo.landmark.networks.routing import PerDomain, route, route_norms
from medzoo.landmark.networks.vgg import Norm, normalisation

_IMAGE_WIDTH = 32


class BiFormerBlock(nn.Module):
    """Depthwise convolution, attention and MLP, each added to its input.

    Args:
        channels: Channels.
        attention: Maps `(B, H, W, C)` to the same shape.
        mlp_ratio: Hidden channels of the MLP over `channels`.
        drop_path: Rate of stochastic depth.
    """

    def __init__(self, channels: int, attention: nn.Module, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.position = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm1, self.norm2 = nn.LayerNorm(channels, eps=1e-6), nn.LayerNorm(channels, eps=1e-6)
        self.attention = attention
        hidden = mlp_ratio * channels
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C, H, W)` to the same shape."""
        x = (x + self.position(x)).permute(0, 2, 3, 1)
        x = x + self.drop_path(self.attention(self.norm1(x)))
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        return x.permute(0, 3, 1, 2)


class CBAM(nn.Module):
    """Gates of channels, then of places, from averages and maxima (arXiv 1807.06521).

    Args:
        channels: Channels.
        ratio: `channels` over the hidden channels of the channels' gate.
    """

    def __init__(self, channels: int, ratio: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // ratio)
        self.channel = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1, bias=False),
        )
        self.place = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C, H, W)` to the same shape, nowhere larger in magnitude."""
        mean, most = x.mean(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
        x = x * (self.channel(mean) + self.channel(most)).sigmoid()
        gate = self.place(torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1))
        gated: Tensor = x * gate.sigmoid()
        return gated


class ConvAttentionBlock(nn.Module):
    """CAB: two convolutions gated by CBAM beside a third one."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            normalisation(norm, channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=2, dilation=2, bias=False),
            normalisation(norm, channels),
            CBAM(channels),
        )
        self.beside = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, C, H, W)` to the same shape."""
        return F.relu(self.body(x) + self.beside(x))


class Backbone(nn.Module):
    """Five stages of patch embedding, BiFormer block and CAB, at strides 2 to 32.

    Args:
        in_channels: Channels of the image.
        widths: Channels of the stages.
        attention_heads: Attention heads of the stages.
        windows: Regions along a side in all stages but the last, whose attention is full.
        topk: Regions attended to in these stages.
        mlp_ratios: Hidden channels of the MLPs over those of their stages.
        drop_path: Largest rate of stochastic depth.
        norm: Normalisation of the convolutions.
        checkpointing: Recompute the stages in the backward pass to save memory.
    """

    def __init__(
        self,
        in_channels: int = 3,
        widths: Sequence[int] = (64, 128, 320, 512, 1024),
        attention_heads: Sequence[int] = (2, 4, 10, 16, 8),
        windows: Sequence[int] = (16, 16, 16, 8),
        topk: Sequence[int] = (1, 4, 8, 16),
        mlp_ratios: Sequence[int] = (8, 8, 8, 4, 4),
        drop_path: float = 0.1,
        norm: Norm = "batch",
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        self.stages = nn.ModuleList()
        channels = in_channels
        for i, (width, heads, ratio) in enumerate(zip(widths, attention_heads, mlp_ratios, strict=True)):
            last = i == len(widths) - 1
            attention = FullAttention(width, heads) if last else RoutingAttention(width, heads, windows[i], topk[i])
            self.stages.append(
                nn.Sequential(
                    nn.Conv2d(channels, width, 4, stride=2, padding=1),
                    normalisation(norm, width),
                    BiFormerBlock(width, attention, ratio, drop_path * i / (len(widths) - 1)),
                    ConvAttentionBlock(width, norm),
                )
            )
            channels = width

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map an image `(B, C, H, W)` to the maps of the stages, finest first."""
        maps: list[Tensor] = []
        x = image
        for stage in self.stages:
            x = checkpoint(stage, x, use_reentrant=False) if self.checkpointing and self.training else stage(x)
            maps.append(x)
        return maps


class Neck(nn.Module):
    """FFCM: the maps of stages 2 to 5 brought to one width and added up from coarse to fine.

    The public code also convolves the sums at strides 8 to 32, which nothing reads; they are left out here.

    Args:
        widths: Channels of the stages from the second.
        channels: Channels of the result.
    """

    def __init__(self, widths: Sequence[int], channels: int = 256) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 3, padding=1) for width in widths)
        self.smooth = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map the stages' maps, finest first, to `(B, channels, H / 4, W / 4)`."""
        sides = [lateral(m) for lateral, m in zip(self.lateral, maps, strict=True)]
        x = sides[-1]
        for side in reversed(sides[:-1]):
            x = side + F.interpolate(x, side.shape[-2:], mode="nearest")
        out: Tensor = self.smooth(x)
        return out


class Heads(nn.Module):
    """Heat maps at a quarter, a half and the full resolution, the last one corrected by the image itself.

    Args:
        landmarks: Number of landmarks.
        channels: Channels of the neck.
        in_channels: Channels of the image.
        norm: Normalisation of the convolutions.
    """

    def __init__(self, landmarks: int, channels: int = 256, in_channels: int = 3, norm: Norm = "batch") -> None:
        super().__init__()
        self.at_quarter = _head(channels, landmarks)
        self.enlarge = nn.Sequential(
            nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1, bias=False),
            normalisation(norm, channels),
            nn.ReLU(inplace=True),
        )
        self.at_half = _head(channels, landmarks)
        self.see = nn.Sequential(
            nn.Conv2d(in_channels, _IMAGE_WIDTH, 1), normalisation(norm, _IMAGE_WIDTH), nn.ReLU(inplace=True)
        )
        self.at_full = _head(channels + _IMAGE_WIDTH + landmarks, landmarks)

    def forward(self, x: Tensor, image: Tensor) -> list[Tensor]:
        """Return maps `(B, K, H / s, W / s)` for s = 4, 2, 1 from the neck's map and the image `(B, C, H, W)`."""
        large = self.enlarge(x)
        half = self.at_half(large)
        seen = self.see(F.interpolate(image, large.shape[-2:], mode="nearest"))
        full = self.at_full(torch.cat([large, seen, half], dim=1))
        full = F.interpolate(full, image.shape[-2:], mode="bilinear", align_corners=False)
        return [self.at_quarter(x), half, full]


class HANNetwork(nn.Module):
    """Backbone and neck for all domains, with heads and batch normalisations for each.

    The paper has one data set at a time, which is one domain here.

    Args:
        landmarks: Number of landmarks of each domain.
        in_channels: Channels of the image.
        neck: Channels of the neck.
        norm: Normalisation of the convolutions: `batch`, or `group` for batches of one image.
        backbone: Further arguments of `Backbone`.
    """

    def __init__(
        self,
        landmarks: Sequence[int],
        in_channels: int = 3,
        neck: int = 256,
        norm: Norm = "batch",
        **backbone: object,
    ) -> None:
        super().__init__()
        self.backbone = Backbone(in_channels, norm=norm, **backbone)  # type: ignore[arg-type]
        widths = [cast(nn.Conv2d, cast(nn.Sequential, stage)[0]).out_channels for stage in self.backbone.stages]
        self.neck = Neck(widths[1:], neck)
        route_norms(self, len(landmarks))
        self.heads = PerDomain(Heads(count, neck, in_channels, norm) for count in landmarks)

    def start_wide(self) -> None:
        """Start from weights that keep the signal's size through convolutions; not the public code's."""
        self.apply(_initialise)

    def start_empty(self) -> None:
        """Start as the public code does: torch's own weights in the backbone, Xavier's in the neck, 0.001 in the heads.

        Its heads give nearly empty maps. A squared error wants that: nearly all pixels of its targets are 0.
        """
        for module in self.neck.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                _no_bias(module)
        for module in self.heads.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=0.001)
                _no_bias(module)

    def forward(self, image: Tensor, domain: int) -> list[Tensor]:
        """Return heat maps.

        Args:
            image: `(B, in_channels, H, W)`, normalised, of one domain; H and W multiples of 32.
            domain: Index of the domain.

        Returns:
            `(B, K_domain, H / s, W / s)` for s = 4, 2, 1, linear.
        """
        route(self, domain)
        out: list[Tensor] = self.heads[domain](self.neck(self.backbone(image)[1:]), image)
        return out


def _head(channels: int, landmarks: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(channels, landmarks, 1)
    )


def _no_bias(module: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> None:
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1] // module.groups
        nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
    elif isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    else:
        return
    _no_bias(module)
