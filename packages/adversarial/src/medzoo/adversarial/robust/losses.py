"""What adversarial training lowers, and what it raises to find its images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from medzoo.adversarial.engine import Loss
from medzoo.core.errors import ConfigError


@dataclass(frozen=True)
class Divergence(Loss):
    """Kullback–Leibler divergence of the softmax of logits `(B, K)` from probabilities `(B, K)`, the goal (TRADES)."""

    def value(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return KL(goal ‖ softmax(outputs)), `(B,)`."""
        return divergence(goal, outputs)

    def met(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return that nothing is ever reached, so that each image goes to the last step."""
        return torch.ones_like(goal[:, 0], dtype=torch.bool)

    def check(self, outputs: Tensor, goal: Tensor, targeted: bool) -> None:
        """Refuse goals of another shape, and targets."""
        if targeted or outputs.ndim != 2 or goal.shape != outputs.shape:
            raise ConfigError(f"goal: expected probabilities of shape {tuple(outputs.shape)}, got {tuple(goal.shape)}")


def divergence(probabilities: Tensor, logits: Tensor) -> Tensor:
    """Return KL(probabilities ‖ softmax(logits)) of each image, with gradients to both.

    Args:
        probabilities: `(B, K)`.
        logits: `(B, K)`.
    """
    return F.kl_div(logits.float().log_softmax(dim=1), probabilities, reduction="none").sum(dim=1)


def smoothed(logits: Tensor) -> Tensor:
    """Return logits `(B, K)` whose softmax is the mean of that of R draws `(R, B, K)` (after Cohen 2019)."""
    return logits.log_softmax(dim=2).logsumexp(dim=0) - torch.log(torch.tensor(float(len(logits))))
