"""Attacks on a classifier and its detector at once: orthogonal steps, and steps averaged over drawn Cushions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from medzoo.adversarial.aegis.losses import Knowing, ShieldScore
from medzoo.adversarial.aegis.network import Cushion
from medzoo.adversarial.engine import BIM, Attack, Bounded, Victim
from medzoo.adversarial.engine.attack import Best
from medzoo.adversarial.engine.norms import per_sample
from medzoo.adversarial.engine.problem import Problem
from medzoo.adversarial.engine.victim import Before
from medzoo.core.errors import ConfigError

WEIGHTS = (0.1, 1.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class Orthogonal(Bounded):
    """Orthogonal projected gradient descent (Bryniarski 2021): no step on one aim gives up what the other has reached.

    Where the class is not the target yet, the step lowers the cross-entropy along its gradient less the part along that
    of the score; where it is, it lowers the score along its gradient less the part along that of the cross-entropy.
    Under L∞ the sign of what is left is taken, as everywhere in the engine.

    Args:
        steps: Of two gradients each.
        alpha: Length of a step in image units.
    """

    steps: int
    alpha: float

    def check(self, bounds: tuple[float, float]) -> None:
        """Refuse settings that are impossible."""
        super().check(bounds)
        if self.steps < 1:
            raise ConfigError(f"steps: expected at least 1, got {self.steps}")

    def run(self, problem: Problem) -> Best:
        """Search from the image itself."""
        doubt = Problem(
            problem.victim, problem.images, problem.goal, ShieldScore(), self.targeted, None, problem.generator
        )
        doubt.ledger = problem.ledger  # its passes are counted too
        best, x = Best(problem), problem.images
        for _ in range(self.steps):
            entropy, score = problem.slope(x), doubt.slope(x)
            best.offer(x, entropy, newest=True)
            slope = torch.where(
                score.success.reshape(per_sample(x)),
                without(score.slope, entropy.slope),
                without(entropy.slope, score.slope),
            )
            x = self.within(problem, x.detach() + self.alpha * self.ball.steepest(slope))
        best.offer(x, problem.judge(x), newest=True)
        return best


def without(slope: Tensor, other: Tensor) -> Tensor:
    """Return gradients less their part along others, sample by sample: orthogonal to them.

    Args:
        slope: `(n, C, *S)`.
        other: Likewise; where it is zero nothing is taken.
    """
    along = (slope * other).flatten(1).sum(dim=1) / other.square().flatten(1).sum(dim=1).clamp_min(1e-20)
    return slope - along.reshape(per_sample(slope)) * other


def drawn_cushion(sigma: float) -> Before:
    """Return a low-pass whose standard deviation is drawn from half to one and a half of `sigma` at each call."""

    def applied(images: Tensor, generator: torch.Generator) -> Tensor:
        share = 0.5 + float(torch.rand((), generator=generator, device=generator.device))
        cushion = Cushion(share * sigma).to(images.device)
        smooth: Tensor = cushion(images)
        return smooth

    return applied


def tried(
    judged: Callable[[Tensor], Tensor], bare: Callable[[Tensor], Tensor], module: torch.nn.Module, limits: Tensor,
    sigma: float, eps: float, steps: int, draws: int,
) -> dict[str, tuple[Attack, Victim]]:  # fmt: skip
    """Return the attacks of a test by name, each with the victim that it looks at.

    Args:
        judged: The defended classifier: logits, with the Shield's score as last column.
        bare: The same without the Cushion.
        module: What both run.
        limits: `(K,)` scores up to which an image passes.
        sigma: Of the Cushion.
        eps: Budget in image units.
        steps: Of each attack, 2.5 ε / steps long.
        draws: Cushions that are drawn at each step of the attack that knows only about how smooth it is.
    """
    alpha = 2.5 * eps / steps
    victim = Victim(judged, module=module)
    losses = {"oblivious": Knowing(limits, aware=False)}
    losses |= {f"knows the Shield, {weight:g}": Knowing(limits, weight) for weight in WEIGHTS}
    losses["selective"] = Knowing(limits, selective=True)
    found: dict[str, tuple[Attack, Victim]] = {
        name: (BIM(eps=eps, steps=steps, alpha=alpha, targeted=True, loss=loss), victim)
        for name, loss in losses.items()
    }
    found["orthogonal"] = (
        Orthogonal(eps=eps, steps=steps, alpha=alpha, targeted=True, loss=Knowing(limits)), victim
    )  # fmt: skip
    if sigma > 0 and draws:
        unsure = Victim(bare, module=module, before=drawn_cushion(sigma), draws=draws)
        found[f"over {draws} drawn Cushions"] = (
            BIM(eps=eps, steps=steps, alpha=alpha, targeted=True, loss=Knowing(limits, 1.0)), unsure
        )  # fmt: skip
    return found
