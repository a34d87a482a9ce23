"""A biased trunk with a council of heads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medzoo.fairness.networks import feature_network


class Council(nn.Module):
    """Several heads on the features of one network.

    Args:
        name: Network of timm.
        channels: Of the images.
        classes: Number of classes.
        size: Height and width of the images.
        members: Number of heads M.
        hidden: Width of the two hidden layers of a head.

    Raises:
        ValueError: timm has no such network, or it takes no images of that size.
    """

    def __init__(
        self, name: str, channels: int, classes: int, size: Sequence[int], members: int, hidden: int = 512
    ) -> None:
        super().__init__()
        self.trunk, width = feature_network(name, channels, size)
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, classes)
            )
            for _ in range(members)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of all heads `(M, B, classes)` of images `(B, C, H, W)` in [0, 1]."""
        features = self.trunk(image)
        return torch.stack([head(features) for head in self.heads])
