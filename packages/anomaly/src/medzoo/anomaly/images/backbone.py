"""Residual networks of timm, cut into the three stages whose features the image methods compare."""

from __future__ import annotations

from collections.abc import Sequence

import timm
import torch
from torch import Tensor, nn

from medzoo.core.backbones.weights import load_weights, read_weights
from medzoo.core.distributed import print_once
from medzoo.core.errors import ConfigError, first_line


class Stages(nn.Module):
    """Stem and first three stages of a residual network; strides 4, 8 and 16.

    Args:
        name: A residual network of timm, such as `resnet18` or `wide_resnet50_2`.
        widths: Channels of the stages with one block each, for a network that a CPU can train; empty keeps timm's.
        weights: "imagenet" downloads timm's, "none" draws them at random, anything else is a local file
            (`.safetensors`, or a checkpoint of tensors).

    Raises:
        ConfigError: The network or its weights are not to be had.
        CheckpointError: The file of weights is damaged, or fits fewer than 90 % of the network.
    """

    def __init__(self, name: str = "resnet18", widths: Sequence[int] = (), weights: str = "none") -> None:
        super().__init__()
        if widths and len(widths) != 3:
            raise ConfigError(f"--model.widths: expected three numbers or none, got {list(widths)}")
        if "resnet" not in name or not timm.is_model(name):
            raise ConfigError(f"--model.backbone: expected a residual network of timm such as resnet18, got {name}")
        if widths and weights != "none":
            raise ConfigError("--model.widths: weights fit timm's own widths only; leave one of the two out")
        shape = {"layers": [1] * 4, "channels": (*widths, 8), "stem_width": widths[0]} if widths else {}
        try:
            net = timm.create_model(name, pretrained=weights == "imagenet", **shape)
        except Exception as error:  # the hub's client raises whatever the network does
            raise ConfigError(
                f"--model.weights imagenet: cannot be fetched ({type(error).__name__}: {first_line(error)[:80]}); "
                "give a local file, or none"
            ) from error
        if weights not in ("imagenet", "none"):
            parts = ("conv1", "bn1", "layer1", "layer2", "layer3")
            print_once(str(load_weights(net, read_weights(weights), f"--model.weights {weights}", parts)))
        self.stem = nn.Sequential(net.conv1, net.bn1, net.act1, net.maxpool)
        self.layers = nn.ModuleList([net.layer1, net.layer2, net.layer3])
        self.channels: tuple[int, ...] = tuple(info["num_chs"] for info in net.feature_info[1:4])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the features of the three stages of `(B, 3, H, W)`, finest first."""
        x = self.stem(x)
        found = []
        for layer in self.layers:
            x = layer(x)
            found.append(x)
        return found


def stacked(features: Sequence[Tensor]) -> Tensor:
    """Return `(B, ΣC, h, w)` at the finest grid; each coarse cell is copied to the fine cells within it."""
    size = features[0].shape[-2:]
    return torch.cat([nn.functional.interpolate(f, size, mode="nearest") for f in features], dim=1)
