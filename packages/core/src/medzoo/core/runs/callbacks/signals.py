"""Ending a run at a signal, saved."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from lightning.pytorch import Callback, LightningModule, Trainer

from medzoo.core.errors import Interrupted
from medzoo.core.runs.callbacks.names import LAST

Handler = Callable[[int, FrameType | None], object] | int | signal.Handlers | None
"""What `signal.signal` takes and returns."""


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
        self.before: dict[int, Handler] = {}
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
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Save and stop where a signal came.

        Not where gradients are still being accumulated, which no checkpoint holds, nor at the end of an epoch, whose
        validation and row in the table a resumed run would miss: there `RunCheckpoints` saves.
        """
        whole = not pl_module.automatic_optimization or (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if whole and not trainer.is_last_batch and self._asked(trainer):
            trainer.save_checkpoint(self.checkpoints / LAST)
            self._stop()

    def _stop_after_all(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Stop at the next batch where a library took the exception for its own.

        CPython does: a signal that comes while it words the message of a `ValueError` ends as that error.
        """
        if self.stopped is not None:
            raise self.stopped

    on_validation_batch_start = on_test_batch_start = on_predict_batch_start = _stop_after_all

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
