"""ESAD as a LightningModule."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from medzoo.anomaly.esad.evaluation import KindEvaluation
from medzoo.anomaly.esad.losses import SPOILS, agreement, entropy, restoration
from medzoo.anomaly.esad.network import MULTIPLE, TwinEncoder, lengths
from medzoo.anomaly.images.oneclass import OneClass
from medzoo.anomaly.images.training import mirrored
from medzoo.core.data.wants import Wants
from medzoo.core.errors import ConfigError
from medzoo.core.sample import Batch
from medzoo.core.tasks.anomaly import AnomalyEvaluation


class ESAD(OneClass):
    """Keeps normal images and gives them short codes, and loses the information of a few labelled abnormal ones.

    Args:
        size: Height and width of the images, one number for a square; multiples of 16.
        width: Channels of the finest level of encoders and decoder.
        latent: Length of a code.
        tied: Both encoders are one network.
        spoil: What abnormal images are to become: shuffle (their pixels in random order), noise (of their mean and
            deviation), none (themselves; only to measure what the other two are good for).
        norm_weight: λ₁, weight of the length of codes, in loss and score.
        agree_weight: λ₂, weight of the agreement of both codes.
        mirror: Whether training images are mirrored by chance, along both axes.
        smooth: Standard deviation in pixels by which score maps are smoothed; scores of images are not.
        batch: Images a batch, and as many labelled abnormal ones.
        epochs: Passes over the normal images.
        lr: Learning rate of Adam.
        weight_decay: Of Adam.
        false_alarms: Share of normal images that the threshold may call abnormal.
    """

    scored_with: ClassVar[tuple[str, ...]] = (*OneClass.scored_with, "norm_weight")

    def __init__(
        self,
        size: int | list[int] = [64, 64],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        width: int = 32,
        latent: int = 128,
        tied: bool = False,
        spoil: str = "shuffle",
        norm_weight: float = 1.0,
        agree_weight: float = 1.0,
        mirror: bool = True,
        smooth: float = 4.0,
        batch: int = 64,
        epochs: int = 100,
        lr: float = 1e-3,
        weight_decay: float = 1e-6,
        false_alarms: float = 0.05,
    ) -> None:
        super().__init__(size, batch, smooth, false_alarms, MULTIPLE)
        self.save_hyperparameters()
        if spoil not in SPOILS:
            raise ConfigError(f"--model.spoil: expected one of {', '.join(SPOILS)}, got {spoil}")
        for name, weight in (("norm_weight", norm_weight), ("agree_weight", agree_weight)):
            if weight < 0:
                raise ConfigError(f"--model.{name}: expected at least 0, got {weight}")
        self.net = TwinEncoder((self.size[0], self.size[1]), width, latent, tied)
        self.spoil, self.norm_weight, self.agree_weight = SPOILS[spoil], norm_weight, agree_weight
        self.mirror, self.lr, self.weight_decay = mirror, lr, weight_decay

    def wants(self) -> Wants:
        """Return size and batch; normal images of the tested categories, and labelled abnormal ones beside them."""
        return replace(super().wants(), labels=True)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Learn from normal images and as many labelled abnormal ones, where there are any."""
        normal = batch["image"]
        ill = batch["abnormal"] if "abnormal" in batch else normal[:0]
        images = torch.cat([normal, ill])
        if self.mirror:
            images = mirrored(images, (-2, -1))
        abnormal = torch.arange(len(images), device=images.device) >= len(normal)
        generator = torch.Generator(images.device).manual_seed(int(torch.randint(2**62, ())))
        target = torch.where(abnormal[:, None, None, None], self.spoil(images, generator), images)
        codes = self.net(images)
        restored, length = restoration(codes.made, target).mean(), entropy(codes.second, abnormal).mean()
        loss = restored + self.norm_weight * length + self.agree_weight * agreement(codes.first, codes.second).mean()
        self.log_dict({"train/restoration": restored.detach(), "train/length": length.detach()}, batch_size=len(normal))
        self.log("train/loss", loss, batch_size=len(normal))
        return loss

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return squared error and length of the second code `(B, 2)`, and the map of the error."""
        codes = self.net(images)
        errors = ((codes.made - images) ** 2).mean(1)
        parts = torch.stack([errors.mean((1, 2)), self.norm_weight * lengths(codes.second)], dim=1)
        return parts, self.smoothed(errors)

    def joined(self, parts: Tensor, norms: Tensor) -> Tensor:
        """Return the sum of the parts as they are: the score is the loss of a normal image, but for the agreement."""
        del norms
        return parts.sum(1)

    def new_evaluation(self, stage: Literal["validate", "test"]) -> AnomalyEvaluation | None:
        """Return an evaluation that has labelled kinds of anomaly and new ones apart."""
        if stage == "validate":
            return None
        tested = self.data.tested
        known = {category.name: {item.kind for item in self.data.known_items(category)} for category in tested}
        return KindEvaluation([category.name for category in tested], known, self.device)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam."""
        return torch.optim.Adam(self.parameters(), self.lr, weight_decay=self.weight_decay)
