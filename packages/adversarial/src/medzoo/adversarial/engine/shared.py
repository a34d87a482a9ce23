"""Attacks that learn one thing for many images, such as a perturbation or a patch."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from medzoo.adversarial.engine.attack import Attack, Attacked, Best, result
from medzoo.adversarial.engine.draws import Source, shared
from medzoo.adversarial.engine.problem import Problem
from medzoo.adversarial.engine.victim import Victim
from medzoo.core.errors import ConfigError

Box = tuple[slice, ...]
"""Where in an image `(C, *S)` the learned thing is."""


@dataclass(frozen=True, kw_only=True)
class OneForAll(Attack):
    """An attack that learns one tensor from images and is judged on these or on others.

    Args:
        epochs: Passes through the images.
        batch: Images a step.
    """

    epochs: int = 20
    batch: int = 32

    def check(self, bounds: tuple[float, float]) -> None:
        """Refuse settings that are impossible."""
        super().check(bounds)
        if self.epochs < 1 or self.batch < 1:
            raise ConfigError(f"epochs, batch: expected at least 1, got {self.epochs} and {self.batch}")

    def fit(self, victim: Victim, images: Tensor, goal: Tensor, generator: Source | None = None) -> Tensor:
        """Learn from images and return what was learned; arguments as for a call.

        Raises:
            ConfigError: See `Attack`.
        """
        with self.opened(victim, images, goal, generator) as problem:
            return self._learn(problem)

    def apply(
        self, victim: Victim, images: Tensor, goal: Tensor, learned: Tensor, generator: Source | None = None
    ) -> Attacked:
        """Put what `fit` returned into images, such as those of other patients, and judge it.

        Raises:
            ConfigError: See `Attack`.
        """
        with self.opened(victim, images, goal, generator) as problem:
            return result(problem, self._judged(problem, learned))

    def run(self, problem: Problem) -> Best:
        """Learn from the images and judge it on the same."""
        return self._judged(problem, self._learn(problem))

    @abstractmethod
    def first(self, problem: Problem) -> Tensor:
        """Return what learning begins with."""

    @abstractmethod
    def boxes(self, problem: Problem) -> list[Box]:
        """Return where it goes, image by image."""

    @abstractmethod
    def put(self, problem: Problem, image: Tensor, learned: Tensor) -> Tensor:
        """Return a part of an image with what is learned in it."""

    @abstractmethod
    def step(self, problem: Problem, learned: Tensor, slope: Tensor) -> Tensor:
        """Return what was learned after a step along the gradient."""

    def _learn(self, problem: Problem) -> Tensor:
        learned, count, own = self.first(problem), len(problem.images), shared(problem.generator)
        for _ in range(self.epochs):
            order = torch.randperm(count, generator=own, device=own.device)
            for rows in order.to(problem.images.device).split(self.batch):
                part = problem.at(rows)
                x, boxes = self._shown(part, learned)
                slope = part.slope(x).slope
                each = [found[box] for found, box in zip(slope, boxes, strict=True)]
                learned = self.step(part, learned, torch.stack(each).sum(dim=0))
        return learned

    def _shown(self, problem: Problem, learned: Tensor) -> tuple[Tensor, list[Box]]:
        x, boxes = problem.images.clone(), self.boxes(problem)
        for image, box in zip(x, boxes, strict=True):
            image[box] = self.put(problem, image[box], learned)
        return x, boxes

    def _judged(self, problem: Problem, learned: Tensor) -> Best:
        best = Best(problem)
        for rows in torch.arange(len(problem.images), device=problem.images.device).split(self.batch):
            part = problem.at(rows)
            x, _ = self._shown(part, learned)
            best.offer(x, part.judge(x), rows, newest=True)
        return best
