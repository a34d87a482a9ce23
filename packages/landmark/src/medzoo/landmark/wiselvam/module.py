"""WiseLVAM as a Lightning module."""

from __future__ import annotations

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from medzoo.core.errors import ConfigError, check_choice
from medzoo.core.optim.schedules import adamw
from medzoo.core.sample import Batch
from medzoo.landmark.echo.lines import (
    Lines,
    annotated_points,
    depths,
    fitted_lines,
    key_frames,
    lines_along,
    pixel_mm,
    with_placed,
)
from medzoo.landmark.echo.method import EchoMethod, changed
from medzoo.landmark.echo.task import EchoOutputs
from medzoo.landmark.wiselvam.contour import STEP, crossings, placed, weak_contours
from medzoo.landmark.wiselvam.frames import jittered, moved
from medzoo.landmark.wiselvam.losses import heat_loss, smoothness
from medzoo.landmark.wiselvam.network import ContourNet, in_order

_SIGMA = 2.0  # pixels, of the heat maps that the detector learns


class WiseLVAM(EchoMethod):
    """Places the scan line by the cavity's contour in the key frame and measures along it; a person may correct it.

    Args:
        line: How it places the line: contour (across the contour's axis at the basal level) or points (the best fit
            through the four points of the key frame, which needs no contour).
        widths: Channels of both U-Nets, from full resolution down.
        columns: Frames about the key frame in the motion image.
        size: Height and width of the frames, one number for a square; empty: as they are stored.
        reach: How far the contour's arcs lead to either side of the scan line, in mm.
        places: Points of an arc, an odd number.
        augment: Strength of random changes of brightness, contrast and gamma; 0 changes nothing.
        move: Turn, scale, shift and mirror the key frames in training, and look at their mirror images as well in use.
        jitter: How far the scan lines of training deviate at random, in degrees and in mm along the axis (standard
            deviations).
        smooth_weight: Weight of the contour's second differences.
        lr: Learning rate.
        epochs: Epochs.
        steps: Steps instead of epochs.
        batch: Clips a batch, each with all its key frames.
    """

    def __init__(
        self,
        line: str = "contour",
        widths: list[int] = [6, 12, 24, 48],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        columns: int = 64,
        size: int | list[int] | None = None,
        reach: float = 18.0,
        places: int = 7,
        augment: float = 1.0,
        move: bool = True,
        jitter: list[float] = [3.0, 2.0],  # noqa: B006 - likewise
        smooth_weight: float = 0.05,
        lr: float = 5e-3,
        epochs: int = 100,
        steps: int | None = None,
        batch: int = 4,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        check_choice("model.line", line, ("contour", "points"))
        if not STEP <= reach <= 60 or places < 3 or places % 2 == 0:
            raise ConfigError(f"--model: expected reach of {STEP:g} to 60 and odd places, got {reach:g} and {places}")
        if len(jitter) != 2 or min(jitter) < 0:
            raise ConfigError(f"--model.jitter: expected degrees and mm, both at least 0, got {jitter}")
        if smooth_weight < 0:
            raise ConfigError(f"--model.smooth_weight: expected at least 0, got {smooth_weight:g}")
        self.build()
        self.detector = ContourNet(places, widths)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW along a cosine, after a short rise."""
        return adamw(self, self.hparams["lr"])

    def lines(self, batch: Batch) -> Lines:
        """Place the scan line of each key frame where no person has done so."""
        frames = key_frames(batch)
        found = (
            self.detector.read_both_ways(frames) if self.hparams["move"] else self.detector.read(self.detector(frames))
        )
        points, contours = (places.detach().double().cpu() for places in found)
        if self.hparams["line"] == "points":
            return with_placed(fitted_lines(points, batch), batch)
        return with_placed(lines_along(placed(points, contours, pixel_mm(batch)), batch), batch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Teach the detector points and contour in moved key frames, the other network depths along nearby lines."""
        truth, spacing, frames = annotated_points(batch), pixel_mm(batch), key_frames(batch)
        options = self.hparams
        weak = weak_contours(frames.cpu(), truth, spacing, options["reach"], options["places"])
        places = truth
        if options["move"]:
            frames, places, weak = moved(frames, truth, weak, spacing)
        logits = self.detector(changed(frames, float(options["augment"])))
        near = jittered(truth, spacing, *options["jitter"])
        lines = lines_along(near, batch)
        losses = {
            "heat": heat_loss(logits, in_order(places, weak).to(logits), _SIGMA),
            "smooth": options["smooth_weight"] * smoothness(self.detector.read(logits)[1]),
            "depths": self.motion_loss(batch, lines, depths(crossings(truth, near, spacing), lines), in_column=True),
        }
        self.log_dict({f"train/{name}": value for name, value in losses.items()}, batch_size=len(truth))
        loss = torch.stack(list(losses.values())).sum()
        self.log("train/loss", loss, batch_size=len(truth))
        return loss

    def outputs(self, batch: Batch) -> EchoOutputs:
        """Place the lines and find the points along them."""
        return self.measured_along(batch, self.lines(batch))
