"""What an attack raises or lowers, and when it has reached its aim: one object for both.

`value` tells per sample how far outputs are from a goal. An untargeted attack has the truth as goal and raises the
value; a targeted one has the attacker's wish as goal and lowers it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from medzoo.core.errors import ConfigError


class Loss(ABC):
    """How far the outputs of a victim are from a goal."""

    @abstractmethod
    def value(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return `(B,)`, larger where the outputs are farther from the goal, differentiable."""

    def gain(self, outputs: Tensor, goal: Tensor, targeted: bool) -> Tensor:
        """Return `(B,)` what an attack raises: the value, or with a target its negative."""
        value = self.value(outputs, goal)
        return -value if targeted else value

    @abstractmethod
    def met(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return `(B,)` bool, whether the outputs agree with the goal."""

    @abstractmethod
    def check(self, outputs: Tensor, goal: Tensor, targeted: bool) -> None:
        """Refuse a goal or outputs that the loss is not made for.

        Raises:
            ConfigError: In one line, what is wrong.
        """


class ClassLoss(Loss):
    """A loss of class logits `(B, K)` with goals `(B,)` int64."""

    least, least_targeted = 2, 2
    """Numbers of classes below which the loss is not defined."""

    def met(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return whether the class of the largest logit is the goal."""
        return outputs.argmax(dim=1) == goal

    def check(self, outputs: Tensor, goal: Tensor, targeted: bool) -> None:
        """Refuse outputs that are no logits of at least two classes, and goals that are none of them."""
        name = type(self).__name__
        if outputs.ndim != 2:
            raise ConfigError(f"{name}: expected logits (B, K), the victim returned shape {tuple(outputs.shape)}")
        least = self.least_targeted if targeted else self.least
        if outputs.shape[1] < least:
            cure = "take MultiLabelBCE for a single logit" if outputs.shape[1] < 2 else "take Margin"
            raise ConfigError(
                f"{name}: expected at least {least} classes{' for a target' if targeted else ''}, "
                f"the victim has {outputs.shape[1]}; {cure}"
            )
        if goal.shape != outputs.shape[:1] or goal.is_floating_point():
            raise ConfigError(f"goal: expected {len(outputs)} class numbers, got {goal.dtype} {tuple(goal.shape)}")
        if bool(((goal < 0) | (goal >= outputs.shape[1])).any()):
            odd = next(g for g in goal.tolist() if not 0 <= g < outputs.shape[1])
            raise ConfigError(f"goal: class {odd} is none of the victim's 0 to {outputs.shape[1] - 1}")


@dataclass(frozen=True)
class CrossEntropy(ClassLoss):
    """Cross-entropy from logits in float32."""

    def value(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return −log p(goal)."""
        return F.cross_entropy(outputs.float(), goal, reduction="none")


@dataclass(frozen=True)
class Margin(ClassLoss):
    """The largest other logit minus that of the goal (Carlini and Wagner), 0 on the border between the classes.

    Args:
        kappa: Confidence beyond which an attack gains nothing more; infinite for no such limit.
    """

    kappa: float = float("inf")

    def value(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return the margin."""
        return margin(outputs, goal)

    def gain(self, outputs: Tensor, goal: Tensor, targeted: bool) -> Tensor:
        """Return the margin on the attacker's side, up to kappa; a victim that is sure of itself stays attackable."""
        return super().gain(outputs, goal, targeted).clamp(max=self.kappa)


@dataclass(frozen=True)
class DLR(ClassLoss):
    """Difference of logits ratio (Croce and Hein): the margin divided by z₁ − z₃ of the sorted logits; untargeted.

    Not defined for two classes, where the ratio would be ±1 with no gradient.
    """

    least = 3

    def value(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return the margin by the spread."""
        top = outputs.float().topk(3, dim=1).values
        return margin(outputs, goal) / (top[:, 0] - top[:, 2]).clamp_min(1e-12)

    def check(self, outputs: Tensor, goal: Tensor, targeted: bool) -> None:
        """Refuse fewer than three classes, and targets."""
        super().check(outputs, goal, targeted)
        if targeted:
            raise ConfigError("DLR: it has no target; take TargetedDLR or Margin")


@dataclass(frozen=True)
class TargetedDLR(ClassLoss):
    """The margin to a target divided by z₁ − (z₃ + z₄)/2 of the sorted logits.

    The margin is that of the largest other logit, so that no true class is needed beside the target.
    """

    least_targeted = 4

    def value(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return the margin by the spread."""
        top = outputs.float().topk(4, dim=1).values
        return margin(outputs, goal) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2).clamp_min(1e-12)

    def check(self, outputs: Tensor, goal: Tensor, targeted: bool) -> None:
        """Refuse fewer than four classes, and attacks without a target."""
        super().check(outputs, goal, targeted)
        if not targeted:
            raise ConfigError("TargetedDLR: the attack has no target; take DLR or Margin")


def margin(outputs: Tensor, goal: Tensor) -> Tensor:
    """Return the largest logit of the other classes minus that of the goal, `(B,)`."""
    outputs = outputs.float()
    chosen = F.one_hot(goal, outputs.shape[1]).bool()
    # Masked with −inf: a mask of zeros would win wherever all other logits are negative.
    return outputs.masked_fill(chosen, -torch.inf).amax(dim=1) - outputs.gather(1, goal[:, None])[:, 0]
