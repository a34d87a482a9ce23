"""A backbone with a spatial transformer after each stage."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medzoo.core.backbones.features import EncoderFeatures

Mode = Literal[
    "affine",
    "translation",
    "rotation",
    "scale",
    "shear",
    "rotation_scale",
    "translation_scale",
    "rotation_translation",
    "rotation_translation_scale",
]
MODES: tuple[str, ...] = get_args(Mode)
_IDENTITY: dict[str, tuple[float, ...]] = {
    "affine": (1, 0, 0, 0, 1, 0),
    "translation": (0, 0),
    "rotation": (0,),
    "scale": (1, 1),
    "shear": (0, 0),
    "rotation_scale": (0, 1, 1),
    "translation_scale": (0, 0, 1, 1),
    "rotation_translation": (0, 0, 0),
    "rotation_translation_scale": (0, 0, 0, 1, 1),
}


def matrix(mode: str, parameters: Tensor) -> Tensor:
    """Return the `(B, 3, 3)` map of normalised coordinates that the parameters of a mode mean.

    The order of parameters is angle, shift x, shift y, scale x, scale y, as far as the mode has them. With rotation and
    scale the off-diagonal entries stay unscaled, as in the authors' code; it is no similarity.
    """
    if mode == "affine":
        rows = parameters.reshape(-1, 2, 3)
    else:
        one, zero = torch.ones_like(parameters[:, 0]), torch.zeros_like(parameters[:, 0])
        values = list(parameters.unbind(1))
        angle = values.pop(0) if "rotation" in mode else zero
        shift = (values.pop(0), values.pop(0)) if "translation" in mode else (zero, zero)
        scale = (values.pop(0), values.pop(0)) if "scale" in mode else (one, one)
        lean = (values.pop(0), values.pop(0)) if mode == "shear" else (-torch.sin(angle), torch.sin(angle))
        cos = torch.cos(angle)
        rows = torch.stack([cos * scale[0], lean[0], shift[0], lean[1], cos * scale[1], shift[1]], 1).reshape(-1, 2, 3)
    last = rows.new_tensor([0.0, 0.0, 1.0]).expand(rows.shape[0], 1, 3)
    return torch.cat([rows, last], dim=1)


def warped(features: Tensor, maps: Tensor) -> Tensor:
    """Sample `(B, C, h, w)` at the places that `(B, 3, 3)` maps of normalised coordinates lead to; borders reflect."""
    grid = F.affine_grid(maps[:, :2], list(features.shape), align_corners=False)
    return F.grid_sample(features, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


class SpatialTransformer(nn.Module):
    """Predicts a map from a feature map and applies it; the identity before training (RegAD, §3.2).

    Args:
        channels: Of the features.
        size: Their height and width.
        mode: Which maps.
        hidden: Units of the layer before the last.
    """

    def __init__(self, channels: int, size: tuple[int, int], mode: str, hidden: int = 1024) -> None:
        super().__init__()
        self.mode = mode
        self.look = nn.Sequential(
            nn.Conv2d(channels, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
            nn.Conv2d(64, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
            nn.Flatten(),
        )
        cells = 1
        for extent in size:
            cells *= (((extent + 1) // 2) + 1) // 2
        self.hidden = nn.Linear(16 * cells, hidden)
        self.last = nn.Linear(hidden, len(_IDENTITY[mode]))
        nn.init.zeros_(self.last.weight)
        self.last.bias.data.copy_(torch.tensor(_IDENTITY[mode]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the warped features and the `(B, 3, 3)` maps."""
        maps = matrix(self.mode, self.last(F.relu(self.hidden(self.look(x)))))
        return warped(x, maps), maps


class Registrar(nn.Module):
    """Backbone with a spatial transformer after each level.

    Args:
        stages: The backbone; a chain of stages.
        mode: Maps of the transformers.

    Raises:
        ConfigError: The backbone is no chain of stages.
    """

    def __init__(self, stages: EncoderFeatures, mode: str = "rotation_scale") -> None:
        super().__init__()
        self.stages = stages
        stages.steps()  # so that a network that has none is refused now
        self.transformers = nn.ModuleList(
            SpatialTransformer(c, s, mode) for c, s in zip(stages.channels, stages.sizes, strict=True)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Register and return the last features and those of all stages, mapped back to where they came from.

        Args:
            x: `(B, 3, H, W)` in [0, 1], neither centred nor scaled.

        Returns:
            Features of the last level, and of all levels `(B, C, h, w)` in the frame of the input, without gradient to
            the transformers through the way back.
        """
        self.stages.start()
        back: Tensor | None = None
        found = []
        for step, transformer in zip(self.stages.steps(), self.transformers, strict=True):
            x, maps = transformer(step(x))
            undo = torch.linalg.inv(maps.detach().double()).to(maps.dtype)
            # T₁⁻¹T₂⁻¹…: sampling once with the product blurs less than sampling once a stage.
            back = undo if back is None else undo @ back
            found.append(warped(x, back))
        return x, found
