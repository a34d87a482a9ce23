"""What methods for images share in their training: mirrored images, and a learning rate along a cosine."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor


def mirrored(images: Tensor, axes: Sequence[int] = (-1,)) -> Tensor:
    """Mirror each of `(B, C, H, W)` images along each of some axes with a probability of one half.

    Drawn by torch's generator, which is seeded anew at every step.
    """
    for axis in axes:
        chosen = (torch.rand(len(images)) < 0.5).to(images.device)[:, None, None, None]
        images = torch.where(chosen, images.flip(axis), images)
    return images


def cosine(module: LightningModule, optimizer: torch.optim.Optimizer) -> OptimizerLRScheduler:
    """Let the learning rates of an optimiser fall along a cosine by epoch, from all to nothing."""
    epochs = max(1, module.trainer.max_epochs or 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda e: 0.5 * (1 + math.cos(math.pi * e / epochs)))
    return {"optimizer": optimizer, "lr_scheduler": schedule}
