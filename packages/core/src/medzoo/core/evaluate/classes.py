"""Classes: a score of one of two, probabilities of several, or of labels that may hold together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medzoo.core.errors import DataError
from medzoo.core.evaluate.cases import File, Key, Options, about, facts_of, join, key_columns, key_of
from medzoo.core.evaluate.judged import Figure, Floats, Judged
from medzoo.core.io import Column
from medzoo.core.metrics.classification import areas, recalls, row_means


def judge_classes(predictions: File, truth: File, cases: File, options: Options) -> Judged:
    """Return how often classes are right and how well scores rank.

    Predictions have columns `p_CLASS` (as medzoo writes them), or one column with the score of the positive class. The
    truth has the class in one column; of labels that may hold together it has a column `label_NAME` each, of 0, 1 or
    nothing.

    Args:
        predictions: Table of scores.
        truth: Table of classes.
        cases: Table with patients and groups.
        options: Names of columns, the threshold.

    Raises:
        ConfigError: A column is missing.
        DataError: A class of the truth has no probability, or a score is missing.
    """
    names = predictions.starting("p_")
    several = bool(names) and bool(set(truth.starting("label_")) & set(names))
    if not names:
        predictions.need("--score", options.score)
    columns = [f"p_{name}" for name in names] or [options.score]
    keys = key_columns(predictions, options)
    table = predictions.read([*keys, *(Column(name, "number") for name in columns)], [key.name for key in keys])
    if several:
        classes = tuple(name for name in names if truth.has(f"label_{name}"))
        columns = [f"p_{name}" for name in classes]
    else:
        classes = tuple(names) or (f"not {options.positive}", options.positive)
    scores = {key_of(row, keys): [float(row[name]) for name in columns] for row in table.rows}
    if not names:
        scores = {key: [-value, value] for key, (value,) in scores.items()}
    labels = _labels(truth, classes, options) if several else _classes(truth, classes, options, exact=bool(names))
    joined = join(scores, labels, predictions.path)
    facts = about(cases, options)
    chances, targets = (np.array(part, dtype=np.float64) for part in (joined.predicted, joined.truth))
    called = _called(chances, several, not names, options.threshold)
    rows = []
    for i, key in enumerate(joined.keys):
        wrong = (called[i] != (targets[i] == 1))[~np.isnan(targets[i])]
        answer = {
            "label": "|".join(n for n, t in zip(classes, targets[i], strict=True) if t == 1),
            "prediction": "|".join(n for n, c in zip(classes, called[i], strict=True) if c),
            "error": float(wrong.mean()) if several and len(wrong) else float(wrong.any()),
        }
        values = chances[i].tolist()
        score = {f"p_{n}": v for n, v in zip(classes, values, strict=True)} if names else {"score": values[1]}
        rows.append({"id": key[1], "source": key[0], **facts_of(facts, key, options.groups), **answer, **score})
    pair = not several and len(classes) == 2
    figures = ("auroc", "accuracy", *(("sensitivity", "specificity") if pair else ("balanced_accuracy",)))
    figures += tuple(f"auroc/{name}" for name in classes) if not pair else ()

    def chosen(index: NDArray[np.intp]) -> Figure:
        return _figure(chances[index], targets[index], called[index], several)

    return Judged(rows, figures, chosen, joined.unpredicted, joined.unknown)


def unpaired(predictions: File, truth: File) -> list[str]:
    """Return the labels that only one of two tables has, where they have some in common."""
    pairs = ((predictions, "p_"), (truth, "label_"))
    guessed, known = ({name.casefold() for name in file.starting(prefix)} for file, prefix in pairs)
    return sorted(guessed ^ known) if guessed & known else []


def _labels(truth: File, classes: tuple[str, ...], options: Options) -> dict[Key, list[float]]:
    keys = key_columns(truth, options)
    columns = [Column(f"label_{name}", "number", optional=True, low=0, high=1) for name in classes]
    table = truth.read([*keys, *columns], [key.name for key in keys])
    for column in columns:
        for place, row in enumerate(table.rows):
            if 0 < float(row[column.name]) < 1:
                raise table.error(place, column.name, f"is {row[column.name]}, expected 0, 1 or nothing", "correct it")
    return {key_of(row, keys): [float(row[f"label_{name}"]) for name in classes] for row in table.rows}


def _classes(truth: File, classes: tuple[str, ...], options: Options, exact: bool) -> dict[Key, list[float]]:
    keys, label = key_columns(truth, options), truth.need("--label", options.label)
    table = truth.read([*keys, Column(label, optional=True)], [key.name for key in keys])
    found: dict[Key, list[float]] = {}
    for place, row in enumerate(table.rows):
        name = str(row[label])
        if not name:
            continue  # nobody knows
        if exact and name not in classes:
            raise table.error(place, label, f"{name!r} is no class that is predicted", f"use {', '.join(classes)}")
        target = classes.index(name) if exact else int(name == options.positive)
        found[key_of(row, keys)] = [float(k == target) for k in range(len(classes))]
    values = [target[-1] for target in found.values()]
    if not exact and (not values or min(values) == max(values)):
        problem = f"has {'nothing but rows' if any(values) else 'no row'} whose {label} is {options.positive!r}"
        raise DataError(truth.path, problem, "name the class that the score is of by --positive NAME")
    return found


def _called(chances: Floats, several: bool, single: bool, threshold: float) -> NDArray[np.bool_]:
    """Return which classes are given: labels and a single score from the threshold on, else the likeliest class."""
    if several:
        return np.asarray(chances >= threshold)
    if single:
        positive = chances[:, 1] >= threshold
        return np.stack([~positive, positive], axis=1)
    return np.asarray(chances.argmax(axis=1)[:, None] == np.arange(chances.shape[1]))


def _figure(chances: Floats, targets: Floats, called: NDArray[np.bool_], several: bool) -> Figure:
    known = ~np.isnan(targets)
    right = (called == (targets == 1)) & known
    pair = not several and targets.shape[1] == 2

    def figure(weights: Floats) -> Floats:
        sensitivity, specificity = recalls(called, targets, weights)
        area = areas(chances, targets, weights)
        with np.errstate(invalid="ignore"):
            if several:
                accuracy = (weights @ right.sum(1)) / (weights @ known.sum(1))
            else:
                accuracy = (weights @ right.all(1)) / weights.sum(1)
        if pair:
            return np.column_stack([area[:, 1], accuracy, sensitivity[:, 1], specificity[:, 1]])
        balanced = (sensitivity + specificity) / 2 if several else sensitivity
        return np.column_stack([row_means(area), accuracy, row_means(balanced), area])

    return figure
