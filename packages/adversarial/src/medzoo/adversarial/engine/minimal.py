"""Attacks that look for the least change which succeeds: Carlini and Wagner's L2, and decoupled direction and norm."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from medzoo.adversarial.engine.attack import Attack, Best
from medzoo.adversarial.engine.losses import Loss, Margin
from medzoo.adversarial.engine.norms import NORMS, per_sample
from medzoo.adversarial.engine.problem import Problem
from medzoo.core.errors import ConfigError

_EDGE = 1e-6  # keeps pixels at the very bounds, such as a black background, from having no gradient in tanh's space


class Least(Best):
    """The success with the least L2 of each image."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.original = problem.images
        self.l2 = torch.full_like(self.gain, torch.inf)

    def lower(self, x: Tensor, gain: Tensor, success: Tensor) -> Tensor:
        """Take successes that are nearer to the image, and return for which samples that was so."""
        l2 = NORMS["l2"].size(x.detach() - self.original)
        nearer = success & (l2 < self.l2)
        self.images[nearer], self.gain[nearer], self.l2[nearer] = x.detach()[nearer], gain[nearer], l2[nearer]
        self.success |= nearer
        return nearer


@dataclass(frozen=True, kw_only=True)
class CWL2(Attack):
    """Carlini and Wagner (2017): least L2 plus c times the margin, in the space of tanh, with a search for c.

    Args:
        steps: Adam's steps for each c.
        rate: Adam's learning rate.
        searches: Values of c that are tried.
        c: The first.
        kappa: Confidence that a success must have, in logits.

    With a penalty, c weighs it together with the margin, which must end at the border: `Margin(kappa=0)`. What comes
    back is the least change that the loss's `met` accepts.
    """

    loss: Loss = field(default_factory=Margin)
    steps: int = 1000
    rate: float = 0.01
    searches: int = 9
    c: float = 1e-3
    kappa: float = 0.0

    def check(self, bounds: tuple[float, float]) -> None:
        """Refuse settings that are impossible."""
        super().check(bounds)
        if self.steps < 1 or self.searches < 1:
            raise ConfigError(f"steps, searches: expected at least 1, got {self.steps} and {self.searches}")
        if not (self.rate > 0 and self.c > 0 and self.kappa >= 0):
            raise ConfigError("rate, c: expected values above 0; kappa: at least 0")
        margin = getattr(self.loss, "inner", self.loss)
        if not isinstance(margin, Margin) or margin.kappa < self.kappa:
            raise ConfigError("loss: the search needs a plain margin, whose zero is the border; take Margin(), or DDN")
        if self.penalty is not None and (margin.kappa != 0 or self.kappa != 0):
            raise ConfigError("penalty: the search then needs a margin that ends at the border; take Margin(kappa=0)")

    def run(self, problem: Problem) -> Best:
        """Search c by doubling (times ten) and halving between the greatest failure and the least success."""
        least = Least(problem)
        low, high = problem.victim.bounds
        scaled = ((problem.images - low) / (high - low) * 2 - 1).clamp(-1 + _EDGE, 1 - _EDGE)
        centre = torch.atanh(scaled)
        c = torch.full_like(least.gain, self.c)
        failed, reached = torch.zeros_like(c), torch.full_like(c, torch.inf)
        for _ in range(self.searches):
            succeeded = self._descend(problem, centre, c, least)
            reached = torch.where(succeeded, torch.minimum(reached, c), reached)
            failed = torch.where(succeeded, failed, torch.maximum(failed, c))
            c = torch.where(reached.isinf(), c * 10, (failed + reached) / 2)
        return least

    def _descend(self, problem: Problem, centre: Tensor, c: Tensor, least: Least) -> Tensor:
        low, high = problem.victim.bounds
        shift = torch.zeros_like(centre)
        mean, square = torch.zeros_like(centre), torch.zeros_like(centre)
        succeeded = torch.zeros_like(c, dtype=torch.bool)
        still = torch.tanh(centre)
        for step in range(1, self.steps + 1):
            bend = torch.tanh(centre + shift)
            x = ((bend + 1) / 2 * (high - low) + low).clamp(low, high)
            seen = problem.slope(x)
            enough = seen.gain >= self.kappa if self.penalty is None else torch.ones_like(seen.success)
            success = seen.success & enough
            succeeded |= success
            least.lower(x, seen.gain, success)
            # The margin counts until it is as wide as kappa; a penalty counts beside it and is never enough.
            pull = c if self.penalty is not None else (seen.gain < self.kappa).to(c) * c
            slope = (bend - still) - pull.reshape(per_sample(x)) * seen.slope * (high - low)  # in units of the range
            slope = slope * (1 - bend**2) / 2
            # Adam, written out: a pixel's step then hangs on nothing but its own sample.
            mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
            unbiased = (square / (1 - 0.999**step)).sqrt() + 1e-8
            shift = shift - self.rate * (mean / (1 - 0.9**step)) / unbiased
        return succeeded


@dataclass(frozen=True, kw_only=True)
class DDN(Attack):
    """Decoupled direction and norm (Rony 2019): the norm shrinks while the image succeeds and grows while it fails.

    Args:
        steps: Gradient steps.
        gamma: By which share the norm changes in a step.
        norm: The first L2 norm, in units of the range of the victim's bounds.
        levels: Grey levels that a success must survive rounding to, such as 256; None rounds nothing.
    """

    steps: int = 100
    gamma: float = 0.05
    norm: float = 1.0
    levels: int | None = None

    def check(self, bounds: tuple[float, float]) -> None:
        """Refuse settings that are impossible."""
        super().check(bounds)
        if self.steps < 1 or not 0 < self.gamma < 1 or self.norm <= 0:
            raise ConfigError("steps: expected at least 1; gamma: between 0 and 1; norm: above 0")
        if self.levels is not None and self.levels < 2:
            raise ConfigError(f"levels: expected at least 2, got {self.levels}")

    def run(self, problem: Problem) -> Best:
        """Step with lengths that fall from 1 to 0.01 as a cosine."""
        least, ball = Least(problem), NORMS["l2"]
        low, high = problem.victim.bounds
        delta = torch.zeros_like(problem.images)
        norm = torch.full_like(least.gain, self.norm * (high - low))
        for step in range(self.steps):
            x = problem.images + delta
            seen = problem.slope(x)
            least.lower(x, seen.gain, seen.success)
            length = (high - low) * (0.01 + 0.99 * (1 + math.cos(math.pi * step / self.steps)) / 2)
            delta = delta + length * ball.steepest(seen.slope)
            norm = norm * torch.where(seen.success, 1 - self.gamma, 1 + self.gamma)
            delta = delta * (norm / ball.size(delta).clamp_min(1e-12)).reshape(per_sample(delta))
            x = problem.clip(problem.images + delta)
            if self.levels is not None:
                x = low + (high - low) * ((x - low) / (high - low) * (self.levels - 1)).round() / (self.levels - 1)
            delta = x - problem.images
        x = problem.images + delta
        seen = problem.judge(x)
        least.lower(x, seen.gain, seen.success)
        return least
