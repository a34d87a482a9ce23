"""Random noise of the same norm as an attack's change: what a budget does without any search."""

from __future__ import annotations

from dataclasses import dataclass

from medzoo.adversarial.engine.attack import Best, Bounded
from medzoo.adversarial.engine.problem import Problem


@dataclass(frozen=True, kw_only=True)
class Noise(Bounded):
    """One random change that uses the whole budget: ±ε in each pixel, or a random direction of length ε.

    The baseline beside which the success of an attack stands; it asks for no gradient.
    """

    def run(self, problem: Problem) -> Best:
        """Draw once and judge."""
        best = Best(problem)
        drawn = self.ball.random(problem.images, 1.0, problem.generator)
        x = problem.clip(problem.images + self.eps * self.ball.steepest(drawn))
        best.offer(x, problem.judge(x), newest=True)
        return best
