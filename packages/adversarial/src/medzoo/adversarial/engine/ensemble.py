"""Several attacks one after the other on the images that withstood those before: the worst case of a classifier."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medzoo.adversarial.engine.attack import Best, Bounded
from medzoo.adversarial.engine.autopgd import APGD
from medzoo.adversarial.engine.draws import shared
from medzoo.adversarial.engine.losses import ClassLoss, CrossEntropy, Margin
from medzoo.adversarial.engine.problem import Problem
from medzoo.adversarial.engine.square import Square
from medzoo.core.errors import ConfigError

LEAST = 4
"""Classes that AutoAttack's targeted members need: their ratio of logits is undefined for fewer."""


@dataclass(frozen=True, kw_only=True)
class Ensemble(Bounded):
    """Auto-PGD on the cross-entropy, Auto-PGD on the margin, then Square, for any number of classes and axes.

    An ensemble of this engine for classifiers that AutoAttack (Croce and Hein 2020) is not defined for, such as those
    of two classes; its figures are not AutoAttack's.

    Args:
        steps: Of each Auto-PGD.
        queries: Of Square, which is left out under L2.
    """

    steps: int = 100
    queries: int = 1000

    def check(self, bounds: tuple[float, float]) -> None:
        """Refuse losses of other tasks."""
        super().check(bounds)
        if not isinstance(self.loss, ClassLoss):
            raise ConfigError("ensemble: it is of classifiers of exclusive classes; take apgd or square")
        for member in self._members():
            member.check(bounds)

    def run(self, problem: Problem) -> Best:
        """Let each member search where none before it succeeded."""
        best = Best(problem)
        best.offer(problem.images, problem.judge(problem.images))
        for member in self._members():
            rows = torch.nonzero(~best.success)[:, 0]
            if not len(rows):
                break
            part = problem.at(rows)
            part.loss = member.loss
            found = member.run(part)
            best.success[rows] |= found.success
            best.images[rows], best.gain[rows] = found.images, found.gain
        return best

    def _members(self) -> list[Bounded]:
        eps, norm, targeted = self.eps, self.norm, self.targeted
        members: list[Bounded] = [
            APGD(eps=eps, norm=norm, targeted=targeted, steps=self.steps, loss=loss)
            for loss in (CrossEntropy(), Margin())
        ]
        square = Square(eps=eps, targeted=targeted, queries=self.queries)
        return members if norm == "l2" else [*members, square]


@dataclass(frozen=True, kw_only=True)
class AutoAttack(Bounded):
    """The standard AutoAttack of the package pyautoattack, for flat images in [0, 1] and four classes or more.

    Its targeted members look at up to nine other classes, all where there are fewer.
    """

    def check(self, bounds: tuple[float, float]) -> None:
        """Refuse what it is not defined for.

        Raises:
            ConfigError: It is not installed, or the task, the aim or the images' range is another.
        """
        super().check(bounds)
        if not isinstance(self.loss, ClassLoss) or self.targeted or self.penalty is not None:
            raise ConfigError("autoattack: it leads classifiers away from the truth, without a target or a penalty")
        if tuple(bounds) != (0.0, 1.0):
            raise ConfigError(f"autoattack: its images lie in [0, 1], got bounds {bounds[0]:g} to {bounds[1]:g}")
        if importlib.util.find_spec("pyautoattack") is None:
            raise ConfigError("autoattack: it is not installed; pip install 'medzoo-adversarial[autoattack]'")

    def run(self, problem: Problem) -> Best:
        """Let the package search, and judge what it found.

        Raises:
            ConfigError: Volumes, or fewer than four classes.
        """
        if problem.images.ndim != 4:
            raise ConfigError(f"autoattack: expected images (n, C, H, W), got {tuple(problem.images.shape)}; take apgd")
        best, model = Best(problem), _Logits(problem)
        with torch.no_grad():
            classes = model(problem.images[:1]).shape[1]
        if classes < LEAST:
            raise ConfigError(f"autoattack: it needs {LEAST} classes, the victim has {classes}; take ensemble")
        seed = int(torch.randint(2**31, (), generator=shared(problem.generator)))
        norm = "Linf" if self.norm == "linf" else "L2"
        attack = importlib.import_module("pyautoattack").AutoAttack(
            model, eps=self.eps, norm=norm, seed=seed, device=str(problem.images.device)
        )
        attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = min(9, classes - 1)
        if self.eps > 0:
            found, _ = attack.run_standard_evaluation(problem.images, problem.goal, batch_size=len(problem.images))
            best.offer(self.within(problem, found), problem.judge(self.within(problem, found)), newest=True)
        else:
            best.offer(problem.images, problem.judge(problem.images))
        return best


class _Logits(nn.Module):
    """The victim as the module that the package wants."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem

    def forward(self, images: Tensor) -> Tensor:
        return self.problem.victim(images, shared(self.problem.generator))
