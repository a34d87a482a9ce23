"""Random masks that hide an image in turns, and the restoration that puts the hidden parts together."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

GROUPS = 3
Network = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From image and mask to their restorations."""


def masks(size: tuple[int, int], cell: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw `(3, H, W)` masks, 0 where hidden; each cell is hidden in exactly one of them.

    Args:
        size: Height and width, multiples of `cell`.
        cell: Side of the square cells, in pixels.
        generator: Where the order of the cells comes from.
    """
    height, width = size[0] // cell, size[1] // cell
    order = torch.randperm(height * width, generator=generator)
    found = torch.ones(GROUPS, height * width)
    for group, hidden in enumerate(order.tensor_split(GROUPS)):
        found[group, hidden] = 0
    return F.interpolate(found.reshape(1, GROUPS, height, width), size, mode="nearest")[0]


def restored(network: Network, image: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
    """Restore every pixel from masked images that do not show it: `Σ (1 − Mᵢ) f(x Mᵢ, Mᵢ)`.

    Args:
        network: Restores image and mask.
        image: `(B, 3, H, W)`.
        shown: `(B, 3, H, W)` three masks of each image, 1 where visible. What all of them show is copied.

    Returns:
        The image `(B, 3, H, W)`, and the restored masks `(B, 3, H, W)`.
    """
    whole = shown.amin(1, keepdim=True) * image
    found = []
    for one in shown.split(1, dim=1):
        made, mask = network(image * one, one)
        whole = whole + (1 - one) * made
        found.append(mask)
    return whole, torch.cat(found, dim=1)
