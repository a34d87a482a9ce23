"""A universal perturbation (Moosavi-Dezfooli 2017): one change for all images, learned by gradient steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from medzoo.adversarial.engine.attack import Bounded
from medzoo.adversarial.engine.problem import Problem
from medzoo.adversarial.engine.shared import Box, OneForAll
from medzoo.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Universal(OneForAll, Bounded):
    """One perturbation `(C, *S)` within `eps`, added to all images of that shape.

    Args:
        alpha: Length of a step in image units; None takes a tenth of `eps`.
    """

    alpha: float | None = None

    def check(self, bounds: tuple[float, float]) -> None:
        """Refuse settings that are impossible."""
        super().check(bounds)
        if self.alpha is not None and self.alpha <= 0:
            raise ConfigError(f"alpha: expected a length above 0, got {self.alpha:g}")

    def first(self, problem: Problem) -> Tensor:
        """Begin with no change."""
        return torch.zeros_like(problem.images[0])

    def boxes(self, problem: Problem) -> list[Box]:
        """Take the whole of each image."""
        return [(slice(None),)] * len(problem.images)

    def put(self, problem: Problem, image: Tensor, learned: Tensor) -> Tensor:
        """Add it."""
        return problem.clip(image + learned)

    def step(self, problem: Problem, learned: Tensor, slope: Tensor) -> Tensor:
        """Step along the gradient of all images of a batch and go back into the ball."""
        length = self.eps / 10 if self.alpha is None else self.alpha
        moved = learned[None] + length * self.ball.steepest(slope[None])
        return self.ball.project(moved, self.eps)[0]
