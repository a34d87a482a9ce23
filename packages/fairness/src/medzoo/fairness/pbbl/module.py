"""PBBL as a Lightning module."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from medzoo.core.data.options import Unpack
from medzoo.core.errors import check_choice
from medzoo.core.io import write_csv, write_json
from medzoo.core.sample import Batch
from medzoo.core.tasks.classification import model_labels
from medzoo.fairness.losses import generalised_ce
from medzoo.fairness.method import ClassOptions, DebiasingMethod, check_shares
from medzoo.fairness.pbbl.losses import balanced_softmax, log_prior, youden_threshold
from medzoo.fairness.training_scores import Scores, of_batch, read_column, training_scores

TABLE = "pseudo_bias.csv"


class PBBL(DebiasingMethod):
    """PBBL (MICCAI 2022): a network that learns the shortcut labels the bias, and a second one is balanced by it.

    Args:
        stage: `bias` (learn the shortcut), `debias` (learn the class without it) or `all` (both, on the command line).
        pseudo: Table of pseudo bias labels; the stage `debias` needs it. Given to `bias`, it learns these in the place
            of the classes: a further round.
        q: Exponent of the generalised cross-entropy, in (0, 1].
        bias_lr: Highest learning rate of AdamW in the stage `bias`.
        bias_epochs: Epochs of the stage `bias`.
        bias_steps: Steps instead of epochs.
        kwargs: Options of `GroupMethod`: classes, network, size, training.
    """

    stages: ClassVar[tuple[str, ...]] = ("bias", "debias")
    prefixes: ClassVar[dict[str, str]] = {"bias": "bias_"}
    most_classes = 2
    prior: Tensor

    def __init__(
        self,
        stage: str = "bias",
        pseudo: str | None = None,
        q: float = 0.7,
        bias_lr: float = 1e-4,
        bias_epochs: int = 10,
        bias_steps: int | None = None,
        **kwargs: Unpack[ClassOptions],
    ) -> None:
        check_choice("model.stage", stage, ("all", *self.stages))
        check_shares(q=q)
        super().__init__(**kwargs)
        self.stage = stage
        self.bias: dict[str, int] | None = None

    def setup(self, stage: str) -> None:
        """Read the pseudo bias labels, and count the classes under each."""
        super().setup(stage)
        path = self.hparams["pseudo"]
        if stage == "fit" and (self.stage == "debias" or path is not None):
            items = self.data.cases.parts["train"]
            self.bias = read_column(path, "model.pseudo", "bias", [item.id for item in items], 0, 1)
            columns = [self.hparams["classes"].index(name) for name in self.data.classes]
            labels = torch.tensor([columns[item.label] for item in items])
            bias = torch.tensor([self.bias[item.id] for item in items])
            self.prior = log_prior(bias, labels, len(self.hparams["classes"]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Take one batch: learn what is easy, or the classes beside the prior of the bias."""
        outputs = self.outputs(batch)
        label = model_labels(batch["label"], outputs, *self.given)
        bias = None if self.bias is None else of_batch(self.bias, batch)
        if self.stage == "bias":
            loss = generalised_ce(outputs.logits, label if bias is None else bias, self.hparams["q"]).mean()
        else:
            assert bias is not None
            loss = balanced_softmax(outputs.logits, label, bias, self.prior.to(label.device))
        self.log("train/loss", loss)
        return loss

    def hand_over(self, folder: Path) -> dict[str, object]:
        """Label the bias of every training image, and write `pseudo_bias.csv` and what is known of it."""
        rows = training_scores(self)
        scores = torch.tensor([row["logits"] for row in rows], dtype=torch.float64).softmax(1)[:, 1]
        label = torch.tensor([row["label"] for row in rows])
        threshold = youden_threshold(scores, label)
        bias = (scores > threshold).long()
        path = folder.resolve() / TABLE
        if self.trainer.is_global_zero:
            columns = zip(rows, scores.tolist(), bias.tolist(), strict=True)
            write_csv(path, [{"id": r["id"], "label": r["label"], "score": s, "bias": b} for r, s, b in columns])
            counts = [[int(((bias == b) & (label == c)).sum()) for c in (0, 1)] for b in (0, 1)]
            facts = {"threshold": threshold, "counts_bias_by_label": counts, **self._agreement(rows, bias)}
            write_json(path.with_suffix(".json"), facts)
        return {"pseudo": str(path)}

    def _agreement(self, rows: list[Scores], bias: Tensor) -> dict[str, float]:
        """Compare pseudo with true bias labels, where the data know them: the training never does.

        Of all images the figure is close to 1 even where none of the conflicting ones is recognised.
        """
        name = getattr(self.data, "bias", None)
        if name is None:
            return {}
        known = {item.id: item.groups[name] for item in self.data.cases.parts["train"]}
        right: dict[bool, list[float]] = {True: [], False: []}
        for row, own in zip(rows, bias.tolist(), strict=True):
            right[known[row["id"]] == row["label"]].append(float(own == known[row["id"]]))
        names = {True: "agreement_aligned", False: "agreement_conflict"}
        return {names[side]: sum(values) / len(values) for side, values in right.items() if values}
