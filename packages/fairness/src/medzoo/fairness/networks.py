"""Networks that several methods share."""

from __future__ import annotations

from collections.abc import Sequence

from medzoo.core.classifier.network import ClassifierNetwork


def feature_network(name: str, channels: int, size: Sequence[int]) -> tuple[ClassifierNetwork, int]:
    """Return a network of timm without head, `(B, C, H, W)` in [0, 1] to features `(B, d)`, and d.

    Args:
        name: Such as `resnet18`.
        channels: Of the images.
        size: Height and width of the images.

    Raises:
        ValueError: timm has no such network, or it takes no images of that size.
    """
    network = ClassifierNetwork(name, channels, 0, size)
    width = getattr(network.model, "head_hidden_size", None) or network.model.num_features
    return network, int(width)  # type: ignore[arg-type]
