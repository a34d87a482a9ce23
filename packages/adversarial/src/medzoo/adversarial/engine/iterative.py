"""Attacks that step along the gradient within a budget: FGSM, BIM, PGD, MIM, DIM, TIM, CW-L∞ share one loop."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from medzoo.adversarial.engine.attack import Best, Bounded
from medzoo.adversarial.engine.losses import Loss, Margin
from medzoo.adversarial.engine.norms import per_sample
from medzoo.adversarial.engine.problem import Problem
from medzoo.adversarial.engine.transforms import resized_and_padded, smoothed
from medzoo.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class BIM(Bounded):
    """Basic iterative method (Kurakin 2017): steps along the sign of the gradient, from the image itself.

    What comes back is the last step, or where that fails the last one that succeeded, so that more steps of one length
    are never weaker.

    Args:
        steps: Gradient steps.
        alpha: Length of a step in image units; None takes a fifth of `eps`.
        start: Begin at a random place of the ball instead of the image.
        restarts: Searches from new random places for images where none succeeded.
        early_stop: Leave an image alone once it succeeded.
        momentum: Share of the past direction that a step keeps (Dong 2018); 0 keeps none.
        diversity: Probability that the victim is shown an image shrunk at random and padded (Xie 2019).
        shrink: Least size of those, as a share of the image's.
        kernel: Width in pixels of the Gaussian that smooths gradients (Dong 2019), odd; 1 does nothing.
    """

    steps: int = 10
    alpha: float | None = None
    start: bool = False
    restarts: int = 1
    early_stop: bool = False
    momentum: float = 0.0
    diversity: float = 0.0
    shrink: float = 0.9
    kernel: int = 1

    @property
    def length(self) -> float:
        """Length of a step in image units."""
        return self.eps / 5 if self.alpha is None else self.alpha

    def check(self, bounds: tuple[float, float]) -> None:
        """Refuse settings that are impossible."""
        super().check(bounds)
        for name, value in (("steps", self.steps), ("restarts", self.restarts)):
            if value < 1:
                raise ConfigError(f"{name}: expected at least 1, got {value}")
        if self.restarts > 1 and not self.start:
            raise ConfigError("restarts: each would be the same search; take a random start, as PGD has")
        if self.early_stop and self.diversity:
            raise ConfigError(
                "early_stop: with diversity the victim sees changed images until the last step; leave it out"
            )
        if self.length < 0:
            raise ConfigError(f"alpha: expected a length of at least 0, got {self.length:g}")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ConfigError(f"kernel: expected an odd width, got {self.kernel}")
        if not (0 <= self.diversity <= 1 and 0 < self.shrink <= 1):
            raise ConfigError(
                f"diversity, shrink: expected a probability and a share, got {self.diversity:g} and {self.shrink:g}"
            )

    def run(self, problem: Problem) -> Best:
        """Search from each start; images that succeeded are not searched again."""
        best = Best(problem)
        for _ in range(self.restarts):
            rows = torch.nonzero(~best.success)[:, 0]
            if not len(rows):
                break
            part = problem if len(rows) == len(best.success) else problem.at(rows)
            found = self._search(part)
            best.offer(found.images, found, rows)
        return best

    def _search(self, problem: Problem) -> Best:
        best = Best(problem)
        x = problem.images
        if self.start:
            x = self.within(problem, x + self.ball.random(x, self.eps, problem.generator))
        rows: Tensor | None = None  # those of the batch that still move; None for all
        memory = torch.zeros(())
        part = problem
        for _ in range(self.steps):
            seen = part.slope(x, (lambda images: self._shown(images, problem)) if self.diversity else None)
            if self.diversity == 0:
                best.offer(x, seen, rows, newest=True)
                if self.early_stop and bool(seen.success.any()):
                    left = torch.nonzero(~seen.success)[:, 0]
                    rows = left if rows is None else rows[left]
                    if not len(left):
                        return best
                    part, x, seen.slope = part.at(left), x[left], seen.slope[left]
                    memory = memory[left] if memory.ndim else memory
            slope = smoothed(seen.slope, self.kernel)
            if self.momentum:
                mean = slope.abs().flatten(1).mean(dim=1).clamp_min(1e-12)
                memory = slope = self.momentum * memory + slope / mean.reshape(per_sample(slope))
            x = self.within(part, x.detach() + self.length * self.ball.steepest(slope))
        best.offer(x, part.judge(x), rows, newest=True)
        return best

    def _shown(self, images: Tensor, problem: Problem) -> Tensor:
        return resized_and_padded(images, self.diversity, self.shrink, problem.victim.bounds[0], problem.generator)


@dataclass(frozen=True, kw_only=True)
class FGSM(BIM):
    """Fast gradient sign method (Goodfellow 2015): one step as long as the budget."""

    steps: int = 1

    @property
    def length(self) -> float:
        """The whole budget, unless `alpha` is given."""
        return self.eps if self.alpha is None else self.alpha


@dataclass(frozen=True, kw_only=True)
class PGD(BIM):
    """Projected gradient descent (Madry 2018): BIM from random places of the ball; a step is a quarter of `eps`."""

    steps: int = 40
    start: bool = True

    @property
    def length(self) -> float:
        """Length of a step in image units."""
        return self.eps / 4 if self.alpha is None else self.alpha


@dataclass(frozen=True, kw_only=True)
class MIM(BIM):
    """Momentum iterative method (Dong 2018)."""

    momentum: float = 1.0


@dataclass(frozen=True, kw_only=True)
class DIM(BIM):
    """Diverse inputs (Xie 2019): gradients of images that are shrunk and padded at random."""

    diversity: float = 0.5


@dataclass(frozen=True, kw_only=True)
class TIM(BIM):
    """Translation-invariant method (Dong 2019): gradients smoothed by a Gaussian."""

    kernel: int = 15


@dataclass(frozen=True, kw_only=True)
class CWLinf(BIM):
    """BIM on the margin of the logits, as medical studies call Carlini and Wagner's attack under L∞."""

    steps: int = 30
    loss: Loss = field(default_factory=lambda: Margin(kappa=50.0))
