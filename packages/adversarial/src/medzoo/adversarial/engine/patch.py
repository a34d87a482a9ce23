"""An adversarial patch (Brown 2017): a small image that is put somewhere into others, at no limit but the bounds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from medzoo.adversarial.engine.draws import uniform
from medzoo.adversarial.engine.problem import Problem
from medzoo.adversarial.engine.shared import Box, OneForAll
from medzoo.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Patch(OneForAll):
    """One patch for all images, put at a random place of each.

    Args:
        size: Pixels of the patch along each spatial axis, in the order of the images' axes.
        corner: First pixel of its place, likewise; None draws a place for each image.
        alpha: Length of a step as a share of the victim's bounds.
    """

    size: tuple[int, ...]
    corner: tuple[int, ...] | None = None
    alpha: float = 0.05

    def check(self, bounds: tuple[float, float]) -> None:
        """Refuse settings that are impossible."""
        super().check(bounds)
        if not self.alpha > 0:
            raise ConfigError(f"alpha: expected a share above 0, got {self.alpha:g}")
        if min(self.size) < 1:
            raise ConfigError(f"size: expected at least one pixel along each axis, got {self.size}")
        if self.corner is not None and (len(self.corner) != len(self.size) or min(self.corner) < 0):
            raise ConfigError(f"corner: expected {len(self.size)} values of at least 0, got {self.corner}")

    def first(self, problem: Problem) -> Tensor:
        """Begin with the middle of the bounds."""
        middle = sum(problem.victim.bounds) / 2
        return problem.images.new_full((problem.images.shape[1], *self.size), middle)

    def boxes(self, problem: Problem) -> list[Box]:
        """Draw a place for each image, or take the fixed one.

        Raises:
            ConfigError: The patch does not fit.
        """
        space = problem.images.shape[2:]
        ends = [first + n for first, n in zip(self.corner or (0,) * len(self.size), self.size, strict=True)]
        if len(ends) != len(space) or any(end > n for end, n in zip(ends, space, strict=True)):
            at = "" if self.corner is None else f" at {self.corner}"
            raise ConfigError(f"size: a patch of {self.size}{at} does not fit into images of {tuple(space)}")
        if self.corner is not None:
            corners = [self.corner] * len(problem.images)
        else:
            draws = uniform(problem.images.new_empty(len(problem.images), len(space)), problem.generator)
            free = torch.tensor([n - m + 1 for n, m in zip(space, self.size, strict=True)])
            corners = [tuple(corner) for corner in (draws.cpu() * free).long().tolist()]
        return [
            (slice(None), *(slice(first, first + n) for first, n in zip(corner, self.size, strict=True)))
            for corner in corners
        ]

    def put(self, problem: Problem, image: Tensor, learned: Tensor) -> Tensor:
        """Replace what was there."""
        del problem, image
        return learned

    def step(self, problem: Problem, learned: Tensor, slope: Tensor) -> Tensor:
        """Step along the sign of the gradient, within the bounds."""
        low, high = problem.victim.bounds
        return problem.clip(learned + self.alpha * (high - low) * slope.sign())
