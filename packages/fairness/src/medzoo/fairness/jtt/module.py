"""JTT as a Lightning module."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from medzoo.core.errors import ConfigError, check_choice
from medzoo.core.io import write_csv
from medzoo.core.sample import Batch
from medzoo.core.tasks.classification import model_labels
from medzoo.fairness.losses import cross_entropies
from medzoo.fairness.method import DebiasingMethod
from medzoo.fairness.training_scores import of_batch, read_column, training_scores

TABLE = "errors.csv"


class JTT(DebiasingMethod):
    """JTT (ICML 2021): train twice, the second time with more weight on the images that the first got wrong.

    Args:
        stage: `identify` (a short training whose errors count), `train` or `all` (both, on the command line).
        errors: Table of the errors, which the stage `train` needs.
        upweight: Weight of an image that the first training got wrong, beside 1.
        classes: Names of the classes; empty: those of the data.
        multi_label: Whether several may hold at once; must be false. Empty: as in the data.
        channels: Channels of the images; empty: as in the data.
        backbone: Network of timm.
        weights: File with weights of the timm network; empty: random ones.
        size: Height and width of the images, one number for a square.
        identify_lr: Highest learning rate of AdamW in the stage `identify`.
        identify_epochs: Epochs of the stage `identify`.
        identify_steps: Steps instead of epochs.
        lr: Highest learning rate of AdamW; it rises over a tenth of the steps and falls to 0 by a cosine.
        epochs: Epochs of the stage `train`.
        steps: Steps instead of epochs.
        batch: Images a batch.
    """

    stages: ClassVar[tuple[str, ...]] = ("identify", "train")
    prefixes: ClassVar[dict[str, str]] = {"identify": "identify_"}

    def __init__(
        self,
        stage: str = "identify",
        errors: str | None = None,
        upweight: float = 20.0,
        classes: list[str] | None = None,
        multi_label: bool | None = None,
        channels: int | None = None,
        backbone: str = "resnet18",
        weights: str | None = None,
        size: int | list[int] = [224, 224],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        identify_lr: float = 1e-3,
        identify_epochs: int = 1,
        identify_steps: int | None = None,
        lr: float = 1e-3,
        epochs: int = 30,
        steps: int | None = None,
        batch: int = 32,
    ) -> None:
        check_choice("model.stage", stage, ("all", *self.stages))
        if upweight < 1:
            raise ConfigError(f"--model.upweight: expected at least 1, got {upweight}")
        super().__init__(
            classes=classes, multi_label=multi_label, channels=channels, backbone=backbone, weights=weights, size=size,
            lr=lr, epochs=epochs, steps=steps, batch=batch,
        )  # fmt: skip
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
