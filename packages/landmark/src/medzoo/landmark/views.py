"""Augmented views of whole images, with their landmarks."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from medzoo.core.ops.elastic_deform import RandomElasticDeform
from medzoo.landmark.patches import Jitter, jitter


class View:
    """Random smooth deformation, rotation, zoom, shift and changes of intensity of a batch of whole images.

    Args:
        size: Height and width of the images.
        strength: 0 changes nothing; at 1 rotation up to 10°, zoom up to 10 %, shift up to 5 % and a smooth field of 2 %
            root mean square, of the image's height; other strengths in proportion.
    """

    def __init__(self, size: tuple[int, int], strength: float) -> None:
        self.strength = strength
        self._deform = RandomElasticDeform(
            6,
            rms=0.02 * strength * size[0],
            rotation=10 * strength,
            zoom=(1 / (1 + 0.1 * strength), 1 + 0.1 * strength),
            translation=0.05 * strength * size[0],
            sampling={"image": (1, "border")},
        )

    def __call__(self, image: Tensor, landmarks: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return changed images `(B, 1, H, W)` and where their landmarks `(B, K, 2)` (x, y) have gone."""
        if not self.strength:
            return image, landmarks
        sample: dict[str, Any] = {"image": image}
        if landmarks is not None:
            sample["landmarks"] = landmarks
        sample = self._deform(sample)
        return jitter(sample["image"], Jitter(gamma=0.3 * self.strength, noise=0.03 * self.strength)), sample.get(
            "landmarks"
        )
