"""Auto-PGD (Croce and Hein 2020): steps that halve by themselves where they no longer pay."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from medzoo.adversarial.engine.attack import Best, Bounded, kept
from medzoo.adversarial.engine.norms import per_sample
from medzoo.adversarial.engine.problem import Problem
from medzoo.core.errors import ConfigError

_INERTIA = 0.75
_PAID = 0.75  # share of steps between checkpoints that must have raised the gain


@dataclass(frozen=True, kw_only=True)
class APGD(Bounded):
    """Auto-PGD with the loss given: `CrossEntropy`, `Margin`, or `DLR` from three classes on.

    Args:
        steps: Gradient steps.
        restarts: Searches from new random places; images that succeeded are not searched again.
    """

    steps: int = 100
    restarts: int = 1

    def check(self, bounds: tuple[float, float]) -> None:
        """Refuse settings that are impossible."""
        super().check(bounds)
        for name, value in (("steps", self.steps), ("restarts", self.restarts)):
            if value < 1:
                raise ConfigError(f"{name}: expected at least 1, got {value}")

    def run(self, problem: Problem) -> Best:
        """Search from random places of the ball."""
        best = Best(problem)
        for _ in range(self.restarts):
            rows = torch.nonzero(~best.success)[:, 0]
            if not len(rows):
                break
            found = self._search(problem if len(rows) == len(best.success) else problem.at(rows))
            best.offer(found.images, found, rows)
        return best

    def _search(self, problem: Problem) -> Best:
        answer = Best(problem)
        x = self.within(problem, problem.images + self.ball.random(problem.images, self.eps, problem.generator))
        seen = problem.slope(x)
        answer.offer(x, seen)
        top, slope, peak = seen.gain, seen.slope, x  # of each image: highest gain, and gradient and image there
        gain, previous = seen.gain, x
        length = torch.full_like(gain, 2 * self.eps)
        paid, halved_last, top_last = torch.zeros_like(gain), torch.ones_like(gain, dtype=torch.bool), top
        ends, since = checkpoints(self.steps), 0
        current = seen.slope
        for step in range(1, self.steps + 1):
            move = length.reshape(per_sample(x)) * self.ball.steepest(current)
            forth = self.within(problem, x + move)
            inertia = _INERTIA if step > 1 else 1.0
            forth = self.within(problem, x + inertia * (forth - x) + (1 - inertia) * (x - previous))
            previous, x = x, forth
            seen = problem.slope(x)
            answer.offer(x, seen)
            paid = paid + (seen.gain > gain)
            gain, current = seen.gain, seen.slope
            higher = gain > top
            top, slope, peak = kept(higher, gain, top), kept(higher, current, slope), kept(higher, x, peak)
            if step in ends:
                stale = ~halved_last & (top <= top_last)
                halve = (paid < _PAID * (step - since)) | stale
                length = kept(halve, length / 2, length)
                x, current, gain = kept(halve, peak, x), kept(halve, slope, current), kept(halve, top, gain)
                paid, halved_last, top_last, since = torch.zeros_like(paid), halve, top, step
        return answer


def checkpoints(steps: int) -> set[int]:
    """Return the steps after which lengths may halve: shares 0.22, 0.41, 0.57, … of all, ever closer."""
    before, at, found = 0.0, 0.22, set[int]()
    while at < 1:
        found.add(math.ceil(at * steps))
        before, at = at, at + max(at - before - 0.03, 0.06)
    return found
