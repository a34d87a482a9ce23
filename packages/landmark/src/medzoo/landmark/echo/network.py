"""The network of EnLVAM and WiseLVAM: a small U-Net whose maps become points by their mean position (DSNT)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _pair(before: int, after: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [nn.Conv2d(channels, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


class HeatUNet(nn.Module):
    """A U-Net from a grey image to logits of heat maps, of any size.

    Args:
        points: Heat maps.
        widths: Channels of the levels, from full resolution down; (6, 12, 24, 48) in the public code.
    """

    def __init__(self, points: int = 4, widths: Sequence[int] = (6, 12, 24, 48)) -> None:
        super().__init__()
        self.down = nn.ModuleList(_pair(*pair) for pair in zip([1, *widths], widths, strict=False))
        upwards = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.grow = nn.ModuleList(nn.ConvTranspose2d(below, above, 2, stride=2) for below, above in upwards)
        self.up = nn.ModuleList(_pair(2 * above, above) for _, above in upwards)
        self.head = nn.Conv2d(widths[0], points, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Map images `(B, 1, H, W)` in [0, 1] to logits `(B, K, H, W)`."""
        height, width = image.shape[2:]
        step = 2 ** (len(self.down) - 1)
        x = F.pad(image, (0, -width % step, 0, -height % step), mode="replicate")
        taps: list[Tensor] = []
        for block in self.down:
            x = block(F.max_pool2d(x, 2) if taps else x)
            taps.append(x)
        for grow, block, tap in zip(self.grow, self.up, taps[-2::-1], strict=True):
            x = block(torch.cat([tap, grow(x)], dim=1))
        logits: Tensor = self.head(x)[..., :height, :width]
        return logits


def probabilities(logits: Tensor) -> Tensor:
    """Return heat maps `(B, K, H, W)` that sum to 1 each."""
    return logits.flatten(2).softmax(dim=2).view_as(logits)


def mean_position(heat: Tensor) -> Tensor:
    """Return the expected position `(B, K, 2)` (x, y) under heat maps that sum to 1 (DSNT, arXiv 1801.07372)."""
    ys, xs = (torch.arange(n, device=heat.device, dtype=heat.dtype) for n in heat.shape[2:])
    return torch.stack([(heat.sum(dim=2) * xs).sum(dim=-1), (heat.sum(dim=3) * ys).sum(dim=-1)], dim=-1)


def column_position(heat: Tensor, column: int) -> Tensor:
    """Return the expected row in one column, which is that of the key frame.

    Args:
        heat: `(B, K, H, W)`.
        column: Which.

    Returns:
        `(B, K, 2)` (x, y), where x is the column.
    """
    own = heat[..., column]
    own = own / own.sum(dim=2, keepdim=True).clamp(min=1e-30)
    rows = (own * torch.arange(own.shape[2], device=heat.device, dtype=heat.dtype)).sum(dim=2)
    return torch.stack([torch.full_like(rows, column), rows], dim=-1)


def column_spread(heat: Tensor, rows: Tensor, column: int) -> Tensor:
    """Return the expected distance `(B, K)` to rows `(B, K)` in one column of heat maps, in pixels."""
    own = heat[..., column]
    own = own / own.sum(dim=2, keepdim=True).clamp(min=1e-30)
    places = torch.arange(own.shape[2], device=heat.device, dtype=heat.dtype)
    return (own * (places - rows[..., None]).abs()).sum(dim=2)


def spread(heat: Tensor, points: Tensor, unit: Tensor) -> Tensor:
    """Return the expected distance `(B, K)` to points under heat maps that sum to 1.

    Args:
        heat: `(B, K, H, W)`.
        points: `(B, K, 2)` in pixels.
        unit: `(B, 2)`, a pixel along x, y in the unit of the result.
    """
    ys, xs = (torch.arange(n, device=heat.device, dtype=heat.dtype) for n in heat.shape[2:])
    dx, dy = (xs - points[..., :1]) * unit[:, None, :1], (ys - points[..., 1:]) * unit[:, None, 1:]
    # Away from 0, where the root has no gradient.
    distance = (dx[..., None, :] ** 2 + dy[..., :, None] ** 2 + 1e-12).sqrt()
    return (heat * distance).sum(dim=(2, 3))
