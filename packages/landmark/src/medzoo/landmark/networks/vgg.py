"""Convolutional parts shared by the matching methods: VGG taps, the context block and the plain up-sampling step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medzoo.core.backbones.encoders import grey_weights

Norm = Literal["none", "batch", "group"]
"""Normalisation after the convolutions of an encoder; `"none"` is VGG19 as published."""


def normalisation(kind: Norm, channels: int) -> nn.Module:
    """The layer called `kind` for `channels` channels; groups hold eight channels where the number allows it."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    if kind == "group":
        return nn.GroupNorm(max(1, channels // 8) if channels % 8 == 0 else 1, channels)
    if kind == "none":
        return nn.Identity()
    raise ValueError(f"norm: expected one of none, batch, group; got {kind!r}")


class VGGEncoder(nn.Module):
    """The convolutional part of a VGG network, read after each of its poolings.

    With the default widths and depths the state dict of `features` is that of torchvision's `vgg19().features`.

    Args:
        in_channels: Channels of the image.
        widths: Channels of the stages; the tap of stage i has `widths[i]` channels and stride `2 ** (i + 1)`.
        depths: Convolutions of the stages.
        norm: Layer after each convolution; without pretrained weights 16 convolutions train far better with one.
    """

    def __init__(
        self,
        in_channels: int = 3,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        depths: Sequence[int] = (2, 2, 4, 4, 4),
        norm: Norm = "none",
    ) -> None:
        super().__init__()
        if len(widths) != len(depths):
            raise ValueError(f"widths and depths: expected equal lengths, got {len(widths)} and {len(depths)}")
        layers: list[nn.Module] = []
        channels = in_channels
        for width, depth in zip(widths, depths, strict=True):
            for _ in range(depth):
                layers.append(nn.Conv2d(channels, width, 3, padding=1))
                if norm != "none":
                    layers.append(normalisation(norm, width))
                layers.append(nn.ReLU(inplace=True))
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                # torch's default shrinks the signal by sqrt(6) a layer, which sixteen layers do not survive.
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map an image `(B, C, H, W)` to its taps `(B, widths[i], H / 2**(i+1), W / 2**(i+1))`, finest first."""
        taps = []
        x = image
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                taps.append(x)
        return taps


def load_vgg(encoder: VGGEncoder, weights: Mapping[str, Tensor]) -> None:
    """Copy torchvision's VGG weights into `encoder`; for grey images the colours of the first layer are summed.

    Args:
        encoder: The network to fill, without normalisation.
        weights: State dict of a torchvision VGG; the classifier is ignored.

    Raises:
        ValueError: A weight is missing or has another shape.
    """
    own = encoder.features.state_dict()
    given = {name.removeprefix("features."): value for name, value in weights.items() if name.startswith("features.")}
    if "0.weight" in given:
        given["0.weight"] = grey_weights(given["0.weight"], own["0.weight"].shape[1])
    wrong = sorted(name for name in own if name not in given or given[name].shape != own[name].shape)
    if wrong:
        raise ValueError(f"weights: {wrong[0]} is missing or of another shape; give those of a VGG of the same widths")
    encoder.features.load_state_dict({name: given[name] for name in own})


def upsample_to(x: Tensor, skip: Tensor) -> Tensor:
    """Resize `x` bilinearly (corners aligned, as in the public code) to the extent of `skip` and append `skip`."""
    x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=True)
    return torch.cat([x, skip], dim=1)


def climb(taps: Sequence[Tensor], steps: Iterable[Callable[[Tensor], Tensor]]) -> list[Tensor]:
    """Decode the taps of an encoder: enlarge the deepest map step by step, each time beside the next tap.

    Args:
        taps: Maps `(B, C, H, W)` of an encoder, finest first.
        steps: What each step does with the enlarged map and the tap beside it.

    Returns:
        The deepest tap and the result of each step, coarsest first.
    """
    maps = [taps[-1]]
    for step, skip in zip(steps, reversed(taps[:-1]), strict=True):
        maps.append(step(upsample_to(maps[-1], skip)))
    return maps


class DoubleConv(nn.Sequential):
    """Two 3×3 convolutions, each with a normalisation (batch or instance) and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            norm(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            norm(out_channels),
            nn.ReLU(inplace=True),
        )
