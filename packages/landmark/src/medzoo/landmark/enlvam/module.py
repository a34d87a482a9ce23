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
from medzoo.landmark.echo.clips import in_network
from medzoo.landmark.echo.measures import POINTS
from medzoo.landmark.echo.scan_line import ScanLine, line_through, motion_image
from medzoo.landmark.echo.task import EchoEvaluation, EchoOutputs, predictions
from medzoo.landmark.enlvam.losses import points_loss
from medzoo.landmark.enlvam.network import HeatUNet, column_position, mean_position, probabilities, spread


class EnLVAM(Method):
    """Measures septum, cavity and posterior wall in the motion image along a scan line that is given with the clip.

    Args:
        image: What the network sees: amm (the motion image along the scan line) or bmode (the key frame alone, the
            baseline of the paper, which needs no line).
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

    def lines(self, batch: Batch) -> list[ScanLine | None]:
        """Return the scan line of each key frame of a batch in pixels of its clips; None where there is none."""
        found: list[ScanLine | None] = []
        height, width = batch["clip"].shape[2:]
        for lines, affine in zip(batch["lines"], batch["affine"].cpu(), strict=True):
            for first, last in in_network(lines.cpu(), affine):
                try:
                    found.append(line_through(first, last, (height, width)))
                except ValueError:  # the two points are NaN, the same or outside the frame
                    found.append(None)
        return found

    def images(self, batch: Batch, lines: list[ScanLine | None]) -> Tensor:
        """Return what the network sees of each key frame, `(M, 1, H, W)`; zeros where there is no line."""
        columns, images = int(self.hparams["columns"]), []
        shares = iter(lines)
        lengths = batch["clip_length"].tolist()
        for clip, length, keys in zip(batch["clip"], lengths, batch["keys"], strict=True):
            for key in keys.tolist():
                line = next(shares)
                if self.hparams["image"] == "bmode":
                    images.append(clip[key])
                elif line is None:
                    images.append(clip.new_zeros(max(clip.shape[1:]), columns))
                else:
                    images.append(motion_image(clip[:length], line, key, columns))
        return torch.stack(images)[:, None]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compare the points in the network's image with the annotated ones."""
        lines = self.lines(batch)
        image = _changed(self.images(batch, lines), self.hparams["augment"])
        truth = torch.cat(
            [in_network(p.cpu(), a) for p, a in zip(batch["landmarks"], batch["affine"].cpu(), strict=True)]
        )
        key = int(self.hparams["columns"]) // 2
        amm = self.hparams["image"] == "amm"
        if amm:
            both = zip(truth, lines, strict=True)
            depths = [p.new_full((4,), torch.nan) if line is None else line.to_depth(p) for p, line in both]
            rows = torch.stack(depths)
            truth = torch.stack([torch.full_like(rows, key), rows], dim=-1)
        heat = probabilities(self.network(image))
        in_column = amm and self.hparams["trained"] == "column"
        points = column_position(heat, key) if in_column else mean_position(heat)
        loss = points_loss(points, truth.to(points))
        self.log("train/loss", loss, batch_size=len(image))
        return loss

    def outputs(self, batch: Batch) -> EchoOutputs:
        """Find the points of each key frame and bring them back into the frame."""
        lines = self.lines(batch)
        heat = probabilities(self.network(self.images(batch, lines)).float())
        if self.hparams["image"] == "bmode":
            points = mean_position(heat)
            return EchoOutputs(points, spread(heat, points))
        found = column_position(heat, int(self.hparams["columns"]) // 2)
        frames = [
            torch.full_like(rows, torch.nan) if line is None else _on(line, rows[:, 1])
            for rows, line in zip(found, lines, strict=True)
        ]
        return EchoOutputs(torch.stack(frames), spread(heat, found))

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


def _on(line: ScanLine, depths: Tensor) -> Tensor:
    """Return points `(K, 2)` in the frame at depths, with gradients to them, on their device."""
    start, step = line.start.to(depths), line.step.to(depths)
    points: Tensor = start + depths[:, None] * step
    return points


def _changed(image: Tensor, strength: float) -> Tensor:
    """Change gamma, contrast and brightness of images `(M, 1, H, W)` at random."""
    if not strength:
        return image
    gamma, contrast, shift = (2 * torch.rand(3, len(image), 1, 1, 1, device=image.device) - 1) * strength
    curved = image.clamp(min=1e-6) ** torch.exp(0.45 * gamma)
    changed: Tensor = (curved - 0.5) * (1 + 0.3 * contrast) + 0.5 + 0.2 * shift
    return changed.clamp(0, 1)
