"""One batch under attack: its images, its goal, and what the attacker sees of the victim for varied images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from medzoo.adversarial.engine.draws import Source, source_of
from medzoo.adversarial.engine.losses import Loss
from medzoo.adversarial.engine.victim import Victim
from medzoo.core.errors import ConfigError

Penalty = Callable[[Tensor, Tensor], Tensor]
"""From outputs and goal to a cost `(B,)` that every attack lowers, such as how conspicuous features are."""


@dataclass
class Seen:
    """What the victim gave for varied images.

    Attributes:
        gain: `(B,)` what the attacker raises.
        success: `(B,)` bool, whether the aim is reached.
        slope: `(B, C, *S)` gradient of the gain; empty where it was not asked for.
    """

    gain: Tensor
    success: Tensor
    slope: Tensor


@dataclass
class _Ledger:
    spent: Tensor
    checked: bool = False


@dataclass
class Problem:
    """A batch under attack.

    Args:
        victim: The model.
        images: `(B, C, *S)` float32 within the victim's bounds.
        goal: The truth, or with `targeted` what the attacker wishes; a row an image, as the loss takes it.
        loss: How far outputs are from the goal.
        targeted: Whether the goal is to be reached or to be left.
        penalty: A further cost that the attacker lowers.
        generator: What is random in the attack and in the victim comes from it; a tuple has one for each image.
    """

    victim: Victim
    images: Tensor
    goal: Tensor
    loss: Loss
    targeted: bool
    penalty: Penalty | None
    generator: Source
    rows: Tensor = field(init=False)
    ledger: _Ledger = field(init=False)

    def __post_init__(self) -> None:
        self.rows = torch.arange(len(self.images), device=self.images.device)
        self.ledger = _Ledger(torch.zeros_like(self.rows))

    def at(self, rows: Tensor) -> Problem:
        """Return the problem of some of the images; what they cost is counted here too."""
        part = Problem(
            self.victim.at(rows),
            self.images[rows],
            self.goal[rows],
            self.loss,
            self.targeted,
            self.penalty,
            source_of(self.generator, rows),
        )
        part.rows, part.ledger = self.rows[rows], self.ledger
        return part

    def clip(self, x: Tensor) -> Tensor:
        """Return images within the bounds."""
        return x.clamp(*self.victim.bounds)

    def judge(self, x: Tensor) -> Seen:
        """Return gain and success without gradients."""
        with torch.no_grad():
            return self._seen(x, None)

    def slope(self, x: Tensor, vary: Callable[[Tensor], Tensor] | None = None) -> Seen:
        """Return gain, success and gradient.

        Args:
            x: Images.
            vary: A random transformation of the images that the victim is shown; success is then that of the
                transformed images.

        Raises:
            ConfigError: The outputs have no gradient to the images.
        """
        return self._seen(x.detach().requires_grad_(), vary or (lambda images: images))

    def _seen(self, x: Tensor, vary: Callable[[Tensor], Tensor] | None) -> Seen:
        """Ask the victim `draws` times: gains and gradients are means, success is that of the mean outputs."""
        draws = self.victim.draws
        gain, mean, slope = torch.zeros(len(x), device=x.device), torch.zeros(()), torch.empty(0)
        for draw in range(draws):
            outputs = self.victim(x if vary is None else vary(x), self.generator)
            self._check(outputs)
            each = self.loss.gain(outputs, self.goal, self.targeted)
            if self.penalty is not None:
                each = each - self.penalty(outputs, self.goal)
            if vary is not None:
                if not each.requires_grad:
                    raise ConfigError(
                        "victim: its outputs have no gradient to the images; take square, which needs none, "
                        "or put bpda around the step without one"
                    )
                # A sum, so that the step of an image does not depend on the batch it is in.
                (found,) = torch.autograd.grad(each.sum(), x)
                slope = found / draws if draw == 0 else slope + found / draws
            gain = gain + each.detach() / draws
            mean = outputs.detach() / draws if draw == 0 else mean + outputs.detach() / draws
        self.ledger.spent[self.rows] += draws
        met = self.loss.met(mean, self.goal)
        return Seen(gain, met if self.targeted else ~met, slope)

    def _check(self, outputs: Tensor) -> None:
        if self.ledger.checked:
            return
        self.loss.check(outputs.detach(), self.goal, self.targeted)
        if not bool(outputs.isfinite().all()):
            raise ConfigError("victim: its outputs for the images are not finite; look at its weights and its bounds")
        self.ledger.checked = True
