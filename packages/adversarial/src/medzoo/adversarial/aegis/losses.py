"""What attackers that know the Shield raise; outputs are logits with the Shield's score as last column."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from medzoo.adversarial.engine import Loss
from medzoo.core.errors import ConfigError


@dataclass(frozen=True)
class Knowing(Loss):
    """Cross-entropy to a target, and the Shield's score as a term or in turn with it.

    Args:
        limits: `(K,)` scores up to which an image that is called a class passes.
        weight: β of the term β·s² (Carlini and Wagner 2017, a detector in the loss).
        selective: Step on the score alone where the class is the target (after Bryniarski 2021, who also project
            the steps on each other, see `Orthogonal`).
        aware: Keep an image only where the Shield lets it pass too; otherwise the attack knows nothing of the Shield.
    """

    limits: Tensor
    weight: float = 0.0
    selective: bool = False
    aware: bool = True

    def value(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return what is to be lowered, `(B,)`."""
        logits, score = outputs[:, :-1], outputs[:, -1]
        entropy = F.cross_entropy(logits.float(), goal, reduction="none")
        if self.selective:
            return torch.where(logits.argmax(dim=1) == goal, score, entropy)
        return entropy + self.weight * score.square()

    def met(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return whether the class is the target, and where the Shield is known, whether it lets the image pass."""
        reached = outputs[:, :-1].argmax(dim=1) == goal
        return reached if not self.aware else reached & (outputs[:, -1] <= self.limits.to(outputs)[goal])

    def check(self, outputs: Tensor, goal: Tensor, targeted: bool) -> None:
        """Refuse attacks without a target."""
        if not targeted or outputs.ndim != 2:
            raise ConfigError("Knowing: it leads to a target, give targeted=True")


@dataclass(frozen=True)
class ShieldScore(Loss):
    """The Shield's score alone; met where the class is the target."""

    def value(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return the last column."""
        return outputs[:, -1]

    def met(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return whether the logits say the goal."""
        return outputs[:, :-1].argmax(dim=1) == goal

    def check(self, outputs: Tensor, goal: Tensor, targeted: bool) -> None:
        """Accept what `Knowing` accepts, which is asked first."""
