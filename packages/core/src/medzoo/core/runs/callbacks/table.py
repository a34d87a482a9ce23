"""One table of epochs, whole after every epoch and the same after a resume."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from medzoo.core.distributed import print_once
from medzoo.core.io import csv_text, write_csv
from medzoo.core.runs.bar import progress
from medzoo.core.values import Row


class EpochState(TypedDict):
    """The values of an epoch so far, as a checkpoint keeps them."""

    epoch: int
    sums: dict[str, float]
    counts: dict[str, int]
    validation: dict[str, float]
    validated: list[str]
    samples: int


class EpochTable(Callback):
    """Write `metrics.csv`, one row an epoch, and in a pipe print one line an epoch.

    Values logged in a training step count as their mean over the batches of the epoch, and those of a validation stand
    in the row of their epoch only. Both are kept here because Lightning forgets them when a run resumes in an epoch.

    Args:
        path: The table to write.
        label: What the printed lines start with, such as `"uod stage1"`.
        echo: Print a line an epoch, or one for each per cent where a training counts steps.
    """

    def __init__(self, path: Path, label: str, echo: bool) -> None:
        self.path, self.label, self.echo = path, label, echo
        self.epoch = -1
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.validation: dict[str, float] = {}
        self.validated: set[str] = set()
        self.samples = 0
        self.stepped = False  # in this process; what was trained before it resumed does not count
        self.row: dict[str, float] = {}
        self.started = time.perf_counter()
        self.printed: int | None = None  # per cent at the last printed line

    def state_dict(self) -> dict[str, object]:
        """Return the values of the epoch so far."""
        return {
            "epoch": self.epoch,
            "sums": dict(self.sums),
            "counts": dict(self.counts),
            "validation": dict(self.validation),
            "validated": sorted(self.validated),
            "samples": self.samples,
        }

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Continue the values of an interrupted epoch."""
        state = cast(EpochState, state_dict)  # the reader of checkpoints has looked at it
        self.epoch, self.samples = state["epoch"], state["samples"]
        self.sums, self.counts = dict(state["sums"]), dict(state["counts"])
        self.validation, self.validated = dict(state["validation"]), set(state["validated"])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's clock."""
        self.started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Add the step's values."""
        if trainer.current_epoch != self.epoch:
            self.epoch, self.sums, self.counts, self.validation = trainer.current_epoch, {}, {}, {}
        for name, value in trainer.callback_metrics.items():
            if name.startswith("train/"):
                self.sums[name] = self.sums.get(name, 0.0) + float(value)
                self.counts[name] = self.counts.get(name, 0) + 1
        self.samples += _size(batch)
        self.stepped = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the values of a validation."""
        if not trainer.sanity_checking:
            self.validation = {k: float(v) for k, v in trainer.callback_metrics.items() if not k.startswith("train/")}
            self.validated |= set(self.validation)

    def finish(self, trainer: Trainer) -> None:
        """Write the epoch's row; called after all else that an epoch's end may log."""
        means = {name: total / self.counts[name] for name, total in self.sums.items()}
        # Lightning still holds the last validation's values in an epoch without one.
        others = {
            k: float(v)
            for k, v in trainer.callback_metrics.items()
            if not k.startswith("train/") and k not in self.validated
        }
        self.row = {"epoch": trainer.current_epoch, **means, **self.validation, **others}
        if not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
            return
        append_row(self.path, self.row)
        if self.echo:
            values = "  ".join(f"{k} {v:.4g}" for k, v in self.row.items() if k != "epoch")
            where, share = progress(trainer)
            done = int(100 * (share or 0.0))
            if where.startswith("step") and done == self.printed:
                return  # epochs of few images: a line for each per cent is enough to read
            self.printed = done
            print_once(f"{self.label} {where}  {values}  ({time.perf_counter() - self.started:.1f} s)")


def _size(batch: object) -> int:
    if isinstance(batch, dict):
        batch = next((v for v in batch.values() if isinstance(v, Tensor)), None)
    elif isinstance(batch, list | tuple):
        batch = batch[0] if batch else None
    return len(batch) if isinstance(batch, Tensor) and batch.ndim else 0


def append_row(path: Path, row: Mapping[str, float]) -> None:
    """Add an epoch to a table, after dropping rows of this and later epochs, which a resumed run repeats."""
    rows: list[Row] = []
    if path.is_file():
        with open(path, newline="", encoding="utf8") as file:
            kept = [r for r in csv.DictReader(file) if int(r["epoch"]) < int(row["epoch"])]
        rows = [{csv_text(name): value for name, value in r.items()} for r in kept]
    columns = list(dict.fromkeys([name for r in [*rows, row] for name in r]))
    write_csv(path, [*rows, row], columns)
