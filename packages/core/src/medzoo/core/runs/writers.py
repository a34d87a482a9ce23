"""Writing predictions while they come, so that memory does not grow with the number of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from medzoo.core.tasks.base import Prediction


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
