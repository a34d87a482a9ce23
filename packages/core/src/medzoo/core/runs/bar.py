"""The bar of a training on a terminal: how far it is, of how much, and the current loss."""

from __future__ import annotations

import math
import time

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from torch import Tensor

from medzoo.core.names import printable

_SCALE = 1000
_USUAL = (80, 24)  # columns and lines of a terminal
_PAUSE = 0.1  # seconds between two looks of the bar
_FORMAT = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"


class TrainingBar(TQDMProgressBar):
    """One bar for a whole training, in steps where the method counts steps and in epochs otherwise.

    Lightning's own begin anew each epoch, count to `max_epochs - 1`, which is -2 where steps are counted, and show a
    loss only where a method asks for it.

    Args:
        label: What the bar starts with, such as `"uod stage1"`.
    """

    def __init__(self, label: str) -> None:
        super().__init__()
        self.label, self.drawn = printable(label), 0.0

    def init_train_tqdm(self) -> Tqdm:
        """Make the bar; its length is the whole training, not an epoch."""
        bar = _sized(super().init_train_tqdm())
        bar.bar_format = _FORMAT
        return bar

    def init_sanity_tqdm(self) -> Tqdm:
        """Make the bar of the look at two validation batches before a training."""
        return _sized(super().init_sanity_tqdm())

    def init_validation_tqdm(self) -> Tqdm:
        """Make the bar of a validation."""
        return _sized(super().init_validation_tqdm())

    def init_test_tqdm(self) -> Tqdm:
        """Make the bar of a test."""
        return _sized(super().init_test_tqdm())

    def init_predict_tqdm(self) -> Tqdm:
        """Make the bar of a prediction."""
        return _sized(super().init_predict_tqdm())

    def on_train_epoch_start(self, trainer: Trainer, *_: object) -> None:
        """Go on with the same bar."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Show the step, or the part of the epochs that is done, and the step's loss."""
        part = (batch_idx + 1) / max(1.0, float(trainer.num_training_batches))
        where, share = progress(trainer, part)
        now = time.monotonic()
        if not self.is_enabled or (now < self.drawn + _PAUSE and share != 1.0):
            return
        self.drawn = now
        bar, loss = self.train_progress_bar, loss_of(trainer, outputs)
        bar.total, bar.n = (None, trainer.global_step) if share is None else (_SCALE, round(_SCALE * share))
        bar.set_description_str(f"{self.label} {where}", refresh=False)
        bar.set_postfix_str("" if loss is None else f"loss {loss:.4g}", refresh=False)
        bar.refresh()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the bar as the last step has left it."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the bar of the validation away."""
        self.val_progress_bar.close()
        self.reset_dataloader_idx_tracker()


def _sized(bar: Tqdm) -> Tqdm:
    """Let a bar be 80 columns wide where the terminal does not report its size: it would not be drawn otherwise."""
    measured = bar.dynamic_ncols

    def shape(file: object) -> tuple[int, int]:
        columns, lines = measured(file)  # None, or less than 1, where they are not known
        return max(columns or 0, 0) or _USUAL[0], max(lines or 0, 0) or _USUAL[1]

    if callable(measured):
        bar.dynamic_ncols = shape
        bar.ncols, bar.nrows = shape(bar.fp)  # tqdm looks at the lines before it measures them anew
    return bar


def progress(trainer: Trainer, part: float = 1.0) -> tuple[str, float | None]:
    """Return how far a training is, `"step 40/300"` or `"epoch 3/10"`, and the share that is done.

    Args:
        trainer: It trains.
        part: Share of the current epoch that is done.

    Returns:
        The words, without the end where neither epochs nor steps are limited, and the share, `None` there.
    """
    steps, epochs = max(trainer.max_steps, 0), max(trainer.max_epochs or 0, 0)
    # Which of the two ends the training; an epoch may have any number of batches, infinitely many too.
    per_epoch = float(trainer.num_training_batches) / trainer.accumulate_grad_batches
    if steps and (not epochs or math.isinf(per_epoch) or math.ceil(per_epoch) * epochs >= steps):
        return f"step {trainer.global_step}/{steps}", min(1.0, trainer.global_step / steps)
    epoch = trainer.current_epoch
    if epochs:
        return f"epoch {epoch + 1}/{epochs}", min(1.0, (epoch + part) / epochs)
    return f"epoch {epoch + 1}", None


def loss_of(trainer: Trainer, outputs: object) -> float | None:
    """Return the loss of a step: what it logged as `train/loss`, or what it returned; `None` where it has neither."""
    found = trainer.callback_metrics.get("train/loss", outputs.get("loss") if isinstance(outputs, dict) else outputs)
    return float(found.detach()) if isinstance(found, Tensor) else None
