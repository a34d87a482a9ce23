"""What all attacks have: their settings, the checks of what they are given, the result."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from medzoo.adversarial.engine.draws import Source
from medzoo.adversarial.engine.frozen import differentiable, frozen
from medzoo.adversarial.engine.losses import CrossEntropy, Loss
from medzoo.adversarial.engine.norms import NORMS, Norm, NormName, per_sample
from medzoo.adversarial.engine.problem import Penalty, Problem, Seen
from medzoo.adversarial.engine.victim import Victim
from medzoo.core.errors import ConfigError, check_choice


@dataclass(frozen=True)
class Attacked:
    """The result for a batch of n images.

    Attributes:
        images: `(n, C, *S)` float32 within the bounds; where `success` is false, what came nearest, or the image
            itself from an attack that looks for the least change.
        success: `(n,)` bool, whether the outputs for `images` are what the attacker wished.
        gain: `(n,)` what the attacker raised, at `images`.
        linf: `(n,)` largest change of a pixel, in image units.
        l2: `(n,)` Euclidean length of the change, in image units.
        queries: `(n,)` int64, forward passes of the victim.
    """

    images: Tensor
    success: Tensor
    gain: Tensor
    linf: Tensor
    l2: Tensor
    queries: Tensor


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """An attack with its settings; calling it attacks a batch.

    Args:
        loss: How far outputs are from the goal.
        targeted: Whether the goal is what the attacker wishes; otherwise it is the truth, which outputs shall leave.
        penalty: A further cost of outputs and goal, `(n,)`, that the attack lowers.
    """

    loss: Loss = field(default_factory=CrossEntropy)
    targeted: bool = False
    penalty: Penalty | None = None

    def __call__(self, victim: Victim, images: Tensor, goal: Tensor, generator: Source | None = None) -> Attacked:
        """Attack a batch; the victim is as before afterwards.

        Args:
            victim: The model.
            images: `(n, C, *S)` floating point, within the victim's bounds.
            goal: A row an image, as the loss takes it: the truth, or with `targeted` the attacker's wish.
            generator: What all that is random comes from; None takes one of seed 0. With a tuple, one for each image,
                what is found for an image does not hang on the batch it is in.

        Raises:
            ConfigError: Images out of bounds, an impossible budget or goal, a victim without gradients.
        """
        with self.opened(victim, images, goal, generator) as problem:
            return result(problem, self.run(problem))

    def succeeds(self, victim: Victim, images: Tensor, goal: Tensor, generator: Source | None = None) -> Tensor:
        """Return for which images the aim is reached as they are, `(n,)` bool: clean, rounded to 8 bits, or of a twin.

        Arguments and errors are those of a call.
        """
        with self.opened(victim, images, goal, generator) as problem:
            return problem.judge(problem.images).success

    @contextmanager
    def opened(self, victim: Victim, images: Tensor, goal: Tensor, generator: Source | None) -> Iterator[Problem]:
        """Check what is given, and freeze the victim as long as its problem is worked on.

        Raises:
            ConfigError: See `__call__`.
        """
        images = checked_images(images, victim.bounds)
        self.check(victim.bounds)
        if len(goal) != len(images):
            raise ConfigError(f"goal: expected a row for each of the {len(images)} images, got {len(goal)}")
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        if isinstance(generator, tuple) and len(generator) != len(images):
            raise ConfigError(f"generator: expected one for each of the {len(images)} images, got {len(generator)}")
        with frozen(victim.module), differentiable(images.device):
            # Clones: tensors made in inference mode cannot be saved for a backward pass.
            images, goal = images.clone(), goal.to(images.device).clone()
            yield Problem(victim, images, goal, self.loss, self.targeted, self.penalty, generator)

    def check(self, bounds: tuple[float, float]) -> None:
        """Refuse settings that are impossible for images in these bounds.

        Raises:
            ConfigError: In one line, what is wrong.
        """
        del bounds

    @abstractmethod
    def run(self, problem: Problem) -> Best:
        """Search; gradients are allowed and the victim is in evaluation mode."""


@dataclass(frozen=True, kw_only=True)
class Bounded(Attack):
    """An attack whose perturbation has a limit.

    Args:
        eps: The limit in image units, such as `1 / 255` for images in [0, 1]; 0 returns the image.
        norm: What it limits: the largest change of a pixel, or the Euclidean length.
    """

    eps: float
    norm: NormName = "linf"

    @property
    def ball(self) -> Norm:
        """The norm."""
        return NORMS[self.norm]

    def check(self, bounds: tuple[float, float]) -> None:
        """Refuse a negative budget, one beyond the range of the images, and unknown norms."""
        check_choice("attack.norm", self.norm, list(NORMS))
        check_eps(self.eps, bounds if self.norm == "linf" else (0, math.inf))

    def within(self, problem: Problem, x: Tensor) -> Tensor:
        """Return the nearest images within the limit and the bounds."""
        return problem.clip(problem.images + self.ball.project(x - problem.images, self.eps))


class Best:
    """The best images so far of a batch: a success is never given up for a failure.

    Args:
        problem: Its images are the first answer, with no success and the lowest gain.
    """

    def __init__(self, problem: Problem) -> None:
        self.images = problem.images.clone()
        self.gain = torch.full((len(self.images),), -torch.inf, device=self.images.device)
        self.success = torch.zeros_like(self.gain, dtype=torch.bool)

    def offer(self, x: Tensor, seen: Seen | Best, rows: Tensor | None = None, newest: bool = False) -> None:
        """Take what is better.

        Args:
            x: Images.
            seen: Gain and success for them.
            rows: Which of the batch they are; None for all.
            newest: Of two failures or two successes take the new one; otherwise the one with more gain.
        """
        had, gain = (self.success, self.gain) if rows is None else (self.success[rows], self.gain[rows])
        has = seen.success
        better = (has & ~had) | ((has == had) & (torch.ones_like(had) if newest else seen.gain > gain))
        if rows is None:
            self.images = kept(better, x.detach(), self.images)
            self.gain, self.success = kept(better, seen.gain, gain), kept(better, has, had)
            return
        at = rows[better]
        self.images[at], self.gain[at], self.success[at] = x.detach()[better], seen.gain[better], has[better]


def result(problem: Problem, best: Best) -> Attacked:
    """Return what was found, with the sizes of the changes."""
    delta = best.images - problem.images
    linf, l2 = NORMS["linf"].size(delta), NORMS["l2"].size(delta)
    return Attacked(best.images, best.success, best.gain, linf, l2, problem.ledger.spent)


def checked_images(images: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Return images as float32.

    Args:
        images: `(n, C, *S)`.
        bounds: Within which they must be.

    Raises:
        ConfigError: They are whole numbers, not finite or out of bounds, or have no channel axis and space.
    """
    low, high = bounds
    if images.ndim < 3:
        raise ConfigError(f"images: expected (n, C, *S), got shape {tuple(images.shape)}")
    if not images.is_floating_point():
        raise ConfigError(f"images: expected floating point in [{low:g}, {high:g}], got {images.dtype}; divide by 255")
    images = images.detach().float()
    if images.numel() and not (float(images.amin()) >= low and float(images.amax()) <= high):
        least, most = float(images.amin()), float(images.amax())
        raise ConfigError(
            f"images: expected values in [{low:g}, {high:g}], got {least:g} to {most:g}; "
            "give images before normalisation, or the victim's bounds"
        )
    return images


def check_eps(eps: float, bounds: tuple[float, float]) -> None:
    """Refuse a budget that is negative or beyond the range of the images.

    Raises:
        ConfigError: It is.
    """
    width = bounds[1] - bounds[0]
    if not 0 <= eps <= width or not math.isfinite(eps):
        raise ConfigError(f"eps: expected 0 to {width:g}, in the unit of the images, got {eps:g}")


def kept(flags: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Return the new images of samples whose flag is set, the old ones of the others."""
    return torch.where(flags.reshape(per_sample(new)), new, old)
