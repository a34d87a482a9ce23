"""Annotated images as a method keeps them, and the landmarks of each domain."""

from __future__ import annotations

from typing import TypedDict

from torch import Tensor

Domains = dict[str, list[str]]
"""Landmark names by domain, in the order of the domains' indices."""


class Shots(TypedDict):
    """Annotated images of one domain at network size."""

    image: Tensor
    """`(S, 1, H, W)` in [0, 1]."""
    points: Tensor
    """`(S, K, 2)` (x, y) in pixels of `image`; NaN where a landmark is missing."""


def standardise(image: Tensor) -> Tensor:
    """Bring each image of `(B, C, H, W)` to mean 0 and standard deviation 1."""
    mean, std = image.mean(dim=(1, 2, 3), keepdim=True), image.std(dim=(1, 2, 3), keepdim=True)
    return (image - mean) / (std + 1e-3)
