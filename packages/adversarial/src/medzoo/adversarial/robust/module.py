"""The core's classifier with another training step: PGD-AT, TRADES, or noise with a vote at test time."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from medzoo.adversarial.engine import PGD, CrossEntropy, Loss, Victim
from medzoo.adversarial.robust.losses import Divergence, divergence, smoothed
from medzoo.core.classifier.losses import classes_loss
from medzoo.core.classifier.module import Classifier
from medzoo.core.errors import ConfigError, check_choice
from medzoo.core.sample import Batch
from medzoo.core.seeding import derive_seed
from medzoo.core.tasks.classification import ClassificationOutputs, model_labels

Rule = Literal["pgd-at", "trades", "smoothing"]


class RobustClassifier(Classifier):
    """A classifier of exclusive classes that is trained against attacks.

    Args:
        rule: `pgd-at` (Madry 2018): on attacked images alone; `trades` (Zhang 2019): on clean ones, with a term for
            how far attacked ones move the answer; `smoothing` (Cohen 2019): on noisy images, with a vote at test.
        eps: Budget of the training's attacks, in [0, 1].
        inner_steps: Their steps, each 2.5 ε / steps long.
        beta: Weight of the term of `trades`.
        sigma: Standard deviation of the noise of `smoothing`.
        draws: Noisy copies that vote at test; the same noise for every image, so that an answer is one function.
        seed: Of that noise and of the attacks' starts.
        kwargs: Options of the classifier.
    """

    def __init__(
        self,
        rule: Rule = "pgd-at",
        eps: float = 4 / 255,
        inner_steps: int = 7,
        beta: float = 6.0,
        sigma: float = 0.1,
        draws: int = 16,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.save_hyperparameters()
        check_choice("model.rule", rule, get_args(Rule))
        if not 0 < eps <= 1:
            raise ConfigError(f"--model.eps: expected above 0 and up to 1, got {eps}")
        for name, count in (("inner_steps", inner_steps), ("draws", draws)):
            if count < 1:
                raise ConfigError(f"--model.{name}: expected at least 1, got {count}")
        for name, value in (("beta", beta), ("sigma", sigma)):
            if value < 0:
                raise ConfigError(f"--model.{name}: expected at least 0, got {value}")

    def setup(self, stage: str) -> None:
        """Build the network.

        Raises:
            ConfigError: Several labels may hold at once.
        """
        super().setup(stage)
        if self.hparams["multi_label"]:
            raise ConfigError("--data: several labels hold at once; robust-classifier needs exclusive classes")

    def plain(self, batch: Batch) -> ClassificationOutputs:
        """Return the logits of the network itself, which a certificate puts its own noise before."""
        return super().outputs(batch)

    def outputs(self, batch: Batch) -> ClassificationOutputs:
        """Return the logits of a batch, with gradients to its images; with `smoothing` those of the vote."""
        images = batch["image"]
        if self.hparams["rule"] != "smoothing":
            return self.plain(batch)
        generator = torch.Generator().manual_seed(derive_seed(self.hparams["seed"], 0))
        noise = torch.randn(self.hparams["draws"], *images.shape[1:], generator=generator).to(images)
        votes = torch.stack([self(images + self.hparams["sigma"] * one) for one in noise])
        return self._answer(smoothed(votes))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Take one batch."""
        h, images = self.hparams, batch["image"].clamp(0, 1)
        label = model_labels(batch["label"], self._answer(images), *self.given)
        if h["rule"] == "smoothing":
            loss = self._cost(self(images + h["sigma"] * torch.randn_like(images)), label)
        elif h["rule"] == "trades":
            with torch.no_grad():
                self.eval()
                aim = self(images).softmax(dim=1)
                self.train()
            clean, attacked = self(torch.cat([images, self._attacked(images, aim, Divergence())])).chunk(2)
            loss = self._cost(clean, label) + h["beta"] * divergence(clean.softmax(dim=1), attacked).mean()
        else:
            loss = self._cost(self(self._attacked(images, label, CrossEntropy())), label)
        self.log("train/loss", loss)
        return loss

    def _cost(self, logits: Tensor, label: Tensor) -> Tensor:
        weights = None if self.balance is None else self.balance.to(label.device)
        return classes_loss(logits, label, weights, self.hparams["smoothing"])

    def _attacked(self, images: Tensor, goal: Tensor, loss: Loss) -> Tensor:
        """Attack images with the network as it is, in evaluation mode; starts depend on seed and step alone."""
        h = self.hparams
        attack = PGD(eps=h["eps"], alpha=2.5 * h["eps"] / h["inner_steps"], steps=h["inner_steps"], loss=loss)
        generator = torch.Generator().manual_seed(derive_seed(h["seed"], 1 + self.global_step))
        return attack(Victim(self, module=self), images, goal, generator).images
