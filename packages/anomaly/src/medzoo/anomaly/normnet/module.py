"""NormNet as a LightningModule."""

from __future__ import annotations

import math

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from medzoo.anomaly.lesions import PRESETS
from medzoo.anomaly.lesions.method import LesionMethod, first_volume, patch_steps
from medzoo.anomaly.normnet.examples import LesionExamples
from medzoo.anomaly.normnet.inference import MARGIN, normal_probability, segment
from medzoo.anomaly.normnet.losses import normalcy_loss
from medzoo.anomaly.normnet.network import UNet3d
from medzoo.anomaly.normnet.rim import without_rim
from medzoo.anomaly.normnet.segment import Growth, level_of, windowed
from medzoo.anomaly.normnet.settings import check
from medzoo.core.distributed import gather_all
from medzoo.core.geometry.boxes import box_of
from medzoo.core.metrics.segmentation import best_threshold
from medzoo.core.runs.schema import weights_of
from medzoo.core.sample import Batch


class NormNet(LesionMethod):
    """Segments lesions in CT by what a network trained on healthy volumes does not recognise as normal.

    Args:
        widths: Channels of each level of the U-Net.
        patch: Size (z, y, x) in voxels of training patches and of the sliding window.
        members: Networks whose probabilities are averaged.
        threshold_hu: T, the brightness from which voxels are classified.
        rim_mm: Width in plane of the organ's rim that is not classified, since the chest wall shows through; masks may
            grow into it. Voxels wider than this have none.
        min_contribution: η, the part of the window that a synthetic lesion must add for a voxel to count as lesion.
        keep_vessels: Teach that a bright voxel inside a synthetic lesion is still normal.
        preset: Generator of synthetic lesions: lung, liver or brain-flair.
        focus: Exponent of the focal weight; 0 for plain cross entropy.
        noise: Greatest standard deviation of noise added in training, in parts of the window.
        thick: Share of training patches whose slices are averaged as thick ones are.
        batch: Volumes a batch.
        epochs: Passes over the training volumes.
        lr: Learning rate of Adam, lowered along a cosine.
        overlap: Share of the window that neighbouring windows share.
        windows: Windows a step of inference.
        floor_hu: Least brightness of voxels that the mask grows into.
        smallest_mm3: Lesions below this volume are dropped.
        preset_threshold: Probability of being abnormal that makes a seed; empty: chosen in the fit on healthy
            validation volumes with synthetic lesions and kept in the checkpoint.
    """

    def __init__(
        self,
        widths: list[int] = [32, 64, 128, 256, 320],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        patch: list[int] = [96, 96, 96],  # noqa: B006
        members: int = 5,
        threshold_hu: float = -500.0,
        rim_mm: float = 2.0,
        min_contribution: float = 0.05,
        keep_vessels: bool = True,
        preset: str = "lung",
        focus: float = 0.0,
        noise: float = 0.05,
        thick: float = 0.2,
        batch: int = 2,
        epochs: int = 250,
        lr: float = 3e-4,
        overlap: float = 0.5,
        windows: int = 1,
        floor_hu: float = -750.0,
        smallest_mm3: float = 30.0,
        preset_threshold: float | None = None,
    ) -> None:
        super().__init__(patch, len(widths), batch, overlap, windows)
        self.save_hyperparameters()
        check(members, preset, preset_threshold, rim_mm)
        self.networks = nn.ModuleList(UNet3d(widths) for _ in range(members))
        self.level = level_of(threshold_hu)
        self.insert_lesions = LesionExamples(PRESETS[preset], self.level, min_contribution, keep_vessels, noise, thick)
        self.focus, self.rim = focus, rim_mm
        self.epochs, self.lr = epochs, lr
        self.growth = Growth(floor=floor_hu, smallest=smallest_mm3)
        self.fixed = preset_threshold
        self.register_buffer("threshold", torch.tensor(0.5 if preset_threshold is None else preset_threshold))
        self.validation: list[tuple[Tensor, Tensor]] = []
        self.threshold: Tensor

    @property
    def seed_level(self) -> float:
        """The threshold, given or chosen by the fit."""
        return float(self.threshold)

    def forward(self, x: Tensor) -> Tensor:
        """Return the probability of being normal, `(B, 1, D, H, W)`, of patches in [0, 1]."""
        return torch.stack([torch.sigmoid(net(x)) for net in self.networks]).mean(0)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Give every member its own lesions in the same patches."""
        organ = batch["organ"].flatten(0, 1)  # (B, P, d, h, w) -> (N, d, h, w)
        hu = batch["image"].flatten(0, 1)
        steps = patch_steps(batch["spacing"], batch["image"].shape[1])
        organ = torch.stack([self.inner(*each) for each in zip(hu, organ, steps, strict=True)])
        healthy = windowed(hu) * organ
        losses = []
        for network in self.networks:
            generator = self.drawn()
            made = [self.insert_lesions(x, o, s, generator) for x, o, s in zip(healthy, organ, steps, strict=True)]
            image, target, bright = (torch.stack(part)[:, None] for part in zip(*made, strict=True))
            losses.append(normalcy_loss(network(image), target, bright, self.focus))
        loss = torch.stack(losses).mean()
        self.log("train/loss", loss, batch_size=len(healthy))
        return loss

    def inner(self, hu: Tensor, organ: Tensor, spacing: list[float]) -> Tensor:
        """Return the organ without its rim, `(D, H, W)` bool; `spacing` in mm along z, y, x."""
        return without_rim(windowed(hu), organ, self.level, self.rim, spacing)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Put synthetic lesions, the same in every epoch, into a healthy volume and look for them."""
        hu, organ, spacing = first_volume(batch)
        spoiled, truth = self.insert_lesions.whole(hu, organ, spacing, int(batch["number"][0]))
        box = box_of(organ.numpy(), MARGIN)
        inner = self.inner(spoiled[box], organ[box], spacing)
        normal, image = normal_probability(self, spoiled[box], inner)
        bright, truth = inner & (image >= self.level), truth[box]
        self.validation.append((1 - normal[bright], truth[bright]))

    def on_validation_epoch_end(self) -> None:
        """Choose the threshold on the synthetic lesions."""
        volumes, self.validation = gather_all(self.validation), []
        maps, masks = [m for m, _ in volumes], [t for _, t in volumes]
        if not any(bool(mask.any()) for mask in masks):
            return
        level, value = best_threshold(maps, masks)
        if self.fixed is None:
            # An untrained network may put the best threshold at an end, where everything or nothing is abnormal.
            self.threshold.fill_(min(max(level, 0.05), 0.95))
        self.log("val/dice", value)
        self.log("val/threshold", float(self.threshold))

    def on_load_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Put a threshold that was asked for in the place of the one that the fit chose."""
        if self.fixed is not None:
            weights_of(checkpoint)["threshold"] = torch.tensor(self.fixed)

    def segment(self, volume: Tensor, organ: Tensor, spacing: list[float]) -> tuple[Tensor, Tensor]:
        """Return score map and mask of a whole volume in Hounsfield units, see `inference.segment`."""
        return segment(self, volume, organ, spacing)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam with a cosine over the run."""
        optimizer = torch.optim.Adam(self.parameters(), self.lr)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _factor(self, step: int) -> float:
        """Return the part of the learning rate that is left at a step."""
        if step == 0:
            # Asking for the number of steps makes the loader, and the optimiser is made before a resumed run has found
            # its place in the data.
            return 1.0
        return 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / max(1, int(self.trainer.estimated_stepping_batches))))
