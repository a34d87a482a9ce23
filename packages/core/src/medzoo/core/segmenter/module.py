"""Segmentation as a Lightning module: the plain method beside which others stand, which some change afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from medzoo.core.data.wants import Wants
from medzoo.core.errors import ConfigError
from medzoo.core.method import Method
from medzoo.core.optim.schedules import adamw
from medzoo.core.sample import Batch
from medzoo.core.segmenter.losses import mask_loss
from medzoo.core.segmenter.network import UNet
from medzoo.core.sides import sides
from medzoo.core.tasks.base import Prediction
from medzoo.core.tasks.segmentation import SegmentationEvaluation, SegmentationOutputs, network_masks, predictions


class Segmenter(Method):
    """Outlines a structure in images with a U-Net.

    Args:
        channels: Channels of the images; empty: as in the data.
        width: Features of the network's first level; each level has twice those of the one above.
        depth: Times that the network halves height and width.
        size: Height and width of the images, one number for a square; multiples of 2^depth.
        lr: Highest learning rate of AdamW; it rises over a tenth of the steps and falls to 0 by a cosine.
        epochs: Epochs.
        steps: Steps instead of epochs.
        batch: Images a batch.
    """

    monitor: ClassVar[str] = "val/dice"
    monitor_mode: ClassVar[str] = "max"

    def __init__(
        self,
        channels: int | None = None,
        width: int = 32,
        depth: int = 4,
        size: int | list[int] = [256, 256],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        lr: float = 1e-3,
        epochs: int = 60,
        steps: int | None = None,
        batch: int = 16,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if width < 1 or not 1 <= depth <= 6:
            raise ConfigError(f"--model.width, --model.depth: expected at least 1, and 1 to 6; got {width} and {depth}")
        self.input_size = sides("model.size", size)
        if any(side % 2**depth for side in self.input_size):
            raise ConfigError(f"--model.size {list(self.input_size)}: expected multiples of {2**depth} (2^depth)")
        self.network: UNet | None = None
        self.build()

    def build(self) -> None:
        """Make the network, once the channels are known."""
        h = self.hparams
        if h["channels"] is not None:
            self.network = UNet(h["channels"], h["width"], h["depth"])

    def wants(self) -> Wants:
        """Annotated images of `size`."""
        return Wants(self.input_size, int(self.hparams["batch"]), labels=True)

    @property
    def data(self) -> Any:
        """The data module of the attached trainer."""
        return getattr(self.trainer, "datamodule", None)

    def configure_model(self) -> None:
        """Take the channels from the data where neither an option nor a checkpoint has them."""
        if self.network is None:
            self.hparams["channels"] = self.data.channels
            self.build()

    def setup(self, stage: str) -> None:
        """Look at the data, and make the network.

        Raises:
            ConfigError: The data have no masks, or other channels.
        """
        if self.data is not None and not hasattr(self.data, "channels"):
            kind = type(self.data).__name__
            raise ConfigError(f"--data: {kind} has no images with masks; choose a data module of segmentation")
        self.configure_model()
        if self.data is not None and self.data.channels != self.hparams["channels"]:
            have, take = self.data.channels, self.hparams["channels"]
            raise ConfigError(f"--data: its images have {have} channels, the model takes {take}; see --data.colour")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with warm-up and cosine decay."""
        return adamw(self, self.hparams["lr"])

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits `(B, 1, H, W)` of images `(B, channels, H, W)` in [0, 1]."""
        assert self.network is not None, "the channels are not known yet; attach data, or give them"
        logits: Tensor = self.network(image)
        return logits

    def outputs(self, batch: Batch) -> SegmentationOutputs:
        """Return the logits of a batch, with gradients to its images."""
        return SegmentationOutputs(self(batch["image"]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Take one batch."""
        loss = mask_loss(self.outputs(batch).logits, network_masks(batch, self.input_size)).mean()
        self.log("train/loss", loss)
        return loss

    def new_evaluation(self, stage: Literal["validate", "test"]) -> SegmentationEvaluation:
        """Return an evaluation of masks."""
        return SegmentationEvaluation()

    def validation_scores(self, scores: Mapping[str, float | Tensor]) -> dict[str, float | Tensor]:
        """Choose the mean Dice over the sources."""
        values = [float(value) for name, value in scores.items() if name.endswith("/dice")]
        return {"dice": sum(values) / len(values)} if values else {}

    def predictions(self, batch: Batch, outputs: SegmentationOutputs) -> list[Prediction]:
        """Return a record an image, and its mask as a file."""
        return predictions(batch, outputs)
