"""ARNet as a LightningModule."""

from __future__ import annotations

from typing import ClassVar

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from medzoo.anomaly.arnet.erase import operations
from medzoo.anomaly.arnet.losses import absolute_errors, normalised_score, restoration_loss
from medzoo.anomaly.arnet.network import MULTIPLE, RestoringUNet
from medzoo.anomaly.images.oneclass import OneClass
from medzoo.core.errors import ConfigError
from medzoo.core.sample import Batch


class ARNet(OneClass):
    """Erases colour and orientation of normal images and learns to restore them; what it restores badly is abnormal.

    Args:
        size: Height and width of the images, one number for a square, which they have to be if they are turned by 90
            degrees; multiples of 16.
        width: Channels of the finest level of the U-Net.
        angles: Degrees by which images are turned, some of 0, 90, 180 and 270; a test takes all of them.
        colour: Whether colour is erased as well; of grey images there is none.
        mirror: Whether training images are mirrored by chance.
        smooth: Standard deviation in pixels by which score maps are smoothed; scores of images come from errors that
            are not.
        batch: Images a batch.
        epochs: Passes over the normal images.
        lr: Learning rate of SGD; halved after every tenth of the epochs.
        false_alarms: Share of normal images that the threshold may call abnormal.
    """

    scored_with: ClassVar[tuple[str, ...]] = (*OneClass.scored_with, "angles", "colour")

    def __init__(
        self,
        size: int | list[int] = [32, 32],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        width: int = 64,
        angles: list[int] = [0, 90, 180, 270],  # noqa: B006
        colour: bool = True,
        mirror: bool = True,
        smooth: float = 4.0,
        batch: int = 32,
        epochs: int = 125,
        lr: float = 0.1,
        false_alarms: float = 0.05,
    ) -> None:
        super().__init__(size, batch, smooth, false_alarms, MULTIPLE)
        self.save_hyperparameters()
        if not angles:
            raise ConfigError("--model.angles: expected some of 0, 90, 180, 270, got none")
        self.operations = operations(angles, colour)
        if self.size[0] != self.size[1] and any(angle % 180 for angle in angles):
            raise ConfigError(f"--model.size: images turned by 90 degrees must be square, got {list(self.size)}")
        self.net = RestoringUNet(width, 1 if colour else 3)
        self.mirror, self.lr = mirror, lr

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Restore images from a random operation each; the target is never turned."""
        image = batch["image"]
        chance = torch.rand(2, len(image)).to(image.device)  # torch's generator, seeded anew at every step
        if self.mirror:
            image = torch.where(chance[0, :, None, None, None] < 0.5, image.flip(-1), image)
        chosen = (chance[1] * len(self.operations)).long()
        left = torch.stack([erase(image) for erase in self.operations])  # (|O|, B, C, H, W)
        made = self.net(left[chosen, torch.arange(len(image), device=image.device)])
        loss = restoration_loss(made, image)
        self.log("train/loss", loss, batch_size=len(image))
        return loss

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the absolute error after each operation `(B, |O|)`, and the map of their mean."""
        errors = torch.stack([absolute_errors(self.net(erase(images)), images) for erase in self.operations], dim=1)
        return errors.mean((2, 3)), self.smoothed(errors.mean(1))

    def joined(self, parts: Tensor, norms: Tensor) -> Tensor:
        """Return the mean error, each operation's divided by its mean over the training images."""
        return normalised_score(parts, norms[0])

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """SGD without momentum, halved after every tenth of the epochs."""
        optimizer = torch.optim.SGD(self.parameters(), self.lr)
        tenth = max(1, (self.trainer.max_epochs or 1) // 10)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, tenth, 0.5)}
