"""From images to features of patches and of the whole, by any vision transformer or convolutional network of timm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn


@dataclass(frozen=True)
class ImageFeatures:
    """What images are to a text.

    Attributes:
        globals: `(B, d)`, of each whole image.
        tokens: `(B, P, d)`, of its patches, row by row.
        grid: Rows and columns of the patches.
    """

    globals: Tensor
    tokens: Tensor
    grid: tuple[int, int]


class ImageEncoder(nn.Module):
    """A network of timm for grey images in [0, 1], with one feature a patch and one of the whole.

    Of a vision transformer these are its patch tokens and its class token (or attention pool) after the last norm, not
    projected where the width is the same. Of a convolutional network the whole is its last map, averaged and projected,
    and the patches are the map at `stride`, projected without a bias (CARZero's public code).

    Args:
        name: Such as `vit_base_patch16_224` or `resnet50`.
        size: Height and width of the images.
        width: Size d of the features.
        mean: Subtracted from grey levels.
        spread: Divides them.
        stride: Pixels of a patch, of a convolutional network.

    Raises:
        ValueError: timm has no such network, or it has no map at that stride.
    """

    mean: Tensor
    spread: Tensor

    def __init__(
        self, name: str, size: tuple[int, int], width: int, mean: float = 0.0, spread: float = 1.0, stride: int = 8
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("spread", torch.tensor(spread), persistent=False)
        if not timm.is_model(name):
            near = ", ".join(timm.list_models(f"*{name[:5]}*")[:4])
            raise ValueError(f"timm has no model {name!r}; known are {near or 'those of timm.list_models()'}")
        transformer = vision_transformer(name, size)
        self.transformer = transformer is not None
        if transformer is not None:
            self.model: Any = transformer
            self.grid: tuple[int, int] | None = tuple(self.model.patch_embed.grid_size)
            sin_cos(self.model, self.grid)
            if not self.model.num_prefix_tokens and getattr(self.model, "attn_pool", None) is None:
                raise ValueError(f"{name} has neither a class token nor an attention pool")
            have, own = [self.model.embed_dim] * 2, [self.model.embed_dim != width] * 2
        else:
            self.model = _convolutional(name, size)
            strides = self.model.feature_info.reduction()
            if stride not in strides:
                raise ValueError(f"{name} has maps of strides {', '.join(map(str, strides))}, not {stride}")
            self.level, self.grid = strides.index(stride), None
            channels = self.model.feature_info.channels()
            have, own = [channels[-1], channels[self.level]], [True, True]
        self.whole = nn.Linear(have[0], width) if own[0] else nn.Identity()
        self.patch = nn.Linear(have[1], width, bias=False) if own[1] else nn.Identity()

    def forward(self, image: Tensor) -> ImageFeatures:
        """Return the features of images `(B, 1, H, W)` in [0, 1]."""
        image = ((image - self.mean) / self.spread).expand(-1, 3, -1, -1)
        if self.transformer:
            assert self.grid is not None
            tokens = self.model.forward_features(image)
            first = self.model.num_prefix_tokens
            whole = tokens[:, 0] if first else self.model.attn_pool(tokens)
            return ImageFeatures(self.whole(whole), self.patch(tokens[:, first:]), self.grid)
        maps = self.model(image.contiguous(memory_format=torch.channels_last))  # a third faster on a CPU
        local = maps[self.level]
        tokens = local.flatten(2).transpose(1, 2)
        return ImageFeatures(self.whole(maps[-1].mean((2, 3))), self.patch(tokens), (local.shape[2], local.shape[3]))


def vision_transformer(name: str, size: tuple[int, int]) -> VisionTransformer | None:
    """Return a vision transformer of timm with random weights; None where a name is of another network.

    Raises:
        ValueError: It cannot be made for images of that size.
    """
    if "vit" not in name and "deit" not in name:
        return None
    try:
        model = timm.create_model(name, pretrained=False, num_classes=0, img_size=size)
    except TypeError:  # such as a MobileViT, whose layers are convolutions
        return None
    except (AssertionError, RuntimeError) as error:
        raise ValueError(f"{name} takes no images of {size[0]} x {size[1]} pixels ({error})") from error
    return model if isinstance(model, VisionTransformer) else None


def _convolutional(name: str, size: tuple[int, int]) -> nn.Module:
    """Return a network of timm that gives maps `(B, C, rows, columns)` of several strides.

    Raises:
        ValueError: It has no such maps of images of that size, as a Swin transformer.
    """
    try:
        model = timm.create_model(name, pretrained=False, features_only=True)
        with torch.no_grad():
            last = model.eval()(torch.zeros(1, 3, *size))[-1]
    except (AssertionError, AttributeError, RuntimeError, TypeError) as error:
        problem = " ".join(str(error).split())[:120]
        raise ValueError(f"{name} gives no maps of images of {size[0]} x {size[1]} pixels ({problem})") from error
    if last.ndim != 4 or last.shape[1] != model.feature_info.channels()[-1]:
        raise ValueError(f"{name} is neither a vision transformer with a class token nor a convolutional network")
    network: nn.Module = model.train()
    return network


def sin_cos(model: Any, grid: tuple[int, int]) -> None:
    """Give a vision transformer MAE's fixed positions: sines and cosines of row and column, none for the class token.

    The frequencies are 10000^(−2k/D) for D dimensions an axis, as in MAE; the public code of CARZero has others, which
    its weights bring with them.
    """
    table = sin_cos_table(model.embed_dim, grid)
    with torch.no_grad():
        others = model.pos_embed.shape[1] - len(table)  # some have no places for register tokens
        model.pos_embed.copy_(torch.cat([torch.zeros(others, model.embed_dim), table])[None])
    model.pos_embed.requires_grad_(False)


def sin_cos_table(width: int, grid: tuple[int, int]) -> Tensor:
    """Return MAE's positions `(rows · columns, width)`.

    Raises:
        ValueError: The width is no multiple of 4.
    """
    if width % 4:
        raise ValueError(f"a width of {width} cannot hold positions, it is no multiple of 4")
    frequency = torch.exp(torch.arange(width // 4) * (-4 * math.log(10_000) / width))
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    angles = [place.flatten()[:, None] * frequency for place in (columns, rows)]
    return torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=1)
