"""An evaluation with fewer samples than processes: those without one join the others in what the steps log."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypedDict

import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.nn.parallel import DistributedDataParallel

from medzoo.core.data.loaders import EvaluationBatches
from medzoo.core.distributed import from_all
from medzoo.core.errors import ConfigError
from medzoo.core.seams import logged

_NEUTRAL = {"sum": 0.0, "max": -math.inf, "min": math.inf}
"""What leaves a reduced value as it is."""


class Logged(TypedDict):
    """How a value was logged, see `LightningModule.log`."""

    reduce_fx: str
    sync_dist: bool
    metric_attribute: str | None


class JoinEvaluations(Callback):
    """Let a process without a sample log what the others log in their steps, so that none waits for it for good.

    What a step logs with `sync_dist=True`, or as a torchmetrics metric, is gathered from all processes when the steps
    are done, but a process without a step does not know of it. The others send it after their first batch. What is
    not gathered, it takes over from the first process. Nothing is done where each process has a sample.
    """

    def __init__(self) -> None:
        self.shared = False

    def _start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew, with the buffers of the first process: otherwise its first step would wait to send them.

        Raises:
            ConfigError: There are several loaders, each of which is gathered on its own.
        """
        self.shared = False
        loaders = list(_loaders(trainer))
        if len(loaders) > 1 and any(map(_leaves_out, loaders)):
            raise ConfigError(
                "one of several test or validation sets has fewer samples than there are processes; "
                "use --trainer.devices 1"
            )
        wrapped = trainer.strategy.model
        if isinstance(wrapped, DistributedDataParallel) and any(map(_leaves_out, loaders)):
            for buffer in pl_module.buffers():  # such as statistics of batch normalisation
                dist.broadcast(buffer, 0)
            wrapped.require_forward_param_sync = False

    on_validation_start = on_test_start = _start

    def _share(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """After the first batch, send the others what was logged."""
        if not self.shared and any(map(_leaves_out, _loaders(trainer))):
            self.shared = True
            _check(next(filter(None, from_all(_gathered(trainer))), {}))

    on_validation_batch_end = on_test_batch_end = _share

    def _join(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what the others have, and take part in gathering it, before the module logs the rest."""
        if not any(map(_leaves_out, _loaders(trainer))):
            return
        if not self.shared:
            logs = next(filter(None, from_all(_gathered(trainer))), {})
            _check(logs)
            for name, how in logs.items():
                metric = how["metric_attribute"]
                value = dict(pl_module.named_modules())[metric] if metric else _NEUTRAL[how["reduce_fx"]]
                pl_module.log(
                    name, value, on_step=False, on_epoch=True, batch_size=0, metric_attribute=metric,
                    reduce_fx=how["reduce_fx"], sync_dist=how["sync_dist"],
                )  # fmt: skip
        own = {name: float(value) for name, value in trainer.callback_metrics.items() if value.numel() == 1}
        for name, value in from_all(own)[0].items():
            if name not in own:
                pl_module.log(name, value)

    on_validation_epoch_end = on_test_epoch_end = _join


def _loaders(trainer: Trainer) -> Iterator[object]:
    """Yield the loaders of the running evaluation."""
    found = trainer.test_dataloaders if trainer.testing else trainer.val_dataloaders
    yield from found if isinstance(found, list | tuple) else [found]


def _leaves_out(loader: object) -> bool:
    batches = getattr(loader, "batch_sampler", None)
    return isinstance(batches, EvaluationBatches) and batches.leaves_out


def _check(logs: dict[str, Logged]) -> None:
    """Refuse a mean, whose weights Lightning divides by the number of processes, dropping the rest: 1 / 2 is 0.

    Raises:
        ConfigError: One of the values is to be averaged.
    """
    for name, how in logs.items():
        if how["metric_attribute"] is None and how["reduce_fx"] not in _NEUTRAL:
            raise ConfigError(
                f"{name!r} is averaged over processes step by step, which needs as many samples as processes; "
                "use --trainer.devices 1, or log a torchmetrics metric"
            )


def _gathered(trainer: Trainer) -> dict[str, Logged]:
    """Return what will be gathered from all processes, by name in the order of logging, with how to log it."""
    found: dict[str, Logged] = {}
    for result in logged(trainer).values():
        meta = result.meta
        if meta.on_epoch and (not result.is_tensor or meta.sync.should):
            found[meta.forked_name(on_step=False)] = {
                "reduce_fx": meta.reduce_fx.__name__,
                "sync_dist": bool(meta.sync.should),
                "metric_attribute": None if result.is_tensor else meta.metric_attribute,
            }
    return found
