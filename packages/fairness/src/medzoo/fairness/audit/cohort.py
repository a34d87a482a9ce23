"""Reading a table of predictions: checked columns, exclusions that are counted, patients as numbers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io import Column, Table, read_table
from medzoo.core.io.columns import columns_of
from medzoo.core.spelling import nearest
from medzoo.fairness.audit.attributes import Attribute, Groups, group


@dataclass(frozen=True)
class Columns:
    """Names of the columns that an audit reads; `positive` is the label that counts as 1, where labels are names."""

    label: str
    score: str
    patient: str | None = None
    id: str | None = None
    positive: str | None = None


@dataclass(frozen=True)
class Cohort:
    """The cases that are audited.

    Attributes:
        path: The file.
        sha256: Of the file's bytes.
        rows: Rows of the file.
        excluded: Why rows were left out, and how many.
        scores: `(N,)` probabilities of label 1.
        labels: `(N,)`, 0 or 1.
        patients: Number of each case's patient, `(N,)`, by the order of their names, and after them those of cases
            without a name, each a patient of its own; None where not given.
        patient_names: Of the patients that have one, in order.
        groups: By attribute.
    """

    path: str
    sha256: str
    rows: int
    excluded: dict[str, int]
    scores: NDArray[np.float64]
    labels: NDArray[np.int8]
    patients: NDArray[np.int64] | None
    patient_names: tuple[str, ...]
    groups: tuple[Groups, ...]

    @property
    def alone(self) -> int:
        """Cases that have no name in the column of patients."""
        return 0 if self.patients is None else int((self.patients >= len(self.patient_names)).sum())

    def judged(self, groups: Groups) -> Cohort:
        """Return the cohort with the scores by which the groups of one attribute are judged."""
        return self if groups.scores is None else replace(self, scores=groups.scores)


def read_cohort(path: str, columns: Columns, attributes: Sequence[str]) -> Cohort:
    """Read the cases; rows without a label are left out and counted.

    Raises:
        ConfigError: A column or the positive label is missing; the nearest one is named.
        DataError: A label is neither 0 nor 1, the score of a labelled case is no probability, an id is repeated, one
            class is missing.
    """
    if Path(path).is_dir():
        raise DataError(path, "is a folder", "give a table, such as samples.csv in it")
    if not Path(path).exists():
        raise DataError(path, "does not exist", "check the path")
    header = columns_of(path)
    known = {name.casefold(): name for name in header}
    parsed = [Attribute.parse(text, header) for text in attributes]
    asked = [("--label", columns.label), ("--score", columns.score), ("--patient", columns.patient)]
    asked += [("--id", columns.id), *(("--group", part.column) for a in parsed for part in a.parts)]
    for flag, name in asked:
        if name is not None and name.casefold() not in known:
            near = nearest(name, header)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(header[:20])}"
            raise ConfigError(f"{flag} {name}: {path} has no such column; {hint}")
    if columns.label.casefold() == columns.score.casefold():
        raise ConfigError(f"--label and --score are both {columns.label}; give the true label and the predicted score")
    wanted = {
        columns.label: Column(columns.label, optional=True),
        columns.score: Column(columns.score, "number", optional=True, low=0, high=1),
    }
    for name, optional in ((columns.id, False), (columns.patient, True)):
        if name is not None:
            wanted.setdefault(name, Column(name, optional=optional))
    for attribute in parsed:
        for part in attribute.parts:
            if part.column.casefold() in (columns.label.casefold(), columns.score.casefold()):
                raise ConfigError(
                    f"--group {part.column}: is the label or the score; give an attribute of the patients"
                )
            wanted.setdefault(part.column, Column(part.column, optional=True))
    table = read_table(path, list(wanted.values()), unique=(columns.id,) if columns.id else ())
    if not len(table):
        raise DataError(path, "has no rows below its header", "give a table of predictions")
    return _cohort(path, table, columns, parsed)


def _cohort(path: str, table: Table, columns: Columns, attributes: Sequence[Attribute]) -> Cohort:
    labels, scores = _labels(path, table, columns), table.numbers(columns.score)
    keep = np.flatnonzero(~np.isnan(labels))
    unscored = keep[np.isnan(scores[keep])]
    if len(unscored):
        problem = f"{columns.score} is empty, expected a number from 0 to 1"
        raise table.error(int(unscored[0]), columns.score, problem, "fill it in, or leave the label empty too")
    classes, scores = labels[keep].astype(np.int8), scores[keep]
    for value, what in ((1, "positives"), (0, "negatives")):
        if not (classes == value).any():
            problem = f"has no {what} among {len(keep)} rows with a label in column {columns.label!r}"
            raise DataError(path, problem, "give a table with cases of both labels")
    patients: NDArray[np.int64] | None = None
    names: tuple[str, ...] = ()
    if columns.patient:
        patients, names = _patients([str(table.rows[row][columns.patient]) for row in keep], scores, classes)
    groups = tuple(group(table, attribute, keep) for attribute in attributes)
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    excluded = {"without a label": len(table) - len(keep)}
    return Cohort(path, digest, len(table), excluded, scores, classes, patients, names, groups)


def _labels(path: str, table: Table, columns: Columns) -> NDArray[np.float64]:
    """Return 0, 1 or NaN (empty) of each row."""
    texts = table.texts(columns.label)
    if columns.positive is not None:
        if columns.positive not in texts:
            near = nearest(columns.positive, sorted(set(texts)))
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(sorted(set(texts) - {''})[:20])}"
            raise ConfigError(f"--positive {columns.positive}: no row has it in column {columns.label!r}; {hint}")
        return np.array([float(text == columns.positive) if text else math.nan for text in texts])
    known = {"": math.nan}
    for row, text in enumerate(texts):
        if text in known:
            continue
        try:
            number = float(text.replace(",", "."))
        except ValueError:
            problem = f"{columns.label} is {text[:40]!r}, expected a number"
            cure = "map the labels to 0 and 1, or say which of them counts as 1 with --positive NAME"
            raise table.error(row, columns.label, problem, cure) from None
        if number not in (0, 1):
            problem = f"{columns.label} is {number:g}, expected 0 or 1"
            raise table.error(row, columns.label, problem, "map the labels to 0 and 1, and leave uncertain ones empty")
        known[text] = number
    return np.array([known[text] for text in texts], dtype=np.float64)


def _patients(
    whose: Sequence[str], scores: NDArray[np.float64], classes: NDArray[np.int8]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the number of each case's patient and the names; cases without a name are numbered by what they are."""
    names = tuple(sorted(set(whose) - {""}))
    numbers = {name: number for number, name in enumerate(names)}
    patients = np.array([numbers.get(name, -1) for name in whose], dtype=np.int64)
    alone = np.flatnonzero(patients < 0)
    order = alone[np.lexsort((classes[alone], scores[alone]))]  # whatever the order of rows
    patients[order] = len(names) + np.arange(len(order))
    return patients, names
