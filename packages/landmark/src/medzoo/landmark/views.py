"""Augmented views of whole images, with their landmarks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from medzoo.core.geometry.points import to_network
from medzoo.core.ops.elastic_deform import RandomElasticDeform
from medzoo.core.sample import Batch
from medzoo.landmark.matching.patches import Jitter, jitter


class View:
    """Random smooth deformation, rotation, zoom, shift and changes of intensity of a batch of whole images.

    Args:
        strength: 0 changes nothing; at 1 rotation up to 10°, zoom up to 10 %, shift up to 5 % and a smooth field of 2 %
            root mean square, of the image's height; other strengths in proportion.
    """

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def _deform(self, height: int) -> RandomElasticDeform:
        return RandomElasticDeform(
            6,
            rms=0.02 * self.strength * height,
            rotation=10 * self.strength,
            zoom=(1 / (1 + 0.1 * self.strength), 1 + 0.1 * self.strength),
            translation=0.05 * self.strength * height,
            sampling={"image": (1, "border")},
        )

    def __call__(self, image: Tensor, landmarks: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return changed images `(B, 1, H, W)` and where their landmarks `(B, K, 2)` (x, y) have gone."""
        if not self.strength:
            return image, landmarks
        sample: dict[str, Tensor] = {"image": image}
        if landmarks is not None:
            sample["landmarks"] = landmarks
        sample = self._deform(image.shape[-2])(sample)
        return jitter(sample["image"], Jitter(gamma=0.3 * self.strength, noise=0.03 * self.strength)), sample.get(
            "landmarks"
        )


def annotated(batch: Batch, view: Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor]:
    """Return a changed view of a batch of annotated images, and where their landmarks are in it.

    Args:
        batch: A training batch of a `supervised` method.
        view: Changes images `(B, 1, H, W)` and their landmarks, as a `View` does.

    Returns:
        The images, and `(B, K, 2)` (x, y) in their pixels; NaN where a landmark is missing or has left the image.
    """
    return seen_of(*view(batch["image"], to_network(batch["landmarks"], batch["affine"])))


def seen_of(image: Tensor, points: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return images `(B, 1, H, W)` and their points `(B, K, 2)`, NaN where one has left its image."""
    assert points is not None
    extent = points.new_tensor([image.shape[-1], image.shape[-2]])
    seen = ((points > -0.5) & (points < extent - 0.5)).all(dim=-1, keepdim=True)
    return image, torch.where(seen, points, torch.nan)
