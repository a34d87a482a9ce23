"""Classification as a Lightning module: the plain method beside which others stand, and the victim of attacks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from medzoo.core.backbones.pretrained import start_from
from medzoo.core.classifier.losses import balanced_weights, classes_loss, labels_loss
from medzoo.core.classifier.network import ClassifierNetwork
from medzoo.core.data.wants import Wants
from medzoo.core.errors import ConfigError
from medzoo.core.method import Method
from medzoo.core.optim.schedules import adamw
from medzoo.core.sample import Batch
from medzoo.core.sides import sides
from medzoo.core.tasks.base import Prediction
from medzoo.core.tasks.classification import (
    ClassificationEvaluation,
    ClassificationOutputs,
    ClassRecord,
    class_columns,
    model_labels,
    predictions,
    write_predictions,
)


class Classifier(Method):
    """Classifies images with any network of timm, into exclusive classes or with several labels.

    Args:
        classes: Names of the classes; empty: those of the data.
        multi_label: Whether several may hold at once; empty: as in the data.
        channels: Channels of the images; empty: as in the data.
        backbone: Network of timm, such as resnet18, convnext_tiny or vit_small_patch16_224.
        weights: File with weights of the timm network; empty: random ones. Nothing is downloaded.
        size: Height and width of the images, one number for a square.
        balanced: Let rare classes (of labels, rare positives) count as much as frequent ones.
        smoothing: Probability that the target spreads over all classes.
        dropout: Part of the features that the head drops in training.
        lr: Highest learning rate of AdamW; it rises over a tenth of the steps and falls to 0 by a cosine.
        epochs: Epochs.
        steps: Steps instead of epochs.
        batch: Images a batch.
    """

    monitor: ClassVar[str] = "val/auroc"
    monitor_mode: ClassVar[str] = "max"

    def __init__(
        self,
        classes: list[str] | None = None,
        multi_label: bool | None = None,
        channels: int | None = None,
        backbone: str = "resnet18",
        weights: str | None = None,
        size: int | list[int] = [224, 224],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        balanced: bool = False,
        smoothing: float = 0.0,
        dropout: float = 0.0,
        lr: float = 1e-3,
        epochs: int = 30,
        steps: int | None = None,
        batch: int = 32,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        for name, value in (("smoothing", smoothing), ("dropout", dropout)):
            if not 0 <= value < 1:
                raise ConfigError(f"--model.{name}: expected 0 to below 1, got {value}")
        self.input_size = sides("model.size", size)
        self.network: ClassifierNetwork | None = None
        self.balance: Tensor | None = None
        self.build()

    def build(self) -> None:
        """Make the network, once classes and channels are known."""
        h = self.hparams
        if not h["classes"] or h["multi_label"] is None or h["channels"] is None:
            return
        if len(h["classes"]) < 2 or len(set(h["classes"])) < len(h["classes"]):
            raise ConfigError(f"--model.classes: expected at least two distinct names, got {h['classes']}")
        try:
            self.network = ClassifierNetwork(
                h["backbone"], h["channels"], len(h["classes"]), self.input_size, h.get("dropout", 0.0)
            )
        except ValueError as error:
            raise ConfigError(f"--model.backbone: {error}") from error

    def wants(self) -> Wants:
        """Annotated images of `size`."""
        return Wants(self.input_size, int(self.hparams["batch"]), labels=True)

    @property
    def data(self) -> Any:
        """The data module of the attached trainer."""
        return getattr(self.trainer, "datamodule", None)

    @property
    def given(self) -> tuple[tuple[str, ...], bool]:
        """Classes of the data, and whether several may hold at once; the model's own where only loaders are given."""
        source = self.data
        return (
            (tuple(self.hparams["classes"]), self.hparams["multi_label"])
            if source is None
            else (source.classes, source.multi_label)
        )

    def configure_model(self) -> None:
        """Take classes and channels from the data where neither an option nor a checkpoint has them."""
        if self.network is None:
            for name in ("classes", "multi_label", "channels"):
                if self.hparams[name] is None:
                    value = getattr(self.data, name)
                    self.hparams[name] = list(value) if name == "classes" else value
            self.build()

    def setup(self, stage: str) -> None:
        """Build the network, and take the weights to start from and those of the classes."""
        if self.data is not None and not hasattr(self.data, "classes"):
            kind = type(self.data).__name__
            raise ConfigError(f"--data: {kind} has no classes; choose a data module of classification of medzoo list")
        self.configure_model()
        assert self.network is not None
        if self.data is not None and self.data.channels != self.hparams["channels"]:
            names = {1: "grey", 3: "colour"}
            have, take = (names.get(n, f"{n} channels") for n in (self.data.channels, self.hparams["channels"]))
            raise ConfigError(f"--data: its images are {have}, the model takes {take}; see --data.colour")
        if stage == "fit" and self.data is not None:
            start_from(self.hparams["weights"], self.fill)
            if self.hparams.get("balanced"):  # a subclass may balance in another way
                have, known = self.data.counts()
                columns = class_columns(self._answer(torch.zeros(0)), *self.given)
                values = torch.ones(len(self.hparams["classes"]))
                values[columns] = torch.tensor(balanced_weights(have, known, self.hparams["multi_label"]))
                self.balance = values

    def fill(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights to start from; a subclass that changed the network says where they belong in it.

        Args:
            weights: Of the timm network as it comes.

        Raises:
            ValueError: A weight is missing or has another shape.
        """
        assert self.network is not None
        self.network.fill(weights)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with warm-up and cosine decay."""
        return adamw(self, self.hparams["lr"])

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits `(B, C)` of images `(B, channels, H, W)` in [0, 1]."""
        assert self.network is not None, "the classes are not known yet; attach data, or give classes"
        logits: Tensor = self.network(image)
        return logits

    def outputs(self, batch: Batch) -> ClassificationOutputs:
        """Return the logits of a batch, with gradients to its images."""
        return self._answer(self(batch["image"]))

    def _answer(self, logits: Tensor) -> ClassificationOutputs:
        return ClassificationOutputs(logits, tuple(self.hparams["classes"]), self.hparams["multi_label"])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Take one batch."""
        outputs = self.outputs(batch)
        label = model_labels(batch["label"], outputs, *self.given)
        loss = labels_loss if outputs.multi_label else classes_loss
        weights = None if self.balance is None else self.balance.to(label.device)
        value = loss(outputs.logits, label, weights, self.hparams["smoothing"])
        self.log("train/loss", value)
        return value

    def new_evaluation(self, stage: Literal["validate", "test"]) -> ClassificationEvaluation:
        """Return an evaluation on the classes of the data; a test has intervals."""
        return ClassificationEvaluation(*self.given, spread=stage == "test")

    def validation_scores(self, scores: Mapping[str, float | Tensor]) -> dict[str, float | Tensor]:
        """Choose the macro figures, each the mean over the sources."""
        names = ("auroc", "ap", "accuracy", "balanced_accuracy", "brier", "ece")
        each = {name: [float(v) for key, v in scores.items() if key.rpartition("/")[2] == name] for name in names}
        return {name: sum(values) / len(values) for name, values in each.items() if values}

    def predictions(self, batch: Batch, outputs: ClassificationOutputs) -> list[Prediction]:
        """Return a record an image."""
        return predictions(batch, outputs)

    def report_predictions(self, records: list[dict[str, object]], folder: Path) -> None:
        """Write `predictions.csv`."""
        write_predictions(cast(list[ClassRecord], records), folder)
