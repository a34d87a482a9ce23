"""The random numbers of a step, which depend on it alone, and a stop where a loss or a gradient is not finite."""

from __future__ import annotations

import random

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from medzoo.core.errors import TrainingError
from medzoo.core.names import listed
from medzoo.core.seeding import derive_seed

_ADVICE = (
    "checkpoints of earlier epochs are kept: lower --model.lr or clip gradients with --trainer.gradient_clip_val 1"
)


class StepSeed(Callback):
    """Seed torch, numpy and random before every step, so that what it draws does not depend on history.

    A step draws from (seed, epoch, batch, rank); so do epoch starts and the batches of an evaluation, from seeds of
    their own.

    Args:
        seed: Seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def _seed(self, trainer: Trainer, *place: int) -> None:
        value = derive_seed(self.seed, trainer.current_epoch, *place, trainer.global_rank)
        torch.manual_seed(value)
        np.random.seed(value % 2**32)  # noqa: NPY002 - for methods that draw from the global generators
        random.seed(value)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed what the module draws for an epoch."""
        self._seed(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """Seed a training step."""
        self._seed(trainer, batch_idx)

    def _seed_evaluation(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Seed a step of an evaluation."""
        self._seed(trainer, batch_idx, dataloader_idx)

    on_validation_batch_start = on_test_batch_start = on_predict_batch_start = _seed_evaluation


class FiniteGuard(Callback):
    """Stop at the first loss that is not finite, before its gradient reaches the weights, and save no such weights."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """Remember whose images the step trains on."""
        self.ids = list(batch.get("id", [])) if isinstance(batch, dict) else []

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Raise `TrainingError` with the step and advice."""
        if not torch.isfinite(loss).all():
            parts = sorted(k for k, v in trainer.callback_metrics.items() if not bool(torch.isfinite(v).all()))
            which = f" ({', '.join(parts)})" if parts else ""
            ids = f", images {listed(self.ids)}" if self.ids else ""
            raise TrainingError(
                f"the loss is {float(loss.detach().sum())}{which} at epoch {trainer.current_epoch}, "
                f"step {trainer.global_step}{ids}; {_ADVICE}, or check these images"
            )

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, object]) -> None:
        """Refuse to save weights that are not finite: a finite loss may have a gradient that is not."""
        weights = dict(pl_module.named_parameters())
        bad = next((name for name, p in weights.items() if not torch.isfinite(p).all()), None)
        if bad is not None:
            raise TrainingError(
                f"the weights {bad!r} are no longer finite at epoch {trainer.current_epoch}, "
                f"step {trainer.global_step}; {_ADVICE}"
            )
