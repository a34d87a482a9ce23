"""EnLVAM as a Lightning module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler, OptimizerLRSchedulerConfig
from torch import Tensor

from medzoo.core.data.wants import Wants
from medzoo.core.errors import ConfigError, check_choice
from medzoo.core.method import Method
from medzoo.core.optim.schedules import adamw
from medzoo.core.sample import Batch
from medzoo.core.sides import sides
from medzoo.core.tasks.base import Prediction
from medzoo.landmark.echo.measures import POINTS
from medzoo.landmark.echo.task import EchoEvaluation, EchoOutputs, predictions
from medzoo.landmark.enlvam.lines import (
    Lines,
    annotated_points,
    depths,
    ends,
    fitted_lines,
    given_lines,
    key_frames,
    motion_images,
    on_lines,
)
from medzoo.landmark.enlvam.losses import points_loss
from medzoo.landmark.enlvam.network import HeatUNet, column_position, mean_position, probabilities, spread


class EnLVAM(Method):
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

    monitor: ClassVar[str] = "val/mae_mm"

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
        if len(widths) < 2 or min(widths) < 1:
            raise ConfigError(f"--model.widths: expected two numbers above 0 at least, got {widths}")
        if not 8 <= columns <= 1024 or not 0 <= augment <= 1:
            raise ConfigError(
                f"--model: expected columns of 8 to 1024 and augment of 0 to 1, got {columns} and {augment}"
            )
        self.size = None if size is None else sides("model.size", size)
        self.network = HeatUNet(len(POINTS), widths)
        self.detector = HeatUNet(len(POINTS), widths) if line == "found" and image == "amm" else None

    def wants(self) -> Wants:
        """Annotated clips."""
        return Wants(self.size, int(self.hparams["batch"]), labels=True)

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
        return fitted_lines(mean_position(probabilities(self.detector(key_frames(batch)).float())), batch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compare points with the annotated ones in the network's image, and in the frame where lines are found."""
        truth, columns, augment = annotated_points(batch), int(self.hparams["columns"]), self.hparams["augment"]
        losses = []
        if self.hparams["image"] == "amm":
            lines = self.lines(batch)
            rows = depths(truth, lines)
            heat = probabilities(self.network(_changed(motion_images(batch, lines, columns), augment)))
            in_column = self.hparams["trained"] == "column"
            points = column_position(heat, columns // 2) if in_column else mean_position(heat)
            target = torch.stack([torch.full_like(rows, columns // 2), rows], dim=-1)
            losses.append(points_loss(points, target.to(points)))
        frames = self.network if self.hparams["image"] == "bmode" else self.detector
        if frames is not None:
            points = mean_position(probabilities(frames(_changed(key_frames(batch), augment))))
            losses.append(points_loss(points, truth.to(points)))
        loss = torch.stack(losses).sum()
        self.log("train/loss", loss, batch_size=len(truth))
        return loss

    def outputs(self, batch: Batch) -> EchoOutputs:
        """Find the points of each key frame and bring them back into the frame."""
        if self.hparams["image"] == "bmode":
            heat = probabilities(self.network(key_frames(batch)).float())
            points = mean_position(heat)
            return EchoOutputs(points, spread(heat, points), ends(fitted_lines(points, batch)))
        lines, columns = self.lines(batch), int(self.hparams["columns"])
        heat = probabilities(self.network(motion_images(batch, lines, columns)).float())
        found = column_position(heat, columns // 2)
        return EchoOutputs(on_lines(found[..., 1], lines), spread(heat, found), ends(lines))

    def new_evaluation(self, stage: Literal["validate", "test"]) -> EchoEvaluation:
        """Return an evaluation of lengths."""
        return EchoEvaluation()

    def validation_scores(self, scores: Mapping[str, float | Tensor]) -> dict[str, float | Tensor]:
        """Choose the mean error of the lengths over all sources, `mae_mm`, and of their ends, `mce_mm`."""
        chosen: dict[str, float | Tensor] = {}
        for name in ("mae_mm", "mce_mm"):
            values = [torch.as_tensor(v) for key, v in scores.items() if key.endswith(f"/{name}")]
            chosen[name] = torch.stack(values).mean() if values else torch.inf
        return chosen

    def predictions(self, batch: Batch, outputs: EchoOutputs) -> list[Prediction]:
        """Return the lengths of each clip."""
        return predictions(batch, outputs)


def _changed(image: Tensor, strength: float) -> Tensor:
    """Change gamma, contrast and brightness of images `(M, 1, H, W)` at random."""
    if not strength:
        return image
    gamma, contrast, shift = (2 * torch.rand(3, len(image), 1, 1, 1, device=image.device) - 1) * strength
    curved = image.clamp(min=1e-6) ** torch.exp(0.45 * gamma)
    changed: Tensor = (curved - 0.5) * (1 + 0.3 * contrast) + 0.5 + 0.2 * shift
    return changed.clamp(0, 1)
