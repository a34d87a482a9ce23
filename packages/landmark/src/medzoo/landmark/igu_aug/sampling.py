"""Which pixels are contrasted, and how strongly each class of pixels is augmented."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from medzoo.core.errors import ConfigError
from medzoo.landmark.igu_aug.information import entropy_map
from medzoo.landmark.matching.patches import (
    Jitter,
    Patches,
    Warp,
    change_brightness,
    change_contrast,
    correspond,
    jitter,
    read,
    uniform,
    window_around,
)

CLASSES = ("low", "medium", "high")
OPERATORS = {"brightness": change_brightness, "contrast": change_contrast}
Interval = tuple[float, float]
Intervals = dict[str, dict[str, Interval]]
"""Smallest and largest factor by class of pixels and operator."""

DEFAULT: dict[str, Interval] = {"brightness": (0.85, 1.15), "contrast": (0.75, 1.25)}
"""CC2D's augmentation, which all classes have before their own is known."""


def classify(entropy: Tensor, borders: Interval) -> Tensor:
    """Class of each pixel as an index into `CLASSES`, by entropy in bits; a pixel on a border is of the upper class."""
    return torch.bucketize(entropy.contiguous(), entropy.new_tensor(borders), right=True)


def sampling_weight(entropy: Tensor, alpha: float, threshold: float | None) -> Tensor:
    """Relative probability that a pixel is contrasted: H^α, or 1 from a threshold on and 0 below.

    Args:
        entropy: `(B, H, W)` in bits.
        alpha: Exponent; 0 draws all pixels alike (CC2D).
        threshold: d in bits, instead of the power.

    Raises:
        ConfigError: No pixel of an image reaches the threshold.
    """
    if threshold is None:
        return entropy.clamp(min=1e-6) ** alpha
    most = entropy.flatten(1).amax(dim=1).min().item()
    if most < threshold:
        raise ConfigError(
            f"--model.threshold: there is an image without a pixel of {threshold} bits (its most is {most:.2f}); "
            "give a smaller one"
        )
    return (entropy >= threshold).to(entropy.dtype)


def draw(weight: Tensor, count: int) -> Tensor:
    """Draw pixels `(B, count, 2)` (x, y) by relative probability `(B, H, W)`, with replacement."""
    index = torch.multinomial(weight.flatten(1), count, replacement=True)
    return torch.stack([index % weight.shape[2], index // weight.shape[2]], dim=-1).float()


@dataclass(frozen=True)
class InformedSampler:
    """Cuts a patch around a pixel drawn by its information and augments it as the pixel's class needs.

    Attributes:
        size: Side of the patches.
        points: Points a patch; further ones than the first are drawn from the same class.
        warp: Geometric augmentation of the patch.
        changes: Changes of gamma and noise, the same for all classes.
        intervals: Brightness and contrast of each class.
        alpha: Exponent of the sampling ratio.
        threshold: Least entropy of a point, instead of the exponent.
        borders: Entropies where the medium and the high class begin, in bits.
        radius: Radius of the neighbourhoods in pixels.
        margin: Share of the image's side along each border in which the first point does not fall, as in CC2D.
    """

    size: int
    points: int
    warp: Warp
    changes: Jitter = field(default_factory=lambda: Jitter(0.0, 0.0))
    intervals: Intervals = field(default_factory=lambda: dict.fromkeys(CLASSES, DEFAULT))
    alpha: float = 0.3
    threshold: float | None = None
    borders: Interval = (2.0, 4.5)
    radius: int = 10
    margin: float = 0.05

    def __call__(self, image: Tensor, entropy: Tensor | None = None) -> Patches:
        """Cut one patch from each image of `(B, 1, H, W)`, by its entropy or a given one `(B, H, W)` in bits."""
        if entropy is None:
            entropy = entropy_map(image, self.radius)
        h, w = entropy.shape[1:]
        y, x = int(self.margin * h), int(self.margin * w)
        inside = torch.zeros_like(entropy)
        inside[:, y : h - y, x : w - x] = sampling_weight(entropy[:, y : h - y, x : w - x], self.alpha, self.threshold)
        first = draw(inside, 1)[:, 0]
        kind = classify(entropy[torch.arange(len(image)), first[:, 1].long(), first[:, 0].long()], self.borders)
        grid, points = window_around(image, first, self.size, self.warp)
        patch = jitter(self.recolour(read(image, grid), kind), self.changes)
        if self.points > 1:
            maps = torch.stack([entropy, inside], dim=1)
            seen, weight = read(maps, grid).unbind(dim=1)  # (B, size, size)
            weight = weight * (classify(seen, self.borders) == kind[:, None, None])
            index = (points[:, :, 1] * self.size + points[:, :, 0]).long()  # (B, 1)
            # The first pixel stays, so that there is one to draw whatever the interpolation did to the others.
            weight = weight.flatten(1).scatter(1, index, 1e-3).view_as(weight)
            points = torch.cat([points, draw(weight, self.points - 1)], dim=1)
        return correspond(image, patch, grid, points)

    def recolour(self, patch: Tensor, kind: Tensor) -> Tensor:
        """Change brightness, then contrast of patches `(B, 1, p, p)` as their classes `(B,)` need."""
        for name, change in OPERATORS.items():
            table = torch.tensor([self.intervals[c][name] for c in CLASSES], device=patch.device)
            low, high = table[kind].unbind(dim=1)
            share = uniform((len(patch),), 0, 1, patch)
            patch = change(patch, (low + (high - low) * share)[:, None, None, None])
        return patch
