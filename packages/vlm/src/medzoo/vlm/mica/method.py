"""A method of image and text that learns from labels and their names: what it asks for, and how it is judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Never, cast

import torch
from torch import Tensor

from medzoo.core.sample import Batch
from medzoo.core.tasks.base import Evaluation, Prediction
from medzoo.core.tasks.classification import (
    ClassificationEvaluation,
    ClassificationOutputs,
    ClassRecord,
    write_predictions,
)
from medzoo.vlm.method import ImageTextMethod
from medzoo.vlm.mica.labels import caption, known_labels, part
from medzoo.vlm.mica.report import bottleneck_predictions
from medzoo.vlm.processor import ReportWants
from medzoo.vlm.text.encoder import TextFeatures


class ConceptMethod(ImageTextMethod):
    """Trained on images with labels, which are concepts or diagnoses; its captions are the names of concepts.

    A subclass has the arguments `concepts`, `diagnoses` and `channels`, and defines `build`.
    """

    monitor: ClassVar[str] = "val/auroc"
    _named: TextFeatures | None = None

    def build(self) -> None:
        """Make what depends on the labels."""
        raise NotImplementedError

    def wants(self) -> ReportWants:
        """Images of `size` with labels."""
        return ReportWants(self.processor.size, int(self.hparams["batch"]), labels=True, processor=self.processor)

    def captions(self) -> list[str]:
        """Return the caption of each concept alone."""
        return [caption([name], [1.0]) for name in self.hparams["concepts"]]

    def corpus(self) -> list[str]:
        """Return the captions that a vocabulary is made of."""
        return [*self.captions(), caption([], [])]

    def called_classes(self) -> Sequence[str]:
        """Return no class: prompts are called by no threshold."""
        return ()

    def configure_model(self) -> None:
        """Take concepts from the labels of the data, and the vocabulary from their names.

        Raises:
            ConfigError: The data have no labels that may hold together, or none of a diagnosis' name.
        """
        h = self.hparams
        if h["concepts"] is None:
            h["concepts"] = known_labels(self.data, h["diagnoses"])
            h["channels"] = self.data.channels
            self.build()
        super().configure_model()

    def concepts_of(self, batch: Batch) -> Tensor:
        """Return the concepts of a batch, `(B, K)` of 0, 1 and NaN."""
        return part(batch["label"], self.data.classes, self.hparams["concepts"])

    @torch.no_grad()
    def features_of_training(self) -> tuple[Tensor, Tensor]:
        """Return features and concept labels of all training images, with the network as it is."""
        self.eval()
        features, labels = [], []
        for batch in self.data.plain_dataloader("train"):
            features.append(self.encode_image(batch["image"]).globals)
            labels.append(self.concepts_of(batch))
        self.train()
        return torch.cat(features), torch.cat(labels)

    def _prepare(self, part: str | None) -> None:
        """Encode the captions of the concepts, once."""
        with torch.no_grad():
            self._named = self.encode_text(self.captions())

    def outputs(self, batch: Batch) -> Any:
        """Return the logits of the concepts by their names."""
        assert self._named is not None, "the concepts are not encoded yet; test or predict with a trainer"
        found = self.similarity(self.encode_image(batch["image"]), self._named)
        return ClassificationOutputs(found, tuple(self.hparams["concepts"]), True)

    def new_evaluation(self, stage: Literal["validate", "test"]) -> Evaluation[Never]:
        """Return an evaluation of the labels of the data that are concepts."""
        return OfConcepts(self.data.classes, self.hparams["concepts"], stage == "test")

    def validation_scores(self, scores: Mapping[str, float | Tensor]) -> dict[str, float | Tensor]:
        """Choose the macro figures, each the mean over the sources."""
        each = {
            n: [float(v) for k, v in scores.items() if k.count("/") == 1 and k.endswith(f"/{n}")]
            for n in ("auroc", "ap")
        }
        return {name: sum(values) / len(values) for name, values in each.items() if values}

    def predictions(self, batch: Batch, outputs: Any) -> list[Prediction]:
        """Return a record an image."""
        return bottleneck_predictions(batch, outputs)

    def report_predictions(self, records: list[dict[str, object]], folder: Path) -> None:
        """Write `predictions.csv`."""
        write_predictions(cast(list[ClassRecord], records), folder)


class OfConcepts(ClassificationEvaluation):
    """Judges concepts among the labels of data.

    Args:
        classes: Labels of the data.
        concepts: Those that are judged.
        spread: Give intervals.
    """

    def __init__(self, classes: Sequence[str], concepts: Sequence[str], spread: bool) -> None:
        super().__init__(concepts, True, spread)
        self.columns = tuple(classes)

    def update(self, batch: Batch, outputs: ClassificationOutputs) -> None:
        """Add a batch with `label` `(B, len(classes))`."""
        super().update({**batch, "label": part(batch["label"], self.columns, self.given)}, outputs)
