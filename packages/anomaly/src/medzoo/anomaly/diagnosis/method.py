"""The base of methods in two stages: restore normal records, then diagnose with the encoders that have learnt them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal, Never, Protocol, cast

import torch
from torch import Tensor

from medzoo.anomaly.diagnosis.network import TokenClassifier
from medzoo.anomaly.restoration.losses import normalised, trend_of
from medzoo.anomaly.restoration.network import Restored
from medzoo.anomaly.restoration.printed import PrintedOptions, PrintedRestoration
from medzoo.anomaly.restoration.scoring import cut
from medzoo.core.classifier.losses import asymmetric
from medzoo.core.data.options import Unpack
from medzoo.core.data.wants import Wants
from medzoo.core.errors import CheckpointError, ConfigError
from medzoo.core.method import Method
from medzoo.core.sample import Batch
from medzoo.core.tasks.base import Evaluation, Prediction
from medzoo.core.tasks.classification import (
    ClassificationOutputs,
    ClassRecord,
    model_labels,
    write_predictions,
)
from medzoo.core.tasks.classification import predictions as class_predictions
from medzoo.core.tasks.diagnosis import DiagnosisEvaluation
from medzoo.core.tasks.finite import places, require_finite
from medzoo.core.tasks.signals import SignalOutputs
from medzoo.core.zoo import load_checkpoint

RESTORE, DIAGNOSE = "restore", "diagnose"
PRETRAINED = "restoration.ckpt"
"""File that the first stage leaves for the second."""


class Labelled(Protocol):
    """Data with labels."""

    classes: tuple[str, ...]
    shares: tuple[float, ...]
    """Part of the training records with each label."""


class DiagnosisOptions(PrintedOptions, total=False):
    """The options of `Diagnosis` as types."""

    stage: str
    restore_epochs: int
    restore_lr: float
    pretrained: str | None
    joint: bool
    classes: list[str] | None
    shares: list[float] | None
    positive: float
    negative: float
    margin: float
    diagnosis_weight: float
    width: int
    blocks: int
    kernel: int
    groups: int
    dropout: float


class Diagnosis(PrintedRestoration):
    """Learns to restore normal records without labels, then to diagnose with the same encoders.

    Args:
        stage: `restore`, `diagnose`, or `all`, one after the other.
        restore_epochs: Passes over the normal records in the first stage.
        restore_lr: Learning rate of the first stage.
        pretrained: Checkpoint of ecg-ssl or of the first stage to start the second from; empty: random weights.
        joint: Train the encoders too, with the losses of the first stage beside that of the labels; otherwise they
            stay as they are, and with them scores and maps.
        classes: Names of the labels; empty: those of the data.
        shares: Part of the training records with each label; empty: those of the data.
        positive: Focusing exponent of records with a label.
        negative: Focusing exponent of records without it.
        margin: Probability by which the latter are shifted.
        diagnosis_weight: Weight of the loss of the labels beside those of the first stage.
        width: Channels of the classifier.
        blocks: Blocks of two convolutions of the classifier.
        kernel: Samples of its kernels.
        groups: Groups of its channels.
        dropout: Part of its channels that is dropped in training.
        kwargs: Options of all methods of restoration that learn printed records.
    """

    stages: ClassVar[tuple[str, ...]] = (RESTORE, DIAGNOSE)
    prefixes: ClassVar[dict[str, str]] = {RESTORE: "restore_"}
    by_group: ClassVar[bool] = False
    """Whether a test compares sensitive groups."""

    def __init__(
        self,
        stage: str = "all",
        restore_epochs: int = 50,
        restore_lr: float = 1e-4,
        pretrained: str | None = None,
        joint: bool = True,
        classes: list[str] | None = None,
        shares: list[float] | None = None,
        positive: float = 1.0,
        negative: float = 4.0,
        margin: float = 0.05,
        diagnosis_weight: float = 20.0,
        width: int = 128,
        blocks: int = 16,
        kernel: int = 16,
        groups: int = 32,
        dropout: float = 0.5,
        **kwargs: Unpack[PrintedOptions],
    ) -> None:
        super().__init__(**kwargs)
        self.stage = stage
        if stage not in ("all", *self.stages):
            raise ConfigError(f"--model.stage: expected all, {' or '.join(self.stages)}, got {stage}")
        if width % groups:
            raise ConfigError(f"--model.width: expected a multiple of --model.groups {groups}, got {width}")
        if shares is not None and len(shares) != len(classes or ()):
            raise ConfigError(f"--model.shares: expected one for each of --model.classes, got {len(shares)}")
        self.classifier: TokenClassifier | None = None
        self._make_classifier()

    @property
    def diagnoses(self) -> bool:
        """Whether this stage is the second."""
        return self.stage != RESTORE

    @property
    def data(self) -> Labelled | None:
        """The data module of the attached trainer, where it has labels."""
        found: Labelled | None = getattr(self.trainer, "datamodule", None)
        return found if getattr(found, "classes", ()) else None

    def configure_model(self) -> None:
        """Take the labels from the data where neither an option nor a checkpoint has them.

        Raises:
            ConfigError: The data have none.
        """
        if self.classifier is None and self.stage == DIAGNOSE:
            hp, data = self.hparams, self.data
            if data is None:
                raise ConfigError("--data: has no labels to diagnose; take ecg-diagnoses or alike")
            hp["classes"], hp["shares"] = list(data.classes), list(data.shares)
            self._make_classifier()
        if self.stage == DIAGNOSE and self.hparams["shares"] is None and self.data is not None:
            known = dict(zip(self.data.classes, self.data.shares, strict=True))
            self.hparams["shares"] = [known.get(name, 0.0) for name in self.hparams["classes"]]

    def _make_classifier(self) -> None:
        """Make the classifier of the second stage, once the labels are known."""
        hp = self.hparams
        if self.stage == DIAGNOSE and hp["classes"]:
            sizes = hp["width"], hp["blocks"], hp["kernel"], hp["groups"], hp["dropout"]
            self.classifier = TokenClassifier(2 * hp["hidden"], len(hp["classes"]), *sizes)
            if not hp["joint"]:
                self.net.requires_grad_(False)
                self.head.requires_grad_(False)

    def setup(self, stage: str) -> None:
        """Take the weights of the first stage.

        Raises:
            CheckpointError: The checkpoint is of another model or size.
        """
        self.configure_model()
        path = self.hparams["pretrained"]
        if stage == "fit" and self.diagnoses and path:
            given = load_checkpoint(path)
            if not isinstance(given, PrintedRestoration):
                raise CheckpointError(f"--model.pretrained {path}: is of {type(given).__name__}, expected ecg-ssl")
            try:
                self.net.load_state_dict(given.net.state_dict())
                self.head.load_state_dict(given.head.state_dict())
            except RuntimeError as error:
                raise CheckpointError(
                    f"--model.pretrained {path}: has other sizes; give the same length, beat, widths, hidden, tail, "
                    "head and printout"
                ) from error
            self.threshold.copy_(given.threshold)
            self.point_threshold.copy_(given.point_threshold)
        if stage == "fit":
            self.train()  # Lightning takes the modes as it finds them

    def hand_over(self, folder: Path) -> dict[str, object]:
        """Write the weights for the second stage."""
        path = folder.resolve() / PRETRAINED
        self.trainer.save_checkpoint(path)
        return {"pretrained": str(path)}

    def wants(self) -> Wants:
        """Return those of all restoration, and in the second stage labels."""
        return replace(super().wants(), labels=self.diagnoses)

    def train(self, mode: bool = True) -> Diagnosis:
        """Switch to training, where what is frozen stays in evaluation mode."""
        super().train(mode)
        if mode and self.diagnoses and not self.hparams["joint"]:
            self.net.eval()
            self.head.eval()
        return self

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Restore, diagnose, or both."""
        if not self.diagnoses or self.hparams["joint"]:
            return super().training_step(batch, batch_idx)
        records = self.shown(self.records(batch))
        starts = [self.random_start(beats) for beats in batch["beats"]]
        with torch.no_grad():
            tokens = torch.cat([self._tokens(x, s) for x, s in zip(records, starts, strict=True)])
        loss = self._diagnosis_loss(tokens, batch)
        self.log("train/loss", loss, batch_size=len(records))
        return loss

    def more_losses(self, made: Restored, batch: Batch) -> dict[str, Tensor]:
        """Return the losses on attributes and, in the second stage, on labels."""
        losses = super().more_losses(made, batch)
        return losses | ({"diagnosis": self._diagnosis_loss(made.tokens, batch)} if self.diagnoses else {})

    def _diagnosis_loss(self, tokens: Tensor, batch: Batch) -> Tensor:
        hp, outputs = self.hparams, self._answer(self._classified(tokens))
        label = model_labels(batch["label"], outputs, self.given, True)
        each = asymmetric(outputs.logits, label, hp["negative"], hp["positive"], hp["margin"], through_focus=False)
        loss: Tensor = hp["diagnosis_weight"] * each.mean()
        return loss

    def _classified(self, tokens: Tensor) -> Tensor:
        assert self.classifier is not None, "the labels are not known yet; attach data, or give classes"
        logits: Tensor = self.classifier(tokens)
        return logits

    def _answer(self, logits: Tensor) -> ClassificationOutputs:
        return ClassificationOutputs(logits, tuple(self.hparams["classes"]), True)

    @property
    def given(self) -> tuple[str, ...]:
        """Labels of the data, the model's own where only loaders are given."""
        data = self.data
        return tuple(self.hparams["classes"] if data is None else data.classes)

    def _tokens(self, record: Tensor, starts: Tensor) -> Tensor:
        """Return the tokens `(N, 2 hidden, n)` of a record `(L, T)` in mV beside each of N beats, nothing masked."""
        hp = self.hparams
        seen = normalised(record[None], hp["norm"])
        parts = normalised(cut(record, starts, hp["beat"]), hp["norm"])
        count = len(parts)
        own = self.net.record_encoder(seen).expand(count, -1, -1)
        slope = self.net.trend_encoder(trend_of(seen, self.trend)).expand(count, -1, -1)
        return torch.cat([self.net.exchange(own, self.net.beat_encoder(parts))[0], slope], dim=1)

    def outputs(self, batch: Batch) -> SignalOutputs | ClassificationOutputs:
        """Return scores and maps in the first stage, in the second the logits, each the mean over beats."""
        if not self.diagnoses:
            return super().outputs(batch)
        logits = []
        for record, beats in zip(self.shown(self.records(batch)), batch["beats"], strict=True):
            logits.append(self._classified(self._tokens(record, self.scored_starts(beats))).mean(0))
        require_finite([each.mean() for each in logits], places(batch))
        return self._answer(torch.stack(logits))

    def new_evaluation(self, stage: Literal["validate", "test"]) -> Evaluation[Never] | None:
        """Return an evaluation on anomalies, in the second stage on labels."""
        if not self.diagnoses:
            return super().new_evaluation(stage)
        shares = dict(zip(self.hparams["classes"], self.hparams["shares"], strict=True))
        return DiagnosisEvaluation(self.given, shares, stage == "test", self.by_group and stage == "test")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score normal records for the threshold, in the second stage judge labels too."""
        if not self.diagnoses:
            super().validation_step(batch, batch_idx)
            return
        self.note_normal(self.scored(batch), (batch["label"] == 0).all(1))  # not where a label was not looked for
        Method.validation_step(self, batch, batch_idx)  # judges labels; that of restoration scores alone

    def on_validation_epoch_end(self) -> None:
        """Choose the threshold, in the second stage log the figures of labels too."""
        super().on_validation_epoch_end()
        if self.evaluation is not None:
            chosen = ("auroc", *(f"auroc_{tier}" for tier in ("common", "uncommon", "rare")))
            for key, value in self.evaluation.compute().items():
                if key.rpartition("/")[2] in chosen and not math.isnan(float(value)):
                    self.log(f"val/{key}", value)
            self.evaluation = None

    def predictions(self, batch: Batch, outputs: SignalOutputs | ClassificationOutputs) -> list[Prediction]:
        """Return score and map of each record, in the second stage its labels too."""
        if isinstance(outputs, SignalOutputs):
            return super().predictions(batch, outputs)
        scored = super().predictions(batch, self.scored(batch))
        labels = class_predictions(batch, outputs)
        return [Prediction({**s.record, **c.record}, s.save) for s, c in zip(scored, labels, strict=True)]

    def report_predictions(self, records: list[dict[str, object]], folder: Path) -> None:
        """Write `predictions.csv` in the second stage."""
        if self.diagnoses:
            write_predictions(cast(list[ClassRecord], records), folder)
