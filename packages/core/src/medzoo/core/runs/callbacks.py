"""Callbacks of every run: exact resume, checkpoints, one table of epochs, signals, and a guard against NaN."""

from __future__ import annotations

import csv
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from medzoo.core.distributed import print_once
from medzoo.core.errors import Interrupted, TrainingError
from medzoo.core.io import csv_text, write_csv
from medzoo.core.names import listed
from medzoo.core.runs.bar import progress
from medzoo.core.seeding import mix

LAST, BEST = "last.ckpt", "best.ckpt"
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
        value = mix(self.seed, trainer.current_epoch, *place, trainer.global_rank)
        torch.manual_seed(value)
        np.random.seed(value % 2**32)  # noqa: NPY002 - for methods that draw from the global generators
        random.seed(value)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed what the module draws for an epoch."""
        self._seed(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed a training step."""
        self._seed(trainer, batch_idx)

    def _seed_evaluation(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Seed a step of an evaluation."""
        self._seed(trainer, batch_idx, dataloader_idx)

    on_validation_batch_start = on_test_batch_start = on_predict_batch_start = _seed_evaluation


class FiniteGuard(Callback):
    """Stop at the first loss that is not finite, before its gradient reaches the weights, and save no such weights."""

    def __init__(self) -> None:
        self.ids: list[Any] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
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

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Refuse to save weights that are not finite: a finite loss may have a gradient that is not."""
        weights = dict(pl_module.named_parameters())
        bad = next((name for name, p in weights.items() if not torch.isfinite(p).all()), None)
        if bad is not None:
            raise TrainingError(
                f"the weights {bad!r} are no longer finite at epoch {trainer.current_epoch}, "
                f"step {trainer.global_step}; {_ADVICE}"
            )


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
        self.row: dict[str, Any] = {}
        self.started = time.perf_counter()
        self.told: int | None = None  # per cent at the last printed line

    def state_dict(self) -> dict[str, Any]:
        """Return the values of the epoch so far."""
        return {
            "epoch": self.epoch,
            "sums": dict(self.sums),
            "counts": dict(self.counts),
            "validation": dict(self.validation),
            "validated": sorted(self.validated),
            "samples": self.samples,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the values of an interrupted epoch."""
        self.epoch, self.samples = state_dict["epoch"], state_dict["samples"]
        self.sums, self.counts = dict(state_dict["sums"]), dict(state_dict["counts"])
        self.validation, self.validated = dict(state_dict["validation"]), set(state_dict["validated"])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's clock."""
        self.started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
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
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        append_row(self.path, self.row)
        if self.echo:
            values = "  ".join(f"{k} {v:.4g}" for k, v in self.row.items() if k != "epoch")
            where, share = progress(trainer)
            done = int(100 * (share or 0.0))
            if where.startswith("step") and done == self.told:
                return  # epochs of few images: a line for each per cent is enough to read
            self.told = done
            print_once(f"{self.label} {where}  {values}  ({time.perf_counter() - self.started:.1f} s)")


def _size(batch: Any) -> int:
    if isinstance(batch, dict):
        batch = next((v for v in batch.values() if isinstance(v, Tensor)), None)
    elif isinstance(batch, list | tuple):
        batch = batch[0] if batch else None
    return len(batch) if isinstance(batch, Tensor) and batch.ndim else 0


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Add an epoch to a table, after dropping rows of this and later epochs, which a resumed run repeats."""
    rows: list[dict[str, Any]] = []
    if path.is_file():
        with open(path, newline="", encoding="utf8") as file:
            kept = [r for r in csv.DictReader(file) if int(r["epoch"]) < row["epoch"]]
        rows = [{csv_text(name): value for name, value in r.items()} for r in kept]
    columns = list(dict.fromkeys([name for r in [*rows, row] for name in r]))
    write_csv(path, [*rows, row], columns)


class StopSignals(Callback):
    """End with exit code 128 + signal after SIGINT, SIGTERM or SIGUSR1, saving first while there is training to save.

    Use it as a context around all that a run does: while a step trains, the first signal waits for its end and a
    checkpoint; at any other time, and the second time, it ends the run at once.

    Args:
        run: Folder of the run, which the message names where there is something to continue.
    """

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

    def __init__(self, run: Path) -> None:
        self.run = run
        self.checkpoints = run / "checkpoints"
        self.training = False
        self.received: int | None = None
        self.before: dict[int, Any] = {}
        self.stopped: Interrupted | None = None

    def __enter__(self) -> StopSignals:
        try:
            self.before = {s: signal.signal(s, self._receive) for s in self.signals}
        except ValueError:  # not the main thread: signals go elsewhere
            self.before = {}
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        for signum, handler in self.before.items():
            signal.signal(signum, handler)
        self.before = {}
        # Out of a library's own code a signal comes as a failed read, or not at all.
        if self.stopped is not None and error is not self.stopped:
            raise self.stopped from error

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        first, self.received = self.received is None, signum
        if self.training and first:
            # Not through `sys.stderr`: the signal may have come while that was being written.
            with suppress(OSError):
                os.write(2, f"\n{signal.Signals(signum).name}: stopping after this step\n".encode())
            return
        self._stop()

    def _take_over(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace the handler that Lightning has put before ours: it would end a run on SIGTERM with exit code 0."""
        for signum in self.before:
            signal.signal(signum, self._receive)
        if trainer.received_sigterm and not self.training:
            self._receive(signal.SIGTERM, None)

    on_sanity_check_start = on_validation_start = on_test_start = on_predict_start = _take_over

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on there is something to save."""
        self._take_over(trainer, pl_module)
        self.training = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop where a signal came.

        Not where gradients are still being accumulated, which no checkpoint holds, nor at the end of an epoch, whose
        validation and row in the table a resumed run would miss: there `RunCheckpoints` saves.
        """
        whole = not pl_module.automatic_optimization or (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if whole and not trainer.is_last_batch and self._asked(trainer):
            trainer.save_checkpoint(self.checkpoints / LAST)
            self._stop()

    def stop_if_asked(self, trainer: Trainer) -> None:
        """Stop where a signal came; all is saved."""
        if self._asked(trainer):
            self._stop()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on a signal need not wait."""
        self.training = False

    def _asked(self, trainer: Trainer) -> bool:
        asked = self.received is not None
        if trainer.world_size > 1:  # all processes stop at the same step
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        return asked

    def _stop(self) -> NoReturn:
        signum = self.received or signal.SIGTERM
        saved = any(self.run.rglob(LAST))
        cure = f", saved; continue with: medzoo fit --resume --run_dir {self.run}" if saved else ", nothing to save yet"
        self.stopped = Interrupted(signum, f"stopped by {signal.Signals(signum).name}{cure}")
        raise self.stopped


class RunCheckpoints(Checkpoint):
    """Finish the table's row, then write `last.ckpt` and, where it is the best, `best.ckpt`, every epoch.

    Args:
        folder: Where they go.
        table: Source of the values of an epoch, of which `monitor` names one.
        signals: Asked to stop after an epoch is saved.
        monitor: Value that marks the best epoch; where it was never logged, the best is the last.
        mode: `"min"` or `"max"`.
    """

    def __init__(self, folder: Path, table: EpochTable, signals: StopSignals, monitor: str, mode: str) -> None:
        self.folder, self.table, self.signals, self.monitor, self.mode = folder, table, signals, monitor, mode
        self.best: float | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best value so far."""
        self.best = state_dict["best"]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the epoch, and once more as the best where it is."""
        self.table.finish(trainer)
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        value = self.table.row.get(self.monitor)
        improved = value is not None and (
            self.best is None or (value < self.best if self.mode == "min" else value > self.best)
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
