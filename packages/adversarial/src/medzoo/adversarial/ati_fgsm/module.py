"""ATI-FGSM as a method: any landmark model of the zoo as victim, some of its landmarks led away, the others held."""

from __future__ import annotations

from typing import Any, Literal, Never

import torch
from torch import Tensor

from medzoo.adversarial.ati_fgsm.attack import ati_fgsm
from medzoo.adversarial.ati_fgsm.loss import Head
from medzoo.adversarial.ati_fgsm.report import Led, LedEvaluation
from medzoo.adversarial.engine import MethodVictim
from medzoo.adversarial.on_victim import OnVictim
from medzoo.core.errors import ConfigError
from medzoo.core.geometry.points import to_original
from medzoo.core.metrics import radial_errors
from medzoo.core.sample import Batch
from medzoo.core.seeding import derive_seed
from medzoo.core.tasks.base import Evaluation
from medzoo.core.tasks.landmark_types import Domain, LandmarkOutputs
from medzoo.core.tasks.landmarks import LandmarkEvaluation, landmark_columns

_MARGIN = 0.15


class ATIFGSM(OnVictim):
    """Adaptive targeted iterative FGSM on several landmarks (Yao 2020), beside the same with uniform weights.

    Args:
        stage: `victim` (a landmark model is trained), `attack` (it is tested under attack) or `all`.
        victim: Name of a landmark model that is trained, or a checkpoint of one that is taken as it is.
        victim_options: Options of the model that is trained.
        made: What a checkpoint knows of the victim; leave it alone.
        eps: Budgets of the attack, in [0, 1].
        attack_steps: Steps, each a twentieth of the budget.
        most: Most landmarks that are led away in an image, as a share of all; at least one is.
        seed: Of the landmarks that are led away and of their goals.
    """

    def __init__(
        self,
        stage: str = "victim",
        victim: str = "heatmap",
        victim_options: dict[str, Any] | None = None,
        made: dict[str, Any] | None = None,
        eps: tuple[float, ...] = (0.5 / 255, 1 / 255, 2 / 255, 4 / 255),
        attack_steps: int = 300,
        most: float = 17 / 19,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if not eps or min(eps) <= 0 or max(eps) > 1:
            raise ConfigError(f"--model.eps: expected budgets above 0 and up to 1, got {list(eps)}")
        if attack_steps < 1:
            raise ConfigError(f"--model.attack_steps: expected at least 1, got {attack_steps}")
        if not 0 < most <= 1:
            raise ConfigError(f"--model.most: expected a share above 0 and up to 1, got {most}")
        self.begin()

    def new_evaluation(self, stage: Literal["validate", "test"]) -> Evaluation[Never] | None:
        """Return the victim's; in the second stage a test that attacks.

        Raises:
            ConfigError: The victim finds no landmarks.
        """
        inner = super().new_evaluation(stage)
        if stage == "validate" or self.stage != self.stages[-1]:
            return inner
        if not isinstance(inner, LandmarkEvaluation):
            raise ConfigError("--model.victim: expected a model that finds landmarks")
        return LedEvaluation(inner)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Judge a batch of one domain, then lead its landmarks away."""
        super().test_step(batch, batch_idx)
        if not isinstance(self.evaluation, LedEvaluation):
            return
        domain: Domain = self.evaluation.inner.domains[int(batch["domain"][0])]
        with torch.no_grad():
            clean: LandmarkOutputs = self.subject.outputs(batch)
        order = landmark_columns(clean.landmarks, domain)
        generator = torch.Generator().manual_seed(derive_seed(self.hparams["seed"], batch_idx))
        goals = self._goals(clean.points[:, order], batch["image"].shape[-2:], generator)
        for eps in self.hparams["eps"]:
            for adaptive in (False, True):
                self.evaluation.led.append(self._lead(batch, clean, order, domain, goals, eps, adaptive))

    def _goals(self, points: Tensor, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draw which landmarks go, and where to: `(B, K, 2)` in pixels of the image, NaN for those that stay."""
        count = points.shape[1]
        most = max(1, min(count, round(self.hparams["most"] * count)))
        goals = torch.full_like(points, torch.nan)
        box = torch.tensor([size[-1], size[-2]], dtype=points.dtype) - 1
        for row in goals:
            number = int(torch.randint(1, most + 1, (), generator=generator))
            chosen = torch.randperm(count, generator=generator)[:number]
            share = _MARGIN + (1 - 2 * _MARGIN) * torch.rand(number, 2, generator=generator)
            row[chosen.to(row.device)] = (share * box).to(row)
        return goals

    def _lead(
        self,
        batch: Batch,
        clean: LandmarkOutputs,
        order: list[int],
        domain: Domain,
        goals: Tensor,
        eps: float,
        adaptive: bool,
    ) -> Led:
        images, maps = batch["image"], clean.maps[:, order]
        share = torch.tensor(
            [maps.shape[-1] / images.shape[-1], maps.shape[-2] / images.shape[-2]], device=images.device
        )
        victim = MethodVictim(self.subject, batch, lambda found: found.maps[:, order])
        trace: list[Tensor] = []
        head: Head = "heat" if bool(maps.min() >= 0) and bool(maps.max() <= 1) else "softmax"
        found = ati_fgsm(
            victim, images.clamp(0, 1), (goals + 0.5) * share - 0.5, eps=eps, steps=self.hparams["attack_steps"],
            adaptive=adaptive, head=head, trace=trace,
        )  # fmt: skip
        with torch.no_grad():
            after: LandmarkOutputs = self.subject.outputs(batch | {"image": found.images})
        led = ~goals.isnan().any(dim=2)
        before, now = clean.points[:, order], after.points[:, order]
        wished = torch.where(led[..., None], goals, before)
        scale, known, seen = batch["scale"].double(), torch.ones_like(led), batch["visible"]

        def distance(points: Tensor, to: Tensor, which: Tensor) -> Tensor:
            """Return distances in the domain's unit; points in pixels of the network's image."""
            return radial_errors(to_original(points, batch["affine"]), to, which, scale).cpu()

        aim, truth = to_original(wished, batch["affine"]), batch["landmarks"].double()
        places = [to_original(points, batch["affine"]) * scale[:, None] for points in (before, now)]
        steps = [distance((peak + 0.5) / share - 0.5, aim, known) for peak in trace]
        return Led(
            domain.name, domain.unit, "ati-fgsm" if adaptive else "ti-fgsm", eps, led.cpu(),
            distance(now, aim, known), distance(now, truth, seen), distance(before, truth, seen),
            torch.cdist(places[0], places[0]).cpu(), torch.stack(steps), (places[0].cpu(), places[1].cpu()),
            domain.landmarks,
        )  # fmt: skip
