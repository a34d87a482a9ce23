"""Views of an image that are to have the same code, and turned ones that are not."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SMALLEST = 0.7  # side of a crop, as a share of the image's
_GREY = 0.2  # largest change of contrast, and of brightness in grey levels of [0, 1]


def view(images: Tensor) -> Tensor:
    """Crop each of `(B, 3, H, W)` at random, enlarge it again and change its contrast and brightness a little.

    Drawn by torch's generator, which is seeded anew at every step.
    """
    scale, across, down, gain, lift = torch.rand(5, len(images)).to(images.device)
    scale = _SMALLEST + (1 - _SMALLEST) * scale
    theta = images.new_zeros(len(images), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = scale
    theta[:, 0, 2], theta[:, 1, 2] = (1 - scale) * (2 * across - 1), (1 - scale) * (2 * down - 1)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    cropped = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    gain, lift = (1 + _GREY * (2 * gain - 1))[:, None, None, None], (_GREY * (2 * lift - 1))[:, None, None, None]
    varied: Tensor = (0.5 + (cropped - 0.5) * gain + lift).clamp(0, 1)
    return varied


def turned(images: Tensor) -> Tensor:
    """Return `(4 B, 3, H, W)`: the images, then all of them turned by 90, 180 and 270 degrees."""
    return torch.cat([images.rot90(quarter, (-2, -1)) for quarter in range(4)])
