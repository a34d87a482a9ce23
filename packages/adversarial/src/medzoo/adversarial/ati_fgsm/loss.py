"""How far the maps of a landmark model are from wished ones, landmark by landmark."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.special import entr

from medzoo.adversarial.ati_fgsm.maps import peaks
from medzoo.adversarial.engine import Loss
from medzoo.core.errors import ConfigError

Head = Literal["softmax", "sigmoid", "heat"]
"""What maps are: logits of a distribution over pixels, logits of each pixel, or heat in [0, 1] itself."""


@dataclass(frozen=True)
class LandmarkMaps(Loss):
    """Divergence of maps `(B, K, *S)` from wished maps of the same shape, weighted landmark by landmark.

    The divergence is the cross-entropy less what it is at the wished map itself. That constant has no gradient, so
    TI-FGSM takes the same steps with either, but it counts in the adaptive weights, see `floored`.

    Args:
        head: What the maps are.
        adaptive: Weigh each landmark by its loss over the mean of all, so that those that are hardest to move, or that
            are about to leave their place, get the most (ATI-FGSM); otherwise all weigh 1 (TI-FGSM).
        floored: Take the cross-entropy itself, as the paper's code does: a landmark at rest then weighs as much as the
            entropy of its map, which holds it better and leaves less for those on their way.
        tolerance: Distance in pixels of the map up to which a landmark counts as where it is wished.
        trace: Takes the highest pixels `(B, K, nd)` of the maps whenever they are judged, such as after each step.
    """

    head: Head = "softmax"
    adaptive: bool = True
    tolerance: float = 2.0
    floored: bool = False
    trace: list[Tensor] | None = field(default=None, compare=False)

    def each(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return the loss of each landmark, `(B, K)`, 0 where its map is the wished one, unless `floored`."""
        maps, wished = outputs.float().flatten(2), goal.flatten(2)
        if self.head == "softmax":
            loss, least = (-wished * maps.log_softmax(dim=2)).sum(dim=2), entr(wished).sum(dim=2)
        else:
            entropy = F.binary_cross_entropy_with_logits if self.head == "sigmoid" else F.binary_cross_entropy
            maps = maps if self.head == "sigmoid" else maps.clamp(0, 1)
            loss, least = entropy(maps, wished, reduction="none").mean(dim=2), (entr(wished) + entr(1 - wished)).mean(2)
        return loss if self.floored else (loss - least).clamp_min(0)

    def weights(self, each: Tensor) -> Tensor:
        """Return weights `(B, K)` that sum to K for each image, without gradients."""
        if not self.adaptive:
            return torch.ones_like(each)
        each = each.detach()
        mean = each.mean(dim=1, keepdim=True)
        return torch.where(mean > 0, each / mean.clamp_min(1e-12), 1.0)

    def value(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return the weighted sum over landmarks."""
        if self.trace is not None:
            self.trace.append(peaks(outputs.detach()))
        each = self.each(outputs, goal)
        return (self.weights(each) * each).sum(dim=1)

    def met(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return whether all landmarks, moved and stationary, are where they are wished."""
        off = (peaks(outputs) - peaks(goal)).square().sum(dim=2)
        return (off <= self.tolerance**2).all(dim=1)

    def check(self, outputs: Tensor, goal: Tensor, targeted: bool) -> None:
        """Refuse maps of another shape, and heat that is none."""
        if not targeted:
            raise ConfigError("LandmarkMaps: it leads landmarks to a goal, give targeted=True")
        if outputs.ndim < 3 or goal.shape != outputs.shape:
            raise ConfigError(
                f"goal: expected maps of the victim's shape {tuple(outputs.shape)}, got {tuple(goal.shape)}"
            )
        if self.head == "heat" and bool(((outputs < 0) | (outputs > 1)).any()):
            raise ConfigError("head: the victim's maps are no heat in [0, 1]; take softmax or sigmoid for logits")
