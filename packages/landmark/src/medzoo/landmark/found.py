"""What a landmark network finds, before anything is mapped back to the original image."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Found(NamedTuple):
    """Landmarks of one domain in images."""

    points: Tensor
    """`(B, K, 2)` (x, y) in pixels of the network's image."""
    scores: Tensor
    """`(B, K)`, higher where the method is surer."""
    maps: Tensor
    """`(B, K, h, w)` that points are read from: logits of heat maps, or similarities; with gradients to the image."""
