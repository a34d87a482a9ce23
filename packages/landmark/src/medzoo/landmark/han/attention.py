"""Attention of HAN's backbone: bi-level routing attention (BiFormer, arXiv 2303.08810) and the plain form."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RoutingAttention(nn.Module):
    """Attention of each region's pixels to pooled pixels of the few regions that resemble it most.

    The scale is that of all channels, not of one head, and the choice of regions is hard and passes no gradient, as in
    the public code. Zeros that fill the last regions take part in their means and pooled keys.

    Args:
        channels: Channels of the input.
        heads: Attention heads.
        windows: Regions along each side.
        topk: Regions that each region attends to, at most all of them.
        pool: Side of the grid of keys and values that is left of a region; None keeps all pixels.
    """

    def __init__(self, channels: int, heads: int, windows: int, topk: int, pool: int | None = 4) -> None:
        super().__init__()
        self.heads, self.windows, self.topk, self.pool = heads, windows, min(topk, windows**2), pool
        self.scale = channels**-0.5
        self.qkv = nn.Linear(channels, 3 * channels)
        self.position = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, H, W, C)` to the same shape."""
        b, height, width, c = x.shape
        s = self.windows
        x = F.pad(x, (0, 0, 0, -width % s, 0, -height % s))
        h, w = x.shape[1] // s, x.shape[2] // s
        qkv = self.qkv(x)
        q, k, v = qkv.unflatten(1, (s, h)).unflatten(3, (s, w)).transpose(2, 3).chunk(3, dim=-1)  # (B, S, S, h, w, C)
        chosen = route_regions(q.mean(dim=(3, 4)).flatten(1, 2), k.mean(dim=(3, 4)).flatten(1, 2), self.topk)
        q = self._split(q.reshape(b * s * s, h * w, c))
        k, v = (self._split(self._gather(part, chosen)) for part in (k, v))
        attended = F.scaled_dot_product_attention(q, k, v, scale=self.scale)  # (B S², heads, h w, d)
        attended = attended.transpose(1, 2).reshape(b, s, s, h, w, c).transpose(2, 3).reshape(x.shape)
        value = qkv[..., 2 * c :].permute(0, 3, 1, 2)
        out: Tensor = self.out(attended + self.position(value).permute(0, 2, 3, 1))
        return out[:, :height, :width]

    def _gather(self, part: Tensor, chosen: Tensor) -> Tensor:
        """Reduce regions `(B, S, S, h, w, C)` to P pixels and take those chosen for each: `(B S², topk P, C)`."""
        b, s, _, h, w, c = part.shape
        tokens = part.reshape(b * s * s, h, w, c)
        if self.pool is not None:
            tokens = F.adaptive_avg_pool2d(tokens.permute(0, 3, 1, 2), self.pool).permute(0, 2, 3, 1)
        tokens = tokens.reshape(b, s * s, -1, c)
        batch = torch.arange(b, device=part.device)[:, None, None]
        gathered: Tensor = tokens[batch, chosen].reshape(b * s * s, -1, c)
        return gathered

    def _split(self, tokens: Tensor) -> Tensor:
        """Map `(N, T, C)` to `(N, heads, T, C / heads)`."""
        split: Tensor = tokens.unflatten(2, (self.heads, -1))
        return split.transpose(1, 2)


def route_regions(query: Tensor, key: Tensor, topk: int) -> Tensor:
    """Choose for each region those whose mean keys resemble its mean query most.

    Args:
        query: Mean queries of the regions, `(B, R, C)`.
        key: Their mean keys, `(B, R, C)`.
        topk: Number of regions chosen.

    Returns:
        Indices `(B, R, topk)`; there is no way back for gradients.
    """
    return (query.detach() @ key.detach().mT).topk(topk, dim=-1).indices


class FullAttention(nn.Module):
    """Attention of every pixel to every pixel, beside a depthwise convolution of the input.

    Args:
        channels: Channels of the input.
        heads: Attention heads.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.position = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, H, W, C)` to the same shape."""
        q, k, v = (
            part.flatten(1, 2).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1)
        )
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        out: Tensor = self.out(attended + self.position(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return out
