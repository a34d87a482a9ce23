"""Medical Aegis as a method: Cushion and Shield around any classifier, judged by attacks that know both."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Never

import torch
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor

from medzoo.adversarial.aegis.attacks import tried
from medzoo.adversarial.aegis.network import Cushion, Shield, train_shield
from medzoo.adversarial.aegis.report import BypassEvaluation, Tried
from medzoo.adversarial.detectors import Watched
from medzoo.adversarial.halves import halves
from medzoo.adversarial.on_classifier import OnClassifier
from medzoo.adversarial.targets import other_classes
from medzoo.core.errors import ConfigError
from medzoo.core.metrics.segmentation import quantile_threshold
from medzoo.core.runs.schema import weights_of
from medzoo.core.sample import Batch
from medzoo.core.seeding import derive_seed
from medzoo.core.tasks.base import Evaluation


class Aegis(OnClassifier):
    """Medical Aegis (Yao 2021; ISBI 2024), reconstructed: a low-pass before a classifier, and heads that doubt it.

    Args:
        stage: `victim` (the classifier learns behind the Cushion), `protect` (the Shield learns, is attacked) or `all`.
        victim: Name of a classification model that is trained, or a checkpoint of one that is taken as it is.
        victim_options: Options of the model that is trained.
        made: What a checkpoint knows of the victim; leave it alone.
        sigma: Standard deviation of the Cushion's low-pass in pixels; 0 leaves it out.
        shield_layer: Name of the victim's layer that the Shield looks at; empty: an activation a quarter of the way in.
        shield_width: Channels of the Shield's first convolution.
        shield_steps: Training steps of the Shield.
        false_alarms: Share of clean images that the Shield may reject.
        eps: Budgets of the attacks, in [0, 1].
        attack_steps: Steps of an attack, each 2.5 ε / steps long.
        draws: Cushions of other widths over which one of the attacks takes the mean at each step; 0 leaves it out.
        seed: Of all that is random.
    """

    stages: ClassVar[tuple[str, ...]] = ("victim", "protect")

    def __init__(
        self,
        stage: str = "victim",
        victim: str = "classifier",
        victim_options: dict[str, Any] | None = None,
        made: dict[str, Any] | None = None,
        sigma: float = 1.0,
        shield_layer: str | None = None,
        shield_width: int = 32,
        shield_steps: int = 400,
        false_alarms: float = 0.05,
        eps: tuple[float, ...] = (1 / 255, 2 / 255, 4 / 255, 8 / 255),
        attack_steps: int = 40,
        draws: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if not eps or min(eps) <= 0 or max(eps) > 1:
            raise ConfigError(f"--model.eps: expected budgets above 0 and up to 1, got {list(eps)}")
        if not 0 <= sigma <= 20:
            raise ConfigError(f"--model.sigma: expected 0 to 20 pixels, got {sigma}")
        if not 0 < false_alarms < 1:
            raise ConfigError(f"--model.false_alarms: expected a share between 0 and 1, got {false_alarms}")
        for name, count in (("width", shield_width), ("steps", shield_steps), ("attack", attack_steps)):
            if count < 1:
                raise ConfigError(f"--model.shield_{name}, --model.attack_steps: expected at least 1, got {count}")
        if draws < 0:
            raise ConfigError(f"--model.draws: expected at least 0, got {draws}")
        self.cushion = Cushion(sigma)
        self.shield: Shield | None = None
        self.limits: Tensor
        self.register_buffer("limits", torch.empty(0))
        self.begin()

    def training_step(self, batch: Batch, batch_idx: int) -> STEP_OUTPUT:
        """Take the victim's step, behind the Cushion."""
        return super().training_step(batch | {"image": self.cushion(batch["image"])}, batch_idx)

    def outputs(self, batch: Batch) -> Any:
        """Return the victim's, behind the Cushion, with gradients to the images before it."""
        return super().outputs(batch | {"image": self.cushion(batch["image"])})

    def watched(self, cushion: bool = True) -> Watched:
        """Return the classifier, behind the Cushion or bare, with the layer that the Shield looks at."""
        classify = self.classify if cushion else lambda images: self.subject.outputs({"image": images}).logits
        name = self.hparams["shield_layer"]
        if name is None:
            every = Watched(classify, self.subject).layers
            name = every[len(every) // 4]
        return Watched(classify, self.subject, [name])

    def _look(self, watched: Watched, part: str) -> tuple[Tensor, Tensor, list[str]]:
        """Return maps of the Shield's layer, logits and patients of all images of a part, as they are."""
        maps, logits, patients = list[Tensor](), list[Tensor](), list[str]()
        with torch.no_grad():
            for batch, images in self.plain(part):
                answer, heard = watched.maps(images)
                maps.append(heard[watched.layers[0]])
                logits.append(answer)
                patients += batch["patient"]
        return torch.cat(maps), torch.cat(logits), patients

    def look(self) -> None:
        """Train the Shield on clean training images; half of the validation gives its scale, other patients its limits.

        Raises:
            ConfigError: There are fewer than four validation images, or they are of one patient.
        """
        h, watched = self.hparams, self.watched()
        maps, logits, _ = self._look(watched, "train")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(h["seed"], 0))
            shield = Shield(maps.shape[1], logits.shape[1], h["shield_width"]).to(self.device)
        train_shield(shield, maps, logits, h["shield_steps"], torch.Generator().manual_seed(derive_seed(h["seed"], 1)))
        self.shield = shield.requires_grad_(False)
        maps, logits, patients = self._look(watched, "val")
        parts = halves(patients, (len(maps) + 1) // 2, derive_seed(h["seed"], 2))
        first, second = (rows.to(maps.device) for rows in parts)
        if min(len(first), len(second)) < 2:
            raise ConfigError(
                "--data: the Shield needs at least 4 validation images, of two patients or more; got "
                f"{len(first)} and {len(second)} in halves that share no patient"
            )
        called = logits.argmax(dim=1)
        residual = logits[first] - shield(maps[first], called[first])
        shield.doubt = residual.std(dim=0).clamp_min(1e-6)
        scores = shield.score(maps[second], logits[second])
        limits = []
        for k in range(logits.shape[1]):
            own = scores[called[second] == k]
            limits.append(quantile_threshold(own if len(own) else scores, h["false_alarms"]))
        self.limits = torch.tensor(limits, device=self.device)

    def _judged(self, watched: Watched, images: Tensor) -> Tensor:
        """Return logits with the Shield's score as last column, with gradients."""
        if self.shield is None:
            raise ConfigError("the checkpoint is of a fit that has not ended; resume it first")
        logits, heard = watched.maps(images)
        return torch.cat([logits, self.shield.score(heard[watched.layers[0]], logits)[:, None]], dim=1)

    def new_evaluation(self, stage: Literal["validate", "test"]) -> Evaluation[Never] | None:
        """Return the victim's; in the second stage a test that attacks."""
        if stage == "validate" or self.stage != self.stages[-1]:
            return super().new_evaluation(stage)
        return BypassEvaluation(self.data.classes)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Judge a batch, then attack those of its images that are right."""
        super().test_step(batch, batch_idx)
        evaluation = self.evaluation
        if not isinstance(evaluation, BypassEvaluation):
            return
        h, watched, images = self.hparams, self.watched(), batch["image"].clamp(0, 1)
        label = self.labels(batch, images)
        clean = self._judged(watched, images)
        evaluation.clean.append((clean[:, -1].detach().cpu(), self._passes(clean).cpu()))
        rows = torch.nonzero(clean[:, :-1].argmax(dim=1) == label)[:, 0]
        if not len(rows):
            return
        images, label = images[rows], label[rows]
        generator = torch.Generator().manual_seed(derive_seed(h["seed"], 3 + batch_idx))
        goal = other_classes(label, len(self.limits), generator)
        evaluation.patients += [batch["patient"][i] or batch["id"][i] for i in rows.tolist()]
        bare = self.watched(cushion=False)
        for eps in h["eps"]:
            attacks = tried(
                lambda x: self._judged(watched, x), lambda x: self._judged(bare, x), self, self.limits,
                h["sigma"], eps, h["attack_steps"], h["draws"],
            )  # fmt: skip
            for name, (attack, victim) in attacks.items():
                with torch.no_grad():
                    found = self._judged(watched, attack(victim, images, goal, generator).images)
                success = (found[:, :-1].argmax(dim=1) == goal).cpu()
                evaluation.tried.append(Tried(name, eps, success, self._passes(found).cpu(), found[:, -1].cpu()))

    def _passes(self, judged: Tensor) -> Tensor:
        return judged[:, -1] <= self.limits.to(judged)[judged[:, :-1].argmax(dim=1)]

    def on_load_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Make room for the Shield, whose sizes its weights tell."""
        super().on_load_checkpoint(checkpoint)
        state = weights_of(checkpoint)
        if "shield.mean" in state:
            classes = len(state["shield.scale"])
            self.shield = Shield(len(state["shield.mean"]), classes, self.hparams["shield_width"]).requires_grad_(False)
            self.shield.to(self.device)
            self.limits = torch.zeros(classes, device=self.device)
