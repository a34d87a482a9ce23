"""Network of GU2Net: a local universal U-Net whose heat maps a global network per domain confirms. arXiv 2103.04657."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medzoo.landmark.networks.routing import PerDomain, SeparableDoubleConv, pointwise

_SLOPE = 0.01
_DILATIONS = (1, 2, 5, 2, 1)
_SHRINK = 4
_COARSEST = 16
_STRIP = 2**21
"""Numbers in the widest map of a strip: 8 MiB, which stay in a processor's cache and are not asked of the system."""

Maps = Sequence[Tensor]
"""Maps `(B, C_i, H, W)` that lie side by side."""


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
        """Map `(B, in_channels, H, W)` of one domain to logits `(B, K_domain, H, W)`; H and W are multiples of 16."""
        stem, head = self.stem[domain], self.heads[domain]
        assert isinstance(stem, nn.Conv2d)
        assert isinstance(head, nn.Conv2d)

        def enter(maps: Maps) -> Tensor:
            # A product gives the channels-last layout, which a convolution of one channel does not.
            x = F.linear(maps[0].movedim(1, -1), stem.weight.flatten(1), stem.bias).movedim(-1, 1)
            out: Tensor = self.down[0](x, domain)
            return out

        def leave(maps: Maps) -> Tensor:
            return pointwise(self.up[-1](maps, domain), head.weight, head.bias)

        rows = image.shape[2]
        if not (self.training or torch.compiler.is_exporting()) and image.device.type == "cpu":
            # A level has half the columns of the one above and up to twice its channels.
            rows = max(8, _STRIP // (len(image) * image.shape[3] * 2 * stem.out_channels))
        taps = [by_rows(enter, [image], rows)]
        for block in self.down[1:]:
            taps.append(by_rows(partial(block, domain=domain), [F.max_pool2d(taps[-1], 2)], rows))
        x = taps.pop()
        steps: list[Callable[[Maps], Tensor]] = [partial(block, domain=domain) for block in self.up[:-1]]
        for step in [*steps, leave]:
            skip = taps.pop()
            x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=True)
            x = by_rows(step, [x, skip], rows)
        return x


def by_rows(step: Callable[[Maps], Tensor], maps: Maps, rows: int, reach: int = 2) -> Tensor:
    """Apply a step to maps `(B, C, H, W)` side by side, so many rows at a time; in evaluation this changes no value.

    A processor takes longer to get fresh memory for whole maps at full resolution than to compute them.

    Args:
        step: Makes one map `(B, C, h, W)` of several `(B, C_i, h, W)`.
        maps: Of equal extent.
        rows: Rows of the result at a time.
        reach: Rows beyond its own that a row of the result depends on.
    """
    height = maps[0].shape[2]
    if rows >= height:
        return step(maps)
    out: Tensor | None = None
    for top in range(0, height, rows):
        first = max(0, top - reach)
        part = step([m[:, :, first : top + rows + reach] for m in maps])
        if out is None:
            size = (len(part), part.shape[1], height, part.shape[3])
            out = torch.empty(size, dtype=part.dtype, device=part.device, memory_format=torch.channels_last)
        out[:, :, top : top + rows] = part[:, :, top - first : top - first + rows]
    assert out is not None
    return out


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
        """Map an image `(B, C, H, W)` and local logits `(B, K, H, W)` to logits `(B, K, H / 4, W / 4)`."""
        size = image.shape[-2:]
        small = (max(1, size[0] // _SHRINK), max(1, size[1] // _SHRINK))
        # Nearest neighbours commute with the sigmoid, which is sixteen times cheaper after them.
        seen, heard = self.see(F.interpolate(image, small)), self.hear(F.interpolate(local, small).sigmoid())
        out: Tensor = self.head(self.dilated(torch.cat([seen, heard], dim=1)))
        return out


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
        self.globals = PerDomain(GlobalNet(count, in_channels, global_width) for count in landmarks)

    def maps(self, image: Tensor, domain: int) -> tuple[Tensor, Tensor]:
        """Return the logits of the local heat maps `(B, K_domain, H, W)` and of the global ones, a quarter as large."""
        local = self.local(image, domain)
        return local, self.globals[domain](image, local)

    def forward(self, image: Tensor, domain: int) -> Tensor:
        """Return the logits of the product of the two heat maps.

        Sides that are no multiples of 16 are filled up with zeros (the mean of a normalised image) below and on the
        right, and the result is cut back: rounded halves would stretch the maps of the levels against each other.

        Args:
            image: `(B, in_channels, H, W)`, normalised, of one domain.
            domain: Index of the domain.

        Returns:
            `(B, K_domain, H, W)` float32; their sigmoid is the heat map.
        """
        height, width = image.shape[-2:]
        if height % _COARSEST or width % _COARSEST:
            image = F.pad(image, (0, -width % _COARSEST, 0, -height % _COARSEST))
        return product_logits(*self.maps(image, domain))[..., :height, :width]


def product_logits(local: Tensor, coarse: Tensor) -> Tensor:
    r"""Logits of $\sigma(a)\,\sigma(b)$, float32: $a + \ln\sigma(b) - \ln(1 + e^{a + \ln\sigma(-b)})$.

    A cross-entropy of the product itself, as in the public code, has no gradient where a sigmoid is 0 or 1 to the
    last bit, which half precision reaches soon; of these logits it always has.

    Args:
        local: a, `(B, K, H, W)`.
        coarse: b, `(B, K, h, w)`; each of its values belongs to a block of pixels.
    """
    a, b = local.float(), coarse.float()
    there, away = (F.interpolate(F.logsigmoid(s * b), a.shape[-2:]) for s in (1, -1))
    return there.add_(a).sub_(F.softplus(away.add_(a)))
