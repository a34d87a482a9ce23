"""Attacks with and without the constraint, by name, and what one trial of an attack found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from medzoo.adversarial.detectors import Detector, Mixtures, Seen, Watched
from medzoo.adversarial.engine import ATTACKS, Attack, CrossEntropy, Margin, Victim
from medzoo.adversarial.engine.attack import Bounded
from medzoo.adversarial.hfc.losses import FeatureConstraint, OnLogits

_SQUARE_QUERIES, _APGD_STEPS, _MINIMAL_STEPS = 200, 40, 60
_MARGINS = ("cw-l2", "cw-linf", "square")


@dataclass(frozen=True)
class Plan:
    """The settings of both kinds of trial.

    Args:
        eps: Budget in image units.
        steps: Of a plain attack with steps of one length, each 2ε/steps (public code of the TMI 2023 version).
        hidden_steps: Of the same with the constraint, each 2ε/hidden_steps.
        weight: λ of the constraint.
    """

    eps: float
    steps: int
    hidden_steps: int
    weight: float

    def attack(self, name: str, classes: int, constraint: FeatureConstraint | None, limit: float) -> Attack:
        """Return an attack of the engine toward a class, with the constraint or without.

        Attacks that look for the least change need to know when features count as hidden: `limit` of the constraint.

        Args:
            name: One of `ATTACKS`.
            classes: Number of logits.
            constraint: The penalty; None for the plain attack.
            limit: Of the constraint on clean images.
        """
        kind = ATTACKS[name]
        inner = Margin(kappa=0.0 if name == "cw-l2" else 50.0) if name in _MARGINS else CrossEntropy()
        minimal = not issubclass(kind, Bounded)
        loss = OnLogits(classes, inner, constraint if minimal else None, limit)
        settings: dict[str, Any] = {"loss": loss, "targeted": True, "penalty": constraint}
        if not minimal:
            settings["eps"] = self.eps
        if name == "square":
            settings["queries"] = _SQUARE_QUERIES
        elif name == "apgd":
            settings["steps"] = _APGD_STEPS
        elif name == "cw-l2":
            settings |= {"steps": _MINIMAL_STEPS, "searches": 2, "c": 1.0}
        elif name == "ddn":
            settings["steps"] = _MINIMAL_STEPS
        elif name != "fgsm":
            steps = self.steps if constraint is None else self.hidden_steps
            settings |= {"steps": steps, "alpha": 2 * self.eps / steps}
        return kind(**settings)


@dataclass(frozen=True)
class Trial:
    """What an attack made of a batch of images that the classifier gets right.

    Attributes:
        attack: Its name, with `+hfc` where features were hidden.
        seen: The images.
        success: `(N,)` bool, whether the class is the target.
        rounded: `(N,)` bool, the same after rounding to 8 bits, as a file of the image would be.
        linf: `(N,)` largest change.
        l2: `(N,)` length of the change.
        scores: Of each detector, `(N,)`.
    """

    attack: str
    seen: Seen
    success: Tensor
    rounded: Tensor
    linf: Tensor
    l2: Tensor
    scores: dict[str, Tensor]


class Experiment:
    """A classifier, its detectors and the constraint, ready to attack.

    Args:
        watched: The classifier.
        mixtures: Where features of each class lie.
        detectors: By name.
        plan: Settings of the attacks.
        limit: Of the constraint on clean images.
    """

    def __init__(
        self, watched: Watched, mixtures: Mixtures, detectors: dict[str, Detector], plan: Plan, limit: float
    ) -> None:
        self.watched, self.mixtures, self.detectors, self.plan, self.limit = watched, mixtures, detectors, plan, limit
        self.constraint = FeatureConstraint(watched, mixtures, plan.weight)
        self.victim = Victim(watched.flat, module=watched.module)

    def run(self, name: str, hide: bool, seen: Seen, goal: Tensor, generator: torch.Generator) -> Trial:
        """Attack images toward their goals.

        Args:
            name: Of the attack.
            hide: Add the constraint.
            seen: Images that the classifier gets right.
            goal: `(N,)` another class of each.
            generator: Of what is random.
        """
        classes = seen.logits.shape[1]
        attack = self.plan.attack(name, classes, self.constraint if hide else None, self.limit)
        found = attack(self.victim, seen.images, goal, generator)
        now = self.watched.look_at(found.images, seen.labels)
        eight = self.watched.look_at((found.images * 255).round() / 255, seen.labels)
        title = f"{name}+hfc" if hide else name
        met, rounded = now.predicted == goal, eight.predicted == goal
        return Trial(title, now, met, rounded, found.linf, found.l2, self.scores(now))

    @torch.no_grad()
    def scores(self, seen: Seen) -> dict[str, Tensor]:
        """Return what each detector says."""
        return {name: detector.score(seen) for name, detector in self.detectors.items()}


def noisy(images: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Return images with uniform noise of ± an amount, benign changes that detectors must let pass."""
    noise = (2 * torch.rand(images.shape, generator=generator) - 1).to(images.device) * amount
    return (images + noise).clamp(0, 1)
