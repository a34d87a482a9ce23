"""EnLVAM as a Lightning module."""

from __future__ import annotations

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler, OptimizerLRSchedulerConfig
from torch import Tensor

from medzoo.core.errors import check_choice
from medzoo.core.optim.schedules import adamw
from medzoo.core.sample import Batch
from medzoo.landmark.echo.lines import (
    Lines,
    annotated_points,
    depths,
    ends,
    fitted_lines,
    given_lines,
    key_frames,
    pixel_mm,
    with_placed,
)
from medzoo.landmark.echo.losses import points_loss
from medzoo.landmark.echo.measures import POINTS
from medzoo.landmark.echo.method import EchoMethod, changed
from medzoo.landmark.echo.network import HeatUNet, mean_position, probabilities, spread
from medzoo.landmark.echo.task import EchoOutputs


class EnLVAM(EchoMethod):
    """Measures septum, cavity and posterior wall in the motion image along a scan line, which is given or found.

    Args:
        image: What the network sees: amm (the motion image along the scan line) or bmode (the key frame alone, the
            baseline of the paper, which needs no line).
        line: Which scan line a test takes: given (the clip's) or found (through the points that a second network of the
            same kind finds in the key frame; training takes the clip's). bmode has none.
        widths: Channels of the U-Net, from full resolution down.
        columns: Frames about the key frame in the motion image.
        size: Height and width of the frames, one number for a square; empty: as they are stored.
        trained: Where training takes the mean position of a heat map in the motion image: map (all of it, as published,
            though a test reads the key frame's column alone) or column (where a test does).
        augment: Strength of random changes of brightness, contrast and gamma; 0 changes nothing.
        lr: Learning rate.
        schedule: paper (Adam, a tenth of the rate after 30 and 50 epochs) or cosine (AdamW, after a short rise).
        epochs: Epochs.
        steps: Steps instead of epochs.
        batch: Clips a batch, each with all its key frames.
    """

    def __init__(
        self,
        image: str = "amm",
        line: str = "given",
        widths: list[int] = [6, 12, 24, 48],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        columns: int = 64,
        size: int | list[int] | None = None,
        trained: str = "map",
        augment: float = 1.0,
        lr: float = 1e-3,
        schedule: str = "paper",
        epochs: int = 100,
        steps: int | None = None,
        batch: int = 2,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        check_choice("model.image", image, ("amm", "bmode"))
        check_choice("model.line", line, ("given", "found"))
        check_choice("model.trained", trained, ("map", "column"))
        check_choice("model.schedule", schedule, ("paper", "cosine"))
        self.build()
        self.detector = HeatUNet(len(POINTS), widths) if line == "found" and image == "amm" else None

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam in steps as published, or AdamW along a cosine."""
        lr = self.hparams["lr"]
        if self.hparams["schedule"] == "cosine":
            return adamw(self, lr)
        optimizer = torch.optim.Adam(self.parameters(), lr, weight_decay=1e-4)
        steps = torch.optim.lr_scheduler.MultiStepLR(optimizer, [30, 50], gamma=0.1)
        return OptimizerLRSchedulerConfig(optimizer=optimizer, lr_scheduler=steps)

    def lines(self, batch: Batch) -> Lines:
        """Return the scan line of each key frame: the clip's, or the one through the points found in the frame."""
        if self.detector is None or self.training:
            return given_lines(batch)
        points = mean_position(probabilities(self.detector(key_frames(batch)).float()))
        return with_placed(fitted_lines(points, batch), batch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compare points with the annotated ones in the network's image, and in the frame where lines are found."""
        truth, losses = annotated_points(batch), []
        if self.hparams["image"] == "amm":
            lines = self.lines(batch)
            losses.append(self.motion_loss(batch, lines, depths(truth, lines), self.hparams["trained"] == "column"))
        frames = self.network if self.hparams["image"] == "bmode" else self.detector
        if frames is not None:
            points = mean_position(probabilities(frames(changed(key_frames(batch), float(self.hparams["augment"])))))
            losses.append(points_loss(points, truth.to(points)))
        loss = torch.stack(losses).sum()
        self.log("train/loss", loss, batch_size=len(truth))
        return loss

    def outputs(self, batch: Batch) -> EchoOutputs:
        """Find the points of each key frame and bring them back into the frame."""
        if self.hparams["image"] == "bmode":
            heat = probabilities(self.network(key_frames(batch)).float())
            points = mean_position(heat)
            return EchoOutputs(
                points, spread(heat, points, pixel_mm(batch).to(heat)), ends(fitted_lines(points, batch))
            )
        return self.measured_along(batch, self.lines(batch))
