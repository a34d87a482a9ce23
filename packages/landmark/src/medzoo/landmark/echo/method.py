"""What the methods of echocardiography share: the motion network, reading along a line, the task's evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor

from medzoo.core.data.wants import Wants
from medzoo.core.errors import ConfigError
from medzoo.core.method import Method
from medzoo.core.sample import Batch
from medzoo.core.sides import sides
from medzoo.core.tasks.base import Prediction
from medzoo.landmark.echo.lines import Lines, ends, motion_images, on_lines, step_mm
from medzoo.landmark.echo.losses import points_loss
from medzoo.landmark.echo.measures import POINTS
from medzoo.landmark.echo.network import HeatUNet, column_position, column_spread, mean_position, probabilities
from medzoo.landmark.echo.records import EchoRecord, predictions, write_tables
from medzoo.landmark.echo.task import EchoEvaluation, EchoOutputs


class EchoMethod(Method):
    """Base of the methods that measure along a scan line.

    A subclass's `__init__` takes the arguments `widths`, `columns`, `size`, `augment` and `batch`, and calls
    `save_hyperparameters()` and `build()`.
    """

    monitor: ClassVar[str] = "val/mae_mm"

    def build(self) -> None:
        """Check what the methods share and make the network that looks at motion images.

        Raises:
            ConfigError: A setting is impossible.
        """
        widths, columns, augment = (self.hparams[name] for name in ("widths", "columns", "augment"))
        if len(widths) < 2 or min(widths) < 1:
            raise ConfigError(f"--model.widths: expected two numbers above 0 at least, got {widths}")
        if not 8 <= columns <= 1024 or not 0 <= augment <= 1:
            raise ConfigError(
                f"--model: expected columns of 8 to 1024 and augment of 0 to 1, got {columns} and {augment}"
            )
        size = self.hparams["size"]
        self.size = None if size is None else sides("model.size", size)
        self.network = HeatUNet(len(POINTS), widths)

    def wants(self) -> Wants:
        """Annotated clips."""
        return Wants(self.size, int(self.hparams["batch"]), labels=True)

    def motion_loss(self, batch: Batch, lines: Lines, rows: Tensor, in_column: bool) -> Tensor:
        """Compare what the network finds in motion images, changed at random, with the true depths.

        Args:
            batch: The clips.
            lines: Of each key frame.
            rows: `(M, 4)` true depths along them, NaN where unknown.
            in_column: Take the mean position in the key frame's column, where a test reads it, not over the whole map.
        """
        columns = int(self.hparams["columns"])
        images = changed(motion_images(batch, lines, columns), float(self.hparams["augment"]))
        heat = probabilities(self.network(images))
        points = column_position(heat, columns // 2) if in_column else mean_position(heat)
        target = torch.stack([torch.full_like(rows, columns // 2), rows], dim=-1)
        return points_loss(points, target.to(points))

    def measured_along(self, batch: Batch, lines: Lines) -> EchoOutputs:
        """Find the points of each key frame in its motion image and bring them back into the frame."""
        columns = int(self.hparams["columns"])
        heat = probabilities(self.network(motion_images(batch, lines, columns)).float())
        found = column_position(heat, columns // 2)
        spreads = column_spread(heat, found[..., 1], columns // 2) * step_mm(lines, batch).to(heat)[:, None]
        return EchoOutputs(on_lines(found[..., 1], lines), spreads, ends(lines))

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
        return predictions(batch, outputs, int(self.hparams["columns"]))

    def report_predictions(self, records: list[dict[str, object]], folder: Path) -> None:
        """Write `measures.csv`, and `lines.csv`, which a person may edit and give back as `--data.lines`."""
        write_tables(cast(list[EchoRecord], records), folder)


def changed(image: Tensor, strength: float) -> Tensor:
    """Change gamma, contrast and brightness of images `(M, 1, H, W)` at random."""
    if not strength:
        return image
    gamma, contrast, shift = (2 * torch.rand(3, len(image), 1, 1, 1, device=image.device) - 1) * strength
    curved = image.clamp(min=1e-6) ** torch.exp(0.45 * gamma)
    shaded: Tensor = (curved - 0.5) * (1 + 0.3 * contrast) + 0.5 + 0.2 * shift
    return shaded.clamp(0, 1)
