"""Learning rates as functions of the step."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import LRSchedulerConfigType, OptimizerLRSchedulerConfig


def warm_cosine(module: LightningModule, rise: float = 0.1) -> Callable[[int], float]:
    """Return the factor on the learning rate by step: a linear rise, then half a cosine down to 0.

    Args:
        module: A module with its trainer attached, which knows the number of steps.
        rise: Share of the steps that the rise takes.
    """

    def factor(step: int) -> float:
        if step == 0:
            # The optimiser is made before a resumed run has found its place in the data, and asking for the number of
            # steps makes the loader: it would start anew.
            return 0.01
        steps = int(module.trainer.estimated_stepping_batches)
        top = max(1, int(steps * rise))
        return step / top if step < top else 0.5 + 0.5 * math.cos(math.pi * min(1.0, (step - top) / (steps - top + 1)))

    return factor


def cosine_decay(
    module: LightningModule, optimizer: torch.optim.Optimizer, rise: float = 0.1
) -> OptimizerLRSchedulerConfig:
    """Return what `configure_optimizers` returns: the optimiser with `warm_cosine`, step by step.

    Args:
        module: A module with its trainer attached.
        optimizer: Its optimiser.
        rise: Share of the steps that the rise takes.
    """
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_cosine(module, rise))
    schedule = LRSchedulerConfigType(scheduler=decay, interval="step")
    return OptimizerLRSchedulerConfig(optimizer=optimizer, lr_scheduler=schedule)


def adam_in_steps(module: LightningModule, lr: float, decay: tuple[int, float]) -> OptimizerLRSchedulerConfig:
    """Return Adam with weight decay 1e-4 over all parameters, whose rate falls in steps.

    Args:
        module: Its parameters are trained.
        lr: Learning rate at the beginning.
        decay: Epochs after which the rate falls, and the factor.
    """
    optimizer = torch.optim.Adam(module.parameters(), lr, weight_decay=1e-4)
    steps = torch.optim.lr_scheduler.StepLR(optimizer, *decay)
    return OptimizerLRSchedulerConfig(optimizer=optimizer, lr_scheduler=steps)


def adamw(module: LightningModule, lr: float) -> OptimizerLRSchedulerConfig:
    """Return AdamW over all parameters with warm-up and cosine decay, as `configure_optimizers` returns it.

    Args:
        module: A module with its trainer attached.
        lr: Highest learning rate.
    """
    return cosine_decay(module, torch.optim.AdamW(module.parameters(), lr, weight_decay=1e-4))
