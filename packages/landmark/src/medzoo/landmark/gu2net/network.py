"""Network of GU2Net: a local universal U-Net whose heat maps a global network per domain confirms. arXiv 2103.04657."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medzoo.landmark.backbone import climb
from medzoo.landmark.routing import PerDomain, SeparableDoubleConv, pointwise

_SLOPE = 0.01
_DILATIONS = (1, 2, 5, 2, 1)
_SHRINK = 4


class LocalNet(nn.Module):
    """U-Net of separable convolutions: depthwise ones and normalisations per domain, pointwise ones shared.

    Args:
        landmarks: Number of landmarks of each domain.
        in_channels: Channels of the image.
        width: Channels at full resolution (paper: 64).
    """

    def __init__(self, landmarks: Sequence[int], in_channels: int = 1, width: int = 64) -> None:
        super().__init__()
        domains = len(landmarks)
        widths = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        self.stem = PerDomain(nn.Conv2d(in_channels, width, 1) for _ in landmarks)
        self.down = nn.ModuleList()
        channels = width
        for out in widths:
            self.down.append(SeparableDoubleConv(channels, out, out, domains, _SLOPE))
            channels = out
        self.up = nn.ModuleList()
        for skip in reversed(widths[:-1]):
            total = channels + skip
            # Each step halves twice, so that it meets a skip as wide as itself; the last has nothing to meet.
            channels = max(total // 4, width)
            self.up.append(SeparableDoubleConv(total, total // 2, channels, domains, _SLOPE))
        self.heads = PerDomain(nn.Conv2d(channels, count, 1) for count in landmarks)

    def forward(self, image: Tensor, domain: int) -> Tensor:
        """Map `(B, in_channels, H, W)` of one domain to logits `(B, K_domain, H, W)`; H and W are 16 or more."""
        stem, head = self.stem[domain], self.heads[domain]
        assert isinstance(stem, nn.Conv2d)
        assert isinstance(head, nn.Conv2d)
        taps = [self.down[0](pointwise(image, stem.weight, stem.bias), domain)]
        for block in self.down[1:]:
            taps.append(block(F.max_pool2d(taps[-1], 2), domain))
        x = climb(taps, [partial(block, domain=domain) for block in self.up])[-1]
        return pointwise(x, head.weight, head.bias)


class GlobalNet(nn.Module):
    """Dilated convolutions over image and local heat maps at a quarter of the resolution; one network a domain.

    Args:
        landmarks: Number of landmarks of the domain.
        in_channels: Channels of the image.
        width: Channels of the dilated convolutions (paper: 128).
    """

    def __init__(self, landmarks: int, in_channels: int = 1, width: int = 128) -> None:
        super().__init__()
        self.see = nn.Conv2d(in_channels, width // 2, 3, padding=1)
        self.hear = nn.Conv2d(landmarks, width - width // 2, 3, padding=1)
        layers: list[nn.Module] = []
        for dilation in _DILATIONS:
            layers.append(nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation))
            layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        self.dilated = nn.Sequential(*layers)
        self.head = nn.Conv2d(width, landmarks, 1)

    def forward(self, image: Tensor, local: Tensor) -> Tensor:
        """Map an image `(B, C, H, W)` and local logits `(B, K, H, W)` to logits `(B, K, H, W)`, equal on 4×4 blocks."""
        size = image.shape[-2:]
        small = (max(1, size[0] // _SHRINK), max(1, size[1] // _SHRINK))
        # Nearest neighbours commute with the sigmoid, which is sixteen times cheaper after them.
        seen, heard = self.see(F.interpolate(image, small)), self.hear(F.interpolate(local, small).sigmoid())
        out = self.head(self.dilated(torch.cat([seen, heard], dim=1)))
        return F.interpolate(out, size)


class GU2NetNetwork(nn.Module):
    """Product of the heat maps of a local network, which is sharp, and a global one, which knows the place (§2).

    Args:
        landmarks: Number of landmarks of each domain.
        in_channels: Channels of the image.
        width: Channels of the local network at full resolution (paper: 64).
        global_width: Channels of the global networks (paper: 128).
    """

    def __init__(
        self, landmarks: Sequence[int], in_channels: int = 1, width: int = 64, global_width: int = 128
    ) -> None:
        super().__init__()
        self.local = LocalNet(landmarks, in_channels, width)
        self.globals = nn.ModuleList(GlobalNet(count, in_channels, global_width) for count in landmarks)

    def maps(self, image: Tensor, domain: int) -> tuple[Tensor, Tensor]:
        """Return the logits `(B, K_domain, H, W)` of the local and of the global heat maps."""
        local = self.local(image, domain)
        return local, self.globals[domain](image, local)

    def forward(self, image: Tensor, domain: int) -> Tensor:
        """Return the logits of the product of the two heat maps.

        Args:
            image: `(B, in_channels, H, W)`, normalised, of one domain.
            domain: Index of the domain.

        Returns:
            `(B, K_domain, H, W)` float32; their sigmoid is the heat map.
        """
        return product_logits(*self.maps(image, domain))


def product_logits(a: Tensor, b: Tensor) -> Tensor:
    r"""Logits of $\sigma(a)\,\sigma(b)$, float32: $-\ln(e^{-a} + e^{-b} + e^{-a-b})$.

    A cross-entropy of the product itself, as in the public code, has no gradient where a sigmoid is 0 or 1 to the
    last bit, which half precision reaches soon; of these logits it always has.
    """
    a, b = a.float(), b.float()
    return -torch.logaddexp(torch.logaddexp(-a, -b), -(a + b))
