"""The checkpoints of a run: the last and the best."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from medzoo.core.runs.callbacks.names import BEST, LAST
from medzoo.core.runs.callbacks.signals import StopSignals
from medzoo.core.runs.callbacks.table import EpochTable


class RunCheckpoints(Checkpoint):
    """Finish the table's row, then write `last.ckpt` and, where it is the best, `best.ckpt`, every epoch.

    Args:
        folder: Where they go.
        table: Source of the values of an epoch, of which `monitor` names one.
        signals: Asked to stop after an epoch is saved.
        monitor: Value that marks the best epoch; where it was never logged or is NaN, the best is the last.
        mode: `"min"` or `"max"`.
    """

    def __init__(self, folder: Path, table: EpochTable, signals: StopSignals, monitor: str, mode: str) -> None:
        self.folder, self.table, self.signals, self.monitor, self.mode = folder, table, signals, monitor, mode
        self.best: float | None = None

    def state_dict(self) -> dict[str, object]:
        """Return the best value so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Take over the best value so far."""
        self.best = cast("float | None", state_dict["best"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the epoch, and once more as the best where it is."""
        self.table.finish(trainer)
        if getattr(trainer, "fast_dev_run", False):
            return
        value = self.table.row.get(self.monitor)
        improved = (
            value is not None
            and not math.isnan(value)
            and (self.best is None or (value < self.best if self.mode == "min" else value > self.best))
        )
        if improved:
            self.best = value
        if not improved and self.best is not None:
            trainer.save_checkpoint(self.folder / LAST)
        else:
            # The best first: killed between the two, a resumed run repeats the epoch and finds it the best again.
            trainer.save_checkpoint(self.folder / BEST)
            if trainer.is_global_zero:
                _link_or_copy(self.folder / BEST, self.folder / LAST)
        self.signals.stop_if_asked(trainer)


def _link_or_copy(source: Path, target: Path) -> None:
    """Give `source` a second name; `last.ckpt` is replaced, never written in place, so the link keeps the old bytes."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        try:
            os.link(source, part)
        except OSError:  # a file system without hard links
            part.write_bytes(source.read_bytes())
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
