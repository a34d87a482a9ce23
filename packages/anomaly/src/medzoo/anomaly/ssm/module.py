"""SSM as a LightningModule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from medzoo.anomaly.images.oneclass import OneClass
from medzoo.anomaly.ssm.losses import mask_loss, restoration_loss, similarity_map
from medzoo.anomaly.ssm.masks import masks, restored
from medzoo.anomaly.ssm.network import MULTIPLE, MaskedUNet
from medzoo.core.errors import ConfigError
from medzoo.core.sample import Batch

_SEED = 8  # of the masks of a test, the same for every image, as in the public code
_LEAST = 32


@dataclass
class Restoration:
    """What one round of masks gives.

    Attributes:
        errors: `(B,)` sum over the sizes of cells of the mean squared error.
        likeness: `(B, H, W)` weighted mean of the similarity of gradients over the sizes of cells, smoothed.
    """

    errors: Tensor
    likeness: Tensor


class SSM(OneClass):
    """Restores an image from three masked versions of it; what is normal is uncovered and the rest restored again.

    Args:
        size: Height and width of the images, multiples of 16, one number for a square.
        width: Channels of the finest level of the U-Net.
        cells: Sides of the square cells of the masks in pixels; one is drawn for each batch, a test takes all.
        mask_weight: Weight of the loss of the restored masks.
        rounds: Times that a tested image is restored; from the second on, tiles found normal are left uncovered.
        tile: Side of these tiles, in pixels.
        tile_share: Part of a tile that must be normal for the tile to be uncovered.
        normal_threshold: Similarity of gradients above which a pixel is normal.
        smooth: Standard deviation in pixels by which score maps are smoothed.
        batch: Images a batch.
        epochs: Passes over the normal images.
        lr: Learning rate of Adam; divided by 10 after 30, 60 and 90 % of the epochs.
        false_alarms: Share of normal images that the threshold may call abnormal.
    """

    scored_with: ClassVar[tuple[str, ...]] = (
        *OneClass.scored_with,
        "cells",
        "rounds",
        "tile",
        "tile_share",
        "normal_threshold",
    )

    def __init__(
        self,
        size: int | list[int] = [128, 128],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        width: int = 64,
        cells: list[int] = [2, 4, 8],  # noqa: B006
        mask_weight: float = 1.0,
        rounds: int = 2,
        tile: int = 8,
        tile_share: float = 0.8,
        normal_threshold: float = 0.9843,
        smooth: float = 7.0,
        batch: int = 32,
        epochs: int = 50,
        lr: float = 1e-4,
        false_alarms: float = 0.05,
    ) -> None:
        super().__init__(size, batch, smooth, false_alarms, MULTIPLE)
        self.save_hyperparameters()
        if min(self.size) < _LEAST:
            raise ConfigError(f"--model.size: expected at least {_LEAST}, got {list(self.size)}")
        if not cells or any(cell < 1 or MULTIPLE % cell for cell in cells):
            raise ConfigError(f"--model.cells: expected some of 1, 2, 4, 8 and 16, got {cells}")
        if tile < 1 or MULTIPLE % tile:
            raise ConfigError(f"--model.tile: expected 1, 2, 4, 8 or 16, got {tile}")
        if rounds < 1:
            raise ConfigError(f"--model.rounds: expected at least 1, got {rounds}")
        self.net = MaskedUNet(width)
        self.cells, self.rounds, self.tile, self.tile_share = cells, rounds, tile, tile_share
        self.normal_threshold, self.mask_weight = normal_threshold, mask_weight
        self.lr = lr
        drawn = [torch.Generator().manual_seed(_SEED + number) for number in range(rounds)]
        self.tests: Tensor  # (rounds, sizes of cells, 3, H, W)
        fixed = torch.stack([torch.stack([masks(self.size, cell, order) for cell in cells]) for order in drawn])
        self.register_buffer("tests", fixed, persistent=False)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Restore a batch from masks of one size of cells."""
        image = batch["image"]
        cell = self.cells[int(torch.randint(len(self.cells), ()))]  # torch's generator, seeded anew at every step
        shown = masks(self.size, cell).to(image).expand(image.shape[0], -1, -1, -1)
        made, found = restored(self.net, image, shown)
        loss = restoration_loss(made, image) + self.mask_weight * mask_loss(found, shown)
        self.log("train/loss", loss, batch_size=len(image))
        return loss

    def drawn(self, number: int, images: Tensor) -> list[Tensor]:
        """Return the masks of a round for each size of cells, `(B, 3, H, W)`, the same for every image."""
        return [one.to(images).expand(images.shape[0], -1, -1, -1) for one in self.tests[number]]

    def judged(self, images: Tensor, shown: list[Tensor]) -> Restoration:
        """Restore with the masks of every size of cells; small cells, of which there are many, count less."""
        # 1 / N² of the public code, with N² cells in an image.
        weights = torch.tensor([float(cell * cell) for cell in self.cells])
        errors, likeness = torch.zeros_like(images[:, 0, 0, 0]), torch.zeros_like(images[:, 0])
        for weight, one in zip((weights / weights.sum()).tolist(), shown, strict=True):
            made, _ = restored(self.net, images, one)
            errors = errors + (made - images).square().mean((1, 2, 3))
            likeness = likeness + weight * similarity_map(made, images)
        return Restoration(errors, self.smoothed(likeness))

    def uncovered(self, likeness: Tensor) -> Tensor:
        """Return `(B, 1, H, W)`, 1 in tiles of which more than `tile_share` is normal."""
        normal = (likeness > self.normal_threshold).to(likeness.dtype)[:, None]
        tiles = (F.avg_pool2d(normal, self.tile) > self.tile_share).to(likeness.dtype)
        return F.interpolate(tiles, self.size, mode="nearest")

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the largest dissimilarity and the squared error of the last round, and the map of dissimilarity."""
        found = self.judged(images, self.drawn(0, images))
        for number in range(1, self.rounds):
            free = self.uncovered(found.likeness)
            found = self.judged(images, [torch.maximum(one, free) for one in self.drawn(number, images)])
        maps = 1 - found.likeness
        return torch.stack([maps.flatten(1).amax(1), found.errors], dim=1), maps

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam with a learning rate in steps."""
        optimizer = torch.optim.Adam(self.parameters(), self.lr, weight_decay=1e-5)
        epochs = max(1, self.trainer.max_epochs or 1)
        steps = [max(1, round(share * epochs)) for share in (0.3, 0.6, 0.9)]
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.MultiStepLR(optimizer, steps)}
