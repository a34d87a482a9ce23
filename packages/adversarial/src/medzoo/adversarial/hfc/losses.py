"""The hierarchical feature constraint and the losses beside it, for attacks of the engine on `Watched.flat`."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from medzoo.adversarial.detectors import Mixtures, Watched
from medzoo.adversarial.engine import CrossEntropy, Loss


@dataclass(frozen=True)
class FeatureConstraint:
    """Σ_l d²(g_l) / C_l to the likeliest component of the target class (Yao 2021, the constraint of the method).

    A penalty of the engine: outputs are those of `watched.flat`, goals are target classes. The components are chosen
    without gradient.

    Args:
        watched: The classifier.
        mixtures: Of the layers that are constrained.
        weight: λ.
    """

    watched: Watched
    mixtures: Mixtures
    weight: float = 1.0

    def __call__(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return λ·J `(B,)`."""
        return self.weight * self.of(outputs, goal)

    def of(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return J `(B,)`."""
        return self.mixtures.distances(self.watched.apart(outputs), goal).sum(dim=1)


@dataclass(frozen=True)
class OnLogits(Loss):
    """A loss of logits, for outputs that have features beside them.

    Args:
        classes: Number of logits.
        inner: The loss.
        constraint: What must also be low for the goal to be met, for attacks that look for the least change.
        limit: Up to where it is.
    """

    classes: int
    inner: Loss = field(default_factory=CrossEntropy)
    constraint: FeatureConstraint | None = None
    limit: float = float("inf")

    def value(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return the loss of the logits."""
        return self.inner.value(outputs[:, : self.classes], goal)

    def gain(self, outputs: Tensor, goal: Tensor, targeted: bool) -> Tensor:
        """Return the gain of the logits."""
        return self.inner.gain(outputs[:, : self.classes], goal, targeted)

    def met(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return whether the logits say the goal, and features are where they shall be."""
        met = self.inner.met(outputs[:, : self.classes], goal)
        return met if self.constraint is None else met & (self.constraint.of(outputs, goal) <= self.limit)

    def check(self, outputs: Tensor, goal: Tensor, targeted: bool) -> None:
        """Refuse what the loss of the logits refuses."""
        self.inner.check(outputs[:, : self.classes], goal, targeted)


@dataclass(frozen=True)
class MeanActivation(Loss):
    """Mean activation of a layer, with no label involved: the stress test (after Yao 2021); never met.

    An untargeted attack of the kind of BIM raises it, a targeted one lowers it.

    Args:
        watched: The classifier.
        layer: Place of the layer in `Seen.pooled`.
    """

    watched: Watched
    layer: int

    def value(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return the mean over the layer's features and pixels, `(B,)`."""
        return self.watched.apart(outputs).pooled[self.layer].mean(dim=1)

    def met(self, outputs: Tensor, goal: Tensor) -> Tensor:
        """Return that nothing is ever reached, so that each image goes to the last step."""
        return goal.new_zeros(len(goal)).bool()

    def check(self, outputs: Tensor, goal: Tensor, targeted: bool) -> None:
        """Accept any outputs of `flat`."""
