"""Sim2Real as a LightningModule."""

from __future__ import annotations

import copy
import math
from typing import ClassVar

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from medzoo.anomaly.lesions.draws import integer
from medzoo.anomaly.lesions.method import LesionMethod, patch_steps
from medzoo.anomaly.sim2real.adapt import follow, pseudo_labels
from medzoo.anomaly.sim2real.inference import segment, stretched
from medzoo.anomaly.sim2real.losses import decomposition_loss
from medzoo.anomaly.sim2real.network import MASK, NORMAL, TUMOUR, LayerUNet, composite
from medzoo.anomaly.sim2real.settings import check
from medzoo.anomaly.sim2real.simulate import Layers, Simulation
from medzoo.core.errors import ConfigError
from medzoo.core.sample import Batch


class Sim2Real(LesionMethod):
    """Takes volumes apart into a normal layer, a tumour layer and a mask; learns on simulated tumours, then on itself.

    Args:
        width: Channels of the first convolution of the U-Net.
        levels: Its resolutions, each half of the one before.
        norm: "instance", or "batch" for the statistics of the batch in evaluation too, as the public code has it.
        patch: Size (z, y, x) in voxels of training patches and of the sliding window.
        window: Brightness, in the unit of the volumes, that becomes 0 and 1; empty: the organ's own least and 99.5 %.
        volume_mm3: Least and greatest volume of a simulated tumour.
        even: Draw the volume evenly; otherwise its logarithm, so that small tumours are as frequent as large ones.
        contrast: Range of κ, the mean of a tumour divided by that of the healthy organ.
        blend: Range of the share of the tumour in what is seen inside of its mask.
        healthy: Share of training patches that get no tumour.
        epochs: Passes over the healthy volumes with simulated tumours alone.
        adapt_epochs: Passes after these that also learn from unlabelled volumes, as a teacher sees them.
        momentum: Of the teacher, a moving average of the network.
        sure: Probability from which the teacher is certain of a tumour; of none, one less this.
        batch: Volumes a batch.
        lr: Learning rate of Adam, lowered along a cosine.
        weight_decay: Of Adam.
        overlap: Share of the window that neighbouring windows share.
        windows: Windows a step of inference.
        threshold: Probability of being tumour that makes a voxel one.
        smallest_mm3: Regions below this volume are dropped, of the teacher's labels too.
    """

    monitor: ClassVar[str] = "train/composite"

    def __init__(
        self,
        width: int = 32,
        levels: int = 4,
        norm: str = "instance",
        patch: list[int] = [96, 96, 96],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        window: list[float] | None = [-1000.0, 200.0],  # noqa: B006
        volume_mm3: list[float] = [250.0, 200000.0],  # noqa: B006
        even: bool = False,
        contrast: list[float] = [2.0, 7.0],  # noqa: B006
        blend: list[float] = [0.2, 0.8],  # noqa: B006
        healthy: float = 0.3,
        epochs: int = 250,
        adapt_epochs: int = 100,
        momentum: float = 0.99,
        sure: float = 0.9,
        batch: int = 2,
        lr: float = 0.01,
        weight_decay: float = 3e-5,
        overlap: float = 0.5,
        windows: int = 1,
        threshold: float = 0.5,
        smallest_mm3: float = 30.0,
    ) -> None:
        super().__init__(patch, levels, batch, overlap, windows)
        self.save_hyperparameters()
        check(window, volume_mm3, contrast, blend, healthy, sure, threshold)
        self.net = LayerUNet(width, levels, norm)
        self.teacher = copy.deepcopy(self.net).requires_grad_(False)
        sizes, kappa, share = ((values[0], values[1]) for values in (volume_mm3, contrast, blend))
        self.simulate = Simulation(sizes, kappa, share, even, healthy)
        self.window, self.warm, self.adapting, self.momentum, self.sure = window, epochs, adapt_epochs, momentum, sure
        self.lr, self.weight_decay = lr, weight_decay
        self.threshold, self.smallest = threshold, smallest_mm3

    @property
    def max_epochs(self) -> int:
        """Epochs of both parts."""
        return self.warm + self.adapting

    @property
    def seed_level(self) -> float:
        """The threshold."""
        return self.threshold

    def forward(self, x: Tensor) -> Tensor:
        """Return the layers `(B, 3, D, H, W)` of patches in [0, 1], see `LayerUNet`."""
        layers: Tensor = self.net(x)
        return layers

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Take simulated tumours apart; in the second part of a training unlabelled volumes too, as the teacher."""
        images, organs, spacing = self._patches(batch, "image", "organ", "spacing")
        real = self._patches(batch, "real", "real_organ", "real_spacing") if "real" in batch else None
        if self.adapting and real is None:
            raise ConfigError(
                "--data: there are no unlabelled volumes to adapt to; give some (--data.unlabelled N, or a folder "
                "unlabelled/) or --model.adapt_epochs 0"
            )
        generator = self.drawn()
        pool = [*zip(images, organs, strict=True), *(zip(real[0], real[1], strict=True) if real else ())]
        made = [self._simulated(*each, pool, generator) for each in zip(images, organs, spacing, strict=True)]
        seen, normal, tumour, mask = (torch.stack([getattr(m, key) for m in made])
                                      for key in ("image", "normal", "tumour", "mask"))  # fmt: skip
        found = self.net(seen[:, None])
        loss = decomposition_loss((found[:, NORMAL], found[:, TUMOUR], found[:, MASK]), normal, tumour, mask)
        self.log("train/simulated", loss, batch_size=len(seen))
        adapting = self.current_epoch >= self.warm
        if real is not None and (adapting or batch_idx == 0):
            with torch.set_grad_enabled(adapting):
                layers = self.net(real[0][:, None])
            # How well its layers make an unlabelled volume up needs no label, and marks the best checkpoint.
            error = (composite(layers) - real[0]).abs().mean().detach()
            self.log("train/composite", error, batch_size=len(seen))
            if adapting:
                label = pseudo_labels(self.teacher, real[0], self.sure, self.smallest, real[2])
                parts = (layers[:, NORMAL], layers[:, TUMOUR], layers[:, MASK])
                adapted = decomposition_loss(parts, label.normal, label.tumour, label.mask, label.sure)
                self.log("train/adapted", adapted, batch_size=len(seen))
                loss = (loss + adapted) / 2
        elif real is None:
            self.log("train/composite", (composite(found) - seen).abs().mean().detach(), batch_size=len(seen))
        self.log("train/loss", loss, batch_size=len(seen))
        return loss

    def on_before_zero_grad(self, optimizer: torch.optim.Optimizer) -> None:
        """Let the teacher follow."""
        follow(self.teacher, self.net, self.momentum, self.global_step)

    def _patches(self, batch: Batch, image: str, organ: str, spacing: str) -> tuple[Tensor, Tensor, list[list[float]]]:
        """Return patches in [0, 1] and organ, `(N, d, h, w)`, mirrored at random, and mm per voxel along z, y, x."""
        values, inside = batch[image].flatten(0, 1), batch[organ].flatten(0, 1)
        steps = patch_steps(batch[spacing], batch[image].shape[1])
        axes = [1 + axis for axis, drawn in enumerate(torch.rand(3).tolist()) if drawn < 0.5]
        values = torch.stack([stretched(v, o, self.window) for v, o in zip(values, inside, strict=True)])
        return values.flip(axes), inside.flip(axes), steps

    def _simulated(
        self, normal: Tensor, organ: Tensor, spacing: list[float], pool: list[tuple[Tensor, Tensor]], g: torch.Generator
    ) -> Layers:
        """Put a tumour into a patch, its texture from any patch of the batch, simulated or not."""
        texture, inside = pool[integer((0, len(pool) - 1), g)]
        filled = torch.where(inside, texture, texture[inside].mean()) if inside.any() else texture
        return self.simulate(normal, organ, filled, spacing, g)

    def segment(self, volume: Tensor, organ: Tensor, spacing: list[float]) -> tuple[Tensor, Tensor]:
        """Return score map and mask of a whole volume, see `inference.segment`."""
        return segment(
            self.net, volume, organ, spacing, window=self.window, patch=self.patch, overlap=self.overlap,
            windows=self.windows, threshold=self.threshold, smallest=self.smallest,
        )  # fmt: skip

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam with a cosine over the run."""
        optimizer = torch.optim.Adam(self.net.parameters(), self.lr, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}

    def _factor(self, epoch: int) -> float:
        """Return the part of the learning rate that is left at an epoch."""
        return 0.5 + 0.5 * math.cos(math.pi * min(1.0, epoch / max(1, self.max_epochs)))
