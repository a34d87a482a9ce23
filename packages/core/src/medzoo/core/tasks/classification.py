"""The task of classification, of exclusive classes or of several labels: sample, outputs, evaluation, records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medzoo.core.distributed import gather_all
from medzoo.core.errors import ConfigError
from medzoo.core.io import file_name, write_csv
from medzoo.core.metrics.classification import (
    areas,
    brier,
    calibration,
    calibration_error,
    intervals,
    precisions,
    recalls,
    row_means,
)
from medzoo.core.plots import save
from medzoo.core.plots.classes import confusion, reliability
from medzoo.core.sample import Batch, ImageSample
from medzoo.core.tasks.base import Evaluation, Prediction, identity
from medzoo.core.tasks.finite import places, require_finite
from medzoo.core.values import Row

Floats = NDArray[np.float64]
_SHARE = 0.5  # probability from which one of several labels is given
JOIN = "|"
"""What stands between the labels of a sample in a table."""


class ClassificationSample(ImageSample):
    """An image with its class, or with several labels."""

    label: NotRequired[Tensor]
    """`()` int64, place of the class; or `(C,)` float32 of 0, 1 and NaN where a label was not looked for.

    Absent where images are only to be predicted.
    """


@dataclass
class ClassificationOutputs:
    """What a model gives for a batch.

    Attributes:
        logits: `(B, C)` before softmax (exclusive classes) or sigmoid (labels), with gradients to the images.
        classes: Names of the C classes.
        multi_label: Whether several may hold at once.
    """

    logits: Tensor
    classes: tuple[str, ...]
    multi_label: bool = False

    @property
    def probabilities(self) -> Tensor:
        """`(B, C)`, with gradients."""
        return self.logits.sigmoid() if self.multi_label else self.logits.softmax(dim=1)


class ClassificationEvaluation(Evaluation[ClassificationOutputs]):
    """Judges classes and probabilities, source by source.

    Args:
        classes: Those of the data, which the model must know.
        multi_label: Whether several may hold at once.
        spread: Give intervals, which takes a second a thousand images and class.
        seed: Seed of their draws.
    """

    def __init__(self, classes: Sequence[str], multi_label: bool = False, spread: bool = True, seed: int = 0) -> None:
        self.given, self.multi_label, self.spread, self.seed = tuple(classes), multi_label, spread, seed
        self.classes = self.given
        """Those of the model, once it has answered."""
        self.tested: list[Row] = []
        self.values: list[tuple[list[float], list[float]]] = []
        """Of each sample, probabilities and labels (0, 1, NaN) of the model's classes."""

    def update(self, batch: Batch, outputs: ClassificationOutputs) -> None:
        """Add a batch, see `ClassificationSample`.

        Raises:
            ConfigError: The data have a class that the model does not know, or labels of another kind.
            DataError: An image has a probability that is not finite.
        """
        labels = model_labels(batch["label"].cpu(), outputs, self.given, self.multi_label)
        self.classes = outputs.classes
        if not self.multi_label:
            labels = torch.nn.functional.one_hot(labels, len(self.classes))
        probabilities = outputs.probabilities.detach().double().cpu()
        require_finite(list(probabilities), places(batch))
        for index, (chances, truth) in enumerate(zip(probabilities.tolist(), labels.tolist(), strict=True)):
            called = _called(chances, self.multi_label)
            known = [not math.isnan(value) for value in truth]
            wrong = [(called[i] != (truth[i] == 1)) for i in range(len(truth)) if known[i]]
            error = float(np.mean(wrong)) if wrong else math.nan
            self.tested.append(
                {
                    **identity(batch, index, batch["source"][index] if "source" in batch else "all"),
                    "label": JOIN.join(n for n, value in zip(self.classes, truth, strict=True) if value == 1),
                    "prediction": JOIN.join(n for n, value in zip(self.classes, called, strict=True) if value),
                    "error": error if self.multi_label else float(error > 0),
                    **{f"p_{name}": value for name, value in zip(self.classes, chances, strict=True)},
                    **(_label_cells(self.classes, truth) if self.multi_label else {}),
                }
            )
            self.values.append((chances, truth))

    def compute(self) -> dict[str, float]:
        """Return `<source>/<metric>`; what is not defined, such as the ranking of a class without samples, is left out.

        `accuracy` (of labels, the share of all that were looked for), `balanced_accuracy` (mean sensitivity of the
        classes; of labels, the mean of sensitivity and specificity), `auroc` and `ap`, macro means over the classes
        with their own in `auroc/<class>` and `ap/<class>`, `brier`, `ece`. Accuracies and AUROCs have 95 % intervals
        (`_low`, `_high`) from drawing patients. Of two exclusive classes the second is the positive one: `auroc` and
        `ap` are its own, with `sensitivity` and `specificity`.
        """
        self.tested, self.values = gather_all(self.tested), gather_all(self.values)
        found: dict[str, float] = {}
        for source in dict.fromkeys(str(row["source"]) for row in self.tested):
            rows, chances, labels = self._of(source)
            figures = self._figures(chances, labels, np.array([row["patient"] or row["id"] for row in rows]))
            found |= {f"{source}/{name}": value for name, value in figures.items() if not math.isnan(value)}
        return found

    def rows(self) -> list[Row]:
        """Return a row a sample: label, prediction, error (of labels, the share that is wrong), probabilities."""
        return self.tested

    def report(self, folder: Path) -> None:
        """Write `samples.csv`, and of each source the confusion matrix (a table and a figure) and the reliability."""
        super().report(folder)
        for source in dict.fromkeys(str(row["source"]) for row in self.tested):
            _, chances, labels = self._of(source)
            name = file_name(source)
            confidence, correct = self._claims(chances, labels)
            if len(confidence):
                bins = calibration(confidence, correct)
                save(
                    reliability(*bins, calibration_error(confidence, correct)),
                    folder / f"figures/{name}_reliability.png",
                )
            counts = self.confusion(chances, labels)
            if counts is not None:
                save(confusion(counts, self.classes), folder / f"figures/{name}_confusion.png")
                table = [
                    {"class": n, **dict(zip(self.classes, row, strict=True))}
                    for n, row in zip(self.classes, counts.tolist(), strict=True)
                ]
                write_csv(folder / f"confusion_{name}.csv", table)

    def confusion(self, chances: Floats, labels: Floats) -> NDArray[np.int_] | None:
        """Return `(C, C)` counts of true by predicted classes; None of labels, which are not exclusive."""
        if self.multi_label:
            return None
        counts = np.zeros((len(self.classes),) * 2, dtype=int)
        np.add.at(counts, (np.argmax(labels, axis=1), np.argmax(chances, axis=1)), 1)
        return counts

    def class_sets(self) -> dict[str, list[int]]:
        """Return sets of classes whose mean AUROC is given as `auroc_<name>`; none unless a subclass has some."""
        return {}

    def _of(self, source: str) -> tuple[list[Row], Floats, Floats]:
        """Return rows, probabilities and labels of a source in the order of ids, whatever that of the loader was."""
        chosen = [i for i, row in enumerate(self.tested) if row["source"] == source]
        chosen.sort(key=lambda i: self.tested[i]["id"])
        chances, labels = (np.array([self.values[i][part] for i in chosen], dtype=np.float64) for part in (0, 1))
        return [self.tested[i] for i in chosen], chances, labels

    def _figures(self, chances: Floats, labels: Floats, patients: NDArray[np.str_]) -> dict[str, float]:
        called = np.array([_called(row, self.multi_label) for row in chances.tolist()])
        pair = not self.multi_label and len(self.classes) == 2
        ranked = slice(1, 2) if pair else slice(None)
        sets = {} if pair else self.class_sets()

        def drawn(weights: Floats) -> Floats:
            known = ~np.isnan(labels)
            if self.multi_label:
                right = (called == (labels == 1)) & known
                accuracy = (weights @ right.sum(1)) / (weights @ known.sum(1))
            else:
                accuracy = (weights @ (called & (labels == 1)).any(1)) / weights.sum(1)
            sensitivity, specificity = recalls(called, labels, weights)
            each = (sensitivity + specificity) / 2 if self.multi_label else sensitivity
            area = areas(chances[:, ranked], labels[:, ranked], weights)
            parts = [row_means(area[:, members]) for members in sets.values()]
            return np.column_stack([accuracy, row_means(each), row_means(area), *parts, area])

        once = np.ones((1, len(chances)))
        names = ["accuracy", "balanced_accuracy", "auroc", *(f"auroc_{name}" for name in sets)]
        names += [f"auroc/{name}" for name in self.classes[ranked]]
        bounds = intervals(drawn, patients, self.seed) if self.spread else ()
        columns = [drawn(once)[0], *bounds]
        found = {
            f"{name}{end}": float(value[index])
            for index, name in enumerate(names)
            for end, value in zip(("", "_low", "_high"), columns, strict=False)
        }
        each = precisions(chances[:, ranked], labels[:, ranked])
        found["ap"] = float(row_means(each[None])[0])
        found |= {f"ap/{name}": value for name, value in zip(self.classes[ranked], each.tolist(), strict=True)}
        if pair:
            sensitivity, specificity = recalls(called, labels, once)
            found |= {"sensitivity": float(sensitivity[0, 1]), "specificity": float(specificity[0, 1])}
            own = f"/{self.classes[1]}"  # the positive class's own figures are the macro means
            found = {name: value for name, value in found.items() if own not in name}
        found["brier"] = brier(chances, labels)
        found["ece"] = calibration_error(*self._claims(chances, labels))
        return found

    def _claims(self, chances: Floats, labels: Floats) -> tuple[Floats, Floats]:
        """Return what is claimed with which probability and whether it is true: the top class, or each label."""
        if self.multi_label:
            known = ~np.isnan(labels)
            return chances[known], labels[known]
        top = chances.argmax(axis=1)
        return chances.max(axis=1), labels[np.arange(len(top)), top]


class ClassRecord(TypedDict):
    """The class of one image, or its labels."""

    id: str
    path: str
    prediction: str | list[str]
    probabilities: dict[str, float]


def predictions(batch: Batch, outputs: ClassificationOutputs) -> list[Prediction]:
    """Return the class of each image, or its labels, and all probabilities.

    Raises:
        DataError: An image has a probability that is not finite, which no class can be chosen by.
    """
    probabilities = outputs.probabilities.detach().double().cpu()
    require_finite(list(probabilities), places(batch))
    found = []
    for index, chances in enumerate(probabilities.tolist()):
        called = [name for name, yes in zip(outputs.classes, _called(chances, outputs.multi_label), strict=True) if yes]
        record: ClassRecord = {
            "id": batch["id"][index],
            "path": batch["path"][index],
            "prediction": called if outputs.multi_label else called[0],
            "probabilities": dict(zip(outputs.classes, chances, strict=True)),
        }
        found.append(Prediction(record))
    return found


def write_predictions(records: Sequence[ClassRecord], folder: Path) -> None:
    """Write `predictions.csv`, a row an image: its class or labels, and the probability of each class."""
    rows = [
        {
            "id": record["id"],
            "path": record["path"],
            "prediction": JOIN.join(record["prediction"])
            if isinstance(record["prediction"], list)
            else record["prediction"],
            **{f"p_{name}": value for name, value in record["probabilities"].items()},
        }
        for record in records
    ]
    if rows:
        write_csv(folder / "predictions.csv", rows)


def model_labels(label: Tensor, outputs: ClassificationOutputs, given: Sequence[str], multi_label: bool) -> Tensor:
    """Return labels of data in the model's order of classes, see `class_columns`.

    Args:
        label: `(B,)` int64, or `(B, D)` of 0, 1 and NaN.
        outputs: What the model gives.
        given: Classes of the data.
        multi_label: Whether the data have several labels an image.

    Returns:
        `(B,)` int64, or `(B, C)` float32 with NaN for labels that the data do not have.
    """
    columns = torch.tensor(class_columns(outputs, given, multi_label), device=label.device)
    if not multi_label:
        return columns[label]
    found = torch.full((len(label), len(outputs.classes)), torch.nan, device=label.device)
    found[:, columns] = label.float()
    return found


def class_columns(outputs: ClassificationOutputs, given: Sequence[str], multi_label: bool) -> list[int]:
    """Return, for each class of the data, which of the model's it is; names decide, numbers only by their order.

    Args:
        outputs: What the model gives.
        given: Classes of the data.
        multi_label: Whether the data have several labels an image.

    Raises:
        ConfigError: The data have a class that the model does not know, or labels of another kind.
    """
    known = list(outputs.classes)
    if outputs.multi_label != multi_label:
        kinds = ("one class an image", "several labels an image")
        raise ConfigError(
            f"--data: has {kinds[multi_label]}, the model gives {kinds[outputs.multi_label]}; take another"
        )
    if set(given) <= set(known):
        return [known.index(name) for name in given]
    numbers = all(name.isdigit() for name in given) or all(name.isdigit() for name in known)
    if numbers and len(given) == len(known):
        return list(range(len(known)))
    stray = next(name for name in given if name not in known)
    raise ConfigError(
        f"--data: has a class {stray!r}, the model knows {', '.join(known)}; rename it, or train one on these"
    )


def _called(chances: Sequence[float], multi_label: bool) -> list[bool]:
    """Return which classes are given: the likeliest, or each label from one half on."""
    top = max(range(len(chances)), key=chances.__getitem__)
    return [value >= _SHARE if multi_label else index == top for index, value in enumerate(chances)]


def _label_cells(classes: Sequence[str], truth: Sequence[float]) -> Row:
    pairs = zip(classes, truth, strict=True)
    return {f"label_{name}": "" if math.isnan(value) else int(value) for name, value in pairs}
