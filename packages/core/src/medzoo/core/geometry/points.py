"""Points of batches between original pixels and the image that a network sees."""

from __future__ import annotations

from torch import Tensor

from medzoo.core.geometry.affine import apply, invert


def to_original(points: Tensor, affine: Tensor) -> Tensor:
    """Map points `(B, K, 2)` of the network's image to original pixels, by the inverse of `affine` `(B, 2, 3)`."""
    return apply(invert(affine.double()), points.double())


def to_network(points: Tensor, affine: Tensor) -> Tensor:
    """Map points `(B, K, 2)` in original pixels to the network's image, float32."""
    return apply(affine.double(), points.double()).float()
