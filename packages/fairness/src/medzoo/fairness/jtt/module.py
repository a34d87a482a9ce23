"""JTT as a Lightning module."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from medzoo.core.data.options import Unpack
from medzoo.core.errors import ConfigError, check_choice
from medzoo.core.io import write_csv
from medzoo.core.sample import Batch
from medzoo.core.tasks.classification import model_labels
from medzoo.fairness.losses import cross_entropies
from medzoo.fairness.method import ClassOptions, DebiasingMethod
from medzoo.fairness.training_scores import of_batch, read_column, training_scores

TABLE = "errors.csv"


class JTT(DebiasingMethod):
    """JTT (ICML 2021): train twice, the second time with more weight on the images that the first got wrong.

    Args:
        stage: `identify` (a short training whose errors count), `train` or `all` (both, on the command line).
        errors: Table of the errors, which the stage `train` needs.
        upweight: Weight of an image that the first training got wrong, beside 1.
        identify_lr: Highest learning rate of AdamW in the stage `identify`.
        identify_epochs: Epochs of the stage `identify`.
        identify_steps: Steps instead of epochs.
        kwargs: Options of `GroupMethod`: classes, network, size, training.
    """

    stages: ClassVar[tuple[str, ...]] = ("identify", "train")
    prefixes: ClassVar[dict[str, str]] = {"identify": "identify_"}

    def __init__(
        self,
        stage: str = "identify",
        errors: str | None = None,
        upweight: float = 20.0,
        identify_lr: float = 1e-3,
        identify_epochs: int = 1,
        identify_steps: int | None = None,
        **kwargs: Unpack[ClassOptions],
    ) -> None:
        check_choice("model.stage", stage, ("all", *self.stages))
        if upweight < 1:
            raise ConfigError(f"--model.upweight: expected at least 1, got {upweight}")
        super().__init__(**kwargs)
        self.stage = stage
        self.wrong: dict[str, int] = {}

    def setup(self, stage: str) -> None:
        """Read the errors of the first training."""
        super().setup(stage)
        if stage == "fit" and self.stage == "train":
            ids = [item.id for item in self.data.cases.parts["train"]]
            self.wrong = read_column(self.hparams["errors"], "model.errors", "wrong", ids, 0, 1)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Take one batch; what was wrong weighs more, as if it were there `upweight` times."""
        outputs = self.outputs(batch)
        each = cross_entropies(outputs.logits, model_labels(batch["label"], outputs, *self.given))
        weight = torch.ones_like(each)
        if self.stage == "train":
            weight = torch.where(of_batch(self.wrong, batch) == 1, self.hparams["upweight"], weight)
        loss = (weight * each).sum() / weight.sum()
        self.log("train/loss", loss)
        return loss

    def hand_over(self, folder: Path) -> dict[str, object]:
        """Write which training images the first training got wrong, `errors.csv`."""
        rows = training_scores(self)
        path = folder.resolve() / TABLE
        if self.trainer.is_global_zero:
            top = [max(range(len(row["logits"])), key=row["logits"].__getitem__) for row in rows]
            columns = zip(rows, top, strict=True)
            write_csv(path, [{"id": r["id"], "label": r["label"], "wrong": int(t != r["label"])} for r, t in columns])
        return {"errors": str(path)}
