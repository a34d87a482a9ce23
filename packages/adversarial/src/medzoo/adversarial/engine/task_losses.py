"""Losses of what is no single class: several labels, landmarks, maps of an anomaly model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from medzoo.adversarial.engine.losses import Loss
from medzoo.core.errors import ConfigError


@dataclass(frozen=True)
class MultiLabelBCE(Loss):
    """Binary cross-entropy of logits `(B, L)`, summed over labels; goals `(B, L)` of 0 and 1, NaN where none is set."""

    def value(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return the sum over the labels that the goal sets."""
        each = F.binary_cross_entropy_with_logits(outputs.float(), goal.float().nan_to_num(), reduction="none")
        return each.masked_fill(goal.isnan(), 0).sum(dim=1)

    def met(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return whether all labels that the goal sets are as it says, at a probability of one half."""
        return (((outputs > 0) == (goal > 0.5)) | goal.isnan()).all(dim=1)

    def check(self, outputs: Tensor, goal: Tensor, targeted: bool) -> None:
        """Refuse goals of another shape or with other values."""
        del targeted
        if outputs.ndim != 2 or goal.shape != outputs.shape:
            raise ConfigError(
                f"goal: expected a value for each logit {tuple(outputs.shape)}, got shape {tuple(goal.shape)}"
            )
        if not bool(((goal == 0) | (goal == 1) | goal.isnan()).all()):
            raise ConfigError("goal: expected 0 or 1 for each label, or NaN where none is set")


@dataclass(frozen=True)
class LandmarkDistance(Loss):
    """Distance of landmarks from where the goal has them, read from maps `(B, K, *S)`.

    The value is the mean distance to the goal under the softmax of the map, summed over landmarks, which has a
    gradient; whether it is met is judged by the highest pixel.

    Args:
        tolerance: Distance up to which a landmark counts as where the goal has it, in pixels of the map.
        sharpness: Factor of the maps in the softmax: 1 for logits, about 20 for heat maps in [0, 1].
    """

    tolerance: float
    sharpness: float = 1.0

    def value(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return the expected distance in pixels of the map; goals `(B, K, nd)` as (x, y[, z]), NaN where none is."""
        share = (self.sharpness * outputs.float()).flatten(2).softmax(dim=2)
        each = (share * self._distances(outputs, goal)).sum(dim=2)
        return each.masked_fill(goal.isnan().any(dim=2), 0).sum(dim=1)

    def met(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return whether all landmarks that have a goal are within the tolerance of it."""
        highest = outputs.flatten(2).argmax(dim=2, keepdim=True)
        distance = self._distances(outputs, goal).gather(2, highest)[..., 0]
        return ((distance <= self.tolerance) | goal.isnan().any(dim=2)).all(dim=1)

    def check(self, outputs: Tensor, goal: Tensor, targeted: bool) -> None:
        """Refuse goals of another shape or outside the map."""
        del targeted
        nd = outputs.ndim - 2
        if nd < 1 or goal.shape != (*outputs.shape[:2], nd):
            raise ConfigError(
                f"goal: expected points {(*outputs.shape[:2], nd)} for maps {tuple(outputs.shape)}, "
                f"got shape {tuple(goal.shape)}"
            )
        size = torch.tensor(outputs.shape[:1:-1], device=goal.device)
        outside = (goal < -0.5) | (goal > size - 0.5)
        if bool(outside.any()):
            point = goal[outside.any(dim=2)][0].tolist()
            raise ConfigError(f"goal: the point {point} lies outside of the map of {size.tolist()} pixels")

    def _distances(self, maps: Tensor, goal: Tensor) -> Tensor:
        """Return the distance of each pixel from each goal, `(B, K, P)`."""
        axes = [torch.arange(n, device=maps.device, dtype=torch.float32) for n in maps.shape[2:]]
        pixels = torch.stack([g.flatten() for g in torch.meshgrid(*axes, indexing="ij")][::-1], dim=1)
        return torch.cdist(goal.float().nan_to_num(), pixels[None].expand(len(goal), -1, -1))


@dataclass(frozen=True)
class AnomalyScore(Loss):
    """Score of an anomaly model, from scores `(B,)` or maps `(B, *S)`; goals `(B,)`: 1 abnormal, 0 normal.

    Args:
        threshold: Score above which an image counts as abnormal.
        statistic: Of a map, what is its image's score.
    """

    threshold: float
    statistic: Literal["max", "mean"] = "max"

    def value(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return the score where the goal is normal, its negative where it is abnormal."""
        return torch.where(goal.bool(), -1.0, 1.0) * self._score(outputs)

    def met(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return whether the score is on the goal's side of the threshold."""
        return (self._score(outputs) > self.threshold) == goal.bool()

    def check(self, outputs: Tensor, goal: Tensor, targeted: bool) -> None:
        """Refuse goals of another shape or with other values, and a threshold that is none."""
        del targeted
        if not math.isfinite(self.threshold):
            raise ConfigError(
                f"threshold: expected a finite score, got {self.threshold}; choose one on validation data"
            )
        if goal.shape != outputs.shape[:1] or not bool(((goal == 0) | (goal == 1)).all()):
            raise ConfigError(f"goal: expected {len(outputs)} values, 1 for abnormal and 0 for normal")

    def _score(self, outputs: Tensor) -> Tensor:
        flat = outputs.float().reshape(len(outputs), -1)
        return flat.amax(dim=1) if self.statistic == "max" else flat.mean(dim=1)
