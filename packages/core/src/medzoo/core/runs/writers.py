"""Writing predictions while they come, so that memory does not grow with the number of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from lightning.pytorch import Callback, LightningModule, Trainer

from medzoo.core.distributed import from_all
from medzoo.core.tasks.base import Prediction

T = TypeVar("T")


class PredictionWriter(Callback):
    """Saves the files of each prediction below a folder and keeps its record.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: list[dict[str, object]] = []
        """Of this process, in the order of its batches."""

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Sequence[Prediction | dict[str, object]],
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Save what a batch gave: predictions, or records alone of a model that is no Method."""
        for answer in outputs or ():
            if isinstance(answer, Prediction):
                saved = answer.save(self.folder) if answer.save is not None else {}
                self.records.append({**answer.record, **saved})
            else:
                self.records.append(answer)


def in_order(trainer: Trainer, records: list[T]) -> list[T]:
    """Collect the records of all processes in the order of the data set, whatever the batches were.

    Without a record for each sample there is no such order: then those of one process follow those of another.
    """
    loaders = trainer.predict_dataloaders
    samplers = [
        getattr(loader, "batch_sampler", []) for loader in (loaders if isinstance(loaders, list) else [loaders])
    ]
    places = [(k, i) for k, sampler in enumerate(samplers) for batch in sampler for i in batch]
    if len(places) != len(records):
        places = [(0, 0)] * len(records)
    pairs = list(zip(places, records, strict=True))
    if trainer.world_size > 1:
        pairs = [pair for part in from_all(pairs) for pair in part]
    return [record for _, record in sorted(pairs, key=lambda pair: pair[0])]
