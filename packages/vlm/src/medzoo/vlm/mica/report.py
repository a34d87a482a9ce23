"""Diagnoses and the concepts that they come from: outputs, evaluation with interventions, records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medzoo.core.io import write_csv
from medzoo.core.sample import Batch
from medzoo.core.tasks.base import Evaluation, Prediction
from medzoo.core.tasks.classification import ClassificationEvaluation, ClassificationOutputs, predictions
from medzoo.core.values import Row
from medzoo.vlm.mica.labels import part
from medzoo.vlm.mica.network import intervene

FIGURES = ("auroc", "ap", "accuracy", "balanced_accuracy")


@dataclass
class BottleneckOutputs(ClassificationOutputs):
    """What the bottleneck gives for a batch; `logits` are those of the diagnoses.

    Attributes:
        concepts: `(B, K)` logits of the concepts.
        concept_names: Their names.
    """

    concepts: Tensor = field(default_factory=lambda: torch.zeros(0))
    concept_names: tuple[str, ...] = ()


class BottleneckEvaluation(Evaluation[ClassificationOutputs]):
    """Judges diagnoses, concepts, and diagnoses after an expert has corrected concepts.

    Args:
        classes: Labels of the data, diagnoses and concepts among them.
        concepts: Names of the concepts.
        diagnoses: Names of the diagnoses.
        diagnose: Returns logits of diagnoses for probabilities of the concepts.
        spread: Give intervals of the diagnoses.
    """

    def __init__(
        self,
        classes: Sequence[str],
        concepts: Sequence[str],
        diagnoses: Sequence[str],
        diagnose: Callable[[Tensor], Tensor],
        spread: bool = True,
    ) -> None:
        self.classes, self.names, self.diagnoses, self.diagnose = classes, tuple(concepts), tuple(diagnoses), diagnose
        self.main = ClassificationEvaluation(self.diagnoses, True, spread)
        self.concepts = ClassificationEvaluation(self.names, True, False)
        counts = range(len(self.names) + 1) if spread else (len(self.names),)
        self.intervened = {count: ClassificationEvaluation(self.diagnoses, True, False) for count in counts}
        self.curve: list[Row] = []

    def update(self, batch: Batch, outputs: ClassificationOutputs) -> None:
        """Add a batch with `label` `(B, len(classes))`."""
        assert isinstance(outputs, BottleneckOutputs)
        truth = part(batch["label"], self.classes, self.names).to(outputs.concepts)
        diagnoses: Any = {**batch, "label": part(batch["label"], self.classes, self.diagnoses)}
        self.main.update(diagnoses, outputs)
        self.concepts.update({**batch, "label": truth}, ClassificationOutputs(outputs.concepts, self.names, True))
        for count, evaluation in self.intervened.items():
            corrected = intervene(outputs.concepts.detach().sigmoid(), truth, count)
            logits = self.diagnose(corrected).detach()
            evaluation.update(diagnoses, ClassificationOutputs(logits, self.diagnoses, True))

    def compute(self) -> dict[str, float]:
        """Return the figures of the diagnoses, of the `concepts`, and `intervened` with all concepts corrected."""
        found = self.main.compute()
        for key, value in self.concepts.compute().items():
            source, _, figure = key.partition("/")
            if figure in FIGURES:
                found[f"{source}/concepts/{figure}"] = value
        self.curve = []
        for count, evaluation in self.intervened.items():
            figures = evaluation.compute()
            for source in dict.fromkeys(key.partition("/")[0] for key in figures):
                own = {name: figures[f"{source}/{name}"] for name in FIGURES if f"{source}/{name}" in figures}
                self.curve.append({"source": source, "corrected": count, **own})
                if count == len(self.names):
                    found |= {f"{source}/intervened/{name}": value for name, value in own.items()}
        return found

    def rows(self) -> list[Row]:
        """Return a row a sample, with the probabilities of the concepts behind those of the diagnoses."""
        return [
            {**row, **{key: value for key, value in concepts.items() if key.startswith("p_")}}
            for row, concepts in zip(self.main.rows(), self.concepts.rows(), strict=True)
        ]

    def report(self, folder: Path) -> None:
        """Write what classifications do, with concepts in `samples.csv`, and `interventions.csv`."""
        self.main.report(folder)
        super().report(folder)
        write_csv(folder / "interventions.csv", self.curve)


def bottleneck_predictions(batch: Batch, outputs: ClassificationOutputs) -> list[Prediction]:
    """Return the diagnoses of each image, and the probabilities of the concepts that they come from."""
    found = predictions(batch, outputs)
    if not isinstance(outputs, BottleneckOutputs):
        return found
    each = outputs.concepts.detach().sigmoid().double().cpu().tolist()
    named = [dict(zip(outputs.concept_names, chances, strict=True)) for chances in each]
    return [replace(one, record={**one.record, "concepts": own}) for one, own in zip(found, named, strict=True)]
