"""Square attack (Andriushchenko 2020): random squares, no gradients."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field

import torch
from torch import Tensor

from medzoo.adversarial.engine.attack import Best, Bounded
from medzoo.adversarial.engine.draws import parts, uniform
from medzoo.adversarial.engine.losses import Loss, Margin
from medzoo.adversarial.engine.problem import Problem
from medzoo.core.errors import ConfigError

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10 000 queries


@dataclass(frozen=True, kw_only=True)
class Square(Bounded):
    """Square attack under L∞, for images of any number of axes: squares, cubes, segments.

    An image that succeeded is left alone.

    Args:
        queries: Forward passes for an image at most.
        area: Share of the image that the first squares cover.
    """

    loss: Loss = field(default_factory=Margin)
    queries: int = 1000
    area: float = 0.8

    def check(self, bounds: tuple[float, float]) -> None:
        """Refuse settings that are impossible."""
        super().check(bounds)
        if self.norm != "linf":
            raise ConfigError(f"norm: Square is for linf only, got {self.norm}")
        if self.queries < 1 or not 0 < self.area <= 1:
            raise ConfigError(f"queries: expected at least 1, got {self.queries}; area: a share, got {self.area:g}")

    def run(self, problem: Problem) -> Best:
        """Begin with the image and stripes, then try a square a query and keep what raises the gain."""
        best = Best(problem)
        best.offer(problem.images, problem.judge(problem.images))
        for query in range(1, self.queries):
            rows = torch.nonzero(~best.success)[:, 0]
            if not len(rows):
                break
            part = problem if len(rows) == len(best.success) else problem.at(rows)
            if query == 1:
                x = self.within(part, part.images + self._stripes(part))
            else:
                x = self._square(part, best.images[rows], self.share(query))
            best.offer(x, part.judge(x), rows)
        return best

    def share(self, query: int) -> float:
        """Return the share of the image that a square covers: halved along the search."""
        return self.area * 0.5 ** bisect.bisect_left(_HALVINGS, query * 10_000 / self.queries)

    def _stripes(self, problem: Problem) -> Tensor:
        """Draw ±eps for each channel and line along the first spatial axis."""
        shape = [*problem.images.shape[:2], 1, *problem.images.shape[3:]]
        return self._signs(shape, problem).expand_as(problem.images)

    def _square(self, problem: Problem, x: Tensor, share: float) -> Tensor:
        """Set a square of each image to the original ± eps, a sign for each channel."""
        x, size = x.clone(), problem.images.shape[2:]
        count = 1
        for n in size:
            count *= n
        side = max(1, round((share * count) ** (1 / len(size))))
        signs = self._signs([*x.shape[:2], *(1 for _ in size)], problem)
        for i, places in enumerate(uniform(x.new_empty(len(x), len(size)), problem.generator).tolist()):
            box: list[int | slice] = [i, slice(None)]
            for n, place in zip(size, places, strict=True):
                width = min(side, n)
                first = int(place * (n - width + 1))
                box.append(slice(first, first + width))
            x[tuple(box)] = problem.images[tuple(box)] + signs[i]
        return problem.clip(x)

    def _signs(self, shape: list[int], problem: Problem) -> Tensor:
        coins = [
            torch.randint(0, 2, part.shape, generator=own, device=own.device)
            for part, own in parts(problem.images.new_empty(shape), problem.generator)
        ]
        return ((2 * torch.cat(coins) - 1) * self.eps).to(problem.images)
