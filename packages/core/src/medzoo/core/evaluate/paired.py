"""Two tested runs on the same cases: differences of their figures with intervals from drawing patients."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medzoo.core.errors import DataError
from medzoo.core.evaluate.cases import File, Key, Options, key_columns, key_of
from medzoo.core.evaluate.classes import judge_classes
from medzoo.core.evaluate.judged import Figure, Floats
from medzoo.core.io import Column
from medzoo.core.metrics.classification import intervals

SAMPLES = "samples.csv"
Chosen = Callable[[list[Key]], Figure]
"""Returns the figure of chosen cases."""


@dataclass(frozen=True)
class Tested:
    """What a run's `samples.csv` says.

    Attributes:
        path: The file.
        errors: Of each case; infinite where nothing was found, NaN where there is none.
        patients: Of each case, empty where unknown.
        units: Of the errors of each case; empty where they have none.
        file: The table.
    """

    path: str
    errors: dict[Key, float]
    patients: dict[Key, str]
    units: dict[Key, str]
    file: File


@dataclass(frozen=True)
class Difference:
    """A figure of both runs.

    Attributes:
        part: Source, or `all`.
        figure: Its name.
        cases: How many cases it is of.
        first: Value of the first run.
        second: Value of the second run.
        change: `second − first` with its 95 % interval.
    """

    part: str
    figure: str
    cases: int
    first: float
    second: float
    change: tuple[float, float, float]

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.change[1] > 0 or self.change[2] < 0


def read_tested(path: str) -> Tested:
    """Read the `samples.csv` of a run folder, or of an evaluation's.

    Raises:
        DataError: There is none, it has a case twice, or an error in it is no number.
    """
    if not Path(path).exists():
        raise DataError(path, "does not exist", "check the path")
    place = Path(path) / SAMPLES if Path(path).is_dir() else Path(path)
    if not place.is_file():
        raise DataError(path, f"has no {SAMPLES}", "give the folder of a medzoo test, or run one")
    file = File(str(place))
    if not file.has("error"):
        raise DataError(place, "has no column 'error'", "give the samples.csv of a test or of an evaluation")
    columns = key_columns(file, Options())
    more = [name for name in ("patient", "unit") if file.has(name)]
    rest = [Column("error", optional=True), *(Column(name, optional=True) for name in more)]
    table = file.read([*columns, *rest], [column.name for column in columns])
    tested = Tested(str(place), {}, {}, {}, file)
    for i, row in enumerate(table.rows):
        key = key_of(row, columns)
        try:
            tested.errors[key] = float(row["error"]) if row["error"] != "" else math.nan
        except ValueError as error:
            raise table.error(i, "error", f"is {str(row['error'])[:40]!r}, expected a number", "correct it") from error
        tested.patients[key], tested.units[key] = (str(row.get(name, "")) for name in ("patient", "unit"))
    return tested


def differences(first: Tested, second: Tested, seed: int = 0, resamples: int = 1000) -> list[Difference]:
    """Return the differences of the mean error, and of AUROCs where there are scores, of each source and of all.

    The same patients are drawn for both runs, so that what makes a case hard for both cancels. The mean error is that
    of the cases with a finite one in both.

    Args:
        first: A run.
        second: Another run on cases that the first has too.
        seed: Seed of the draws.
        resamples: Number of draws.

    Raises:
        DataError: The runs have no case in common, or errors in different units.
    """
    keys = [key for key in first.errors if key in second.errors]
    if not keys:
        raise DataError(second.path, f"has no case of {first.path}", "compare two tests on the same images")
    odd = next((key for key in keys if first.units[key] != second.units[key]), None)
    if odd is not None:
        both = f"{second.units[odd] or 'nothing'}, that of {first.path} in {first.units[odd] or 'nothing'}"
        raise DataError(second.path, f"has the error of {odd[1]!r} in {both}", "test both on the same data")
    sources = list(dict.fromkeys(key[0] for key in keys))
    parts = {source or "all": [key for key in keys if key[0] == source] for source in sources}
    if len(sources) > 1 and len({first.units[key] for key in keys}) == 1:
        parts = {"all": keys, **parts}
    patients = {key: first.patients[key] or second.patients[key] for key in keys}
    ranks = [_ranked(tested) for tested in (first, second)]
    ranked = [rank for rank in ranks if rank is not None]
    found = []
    for part, own in parts.items():
        known = [key for key in own if math.isfinite(first.errors[key]) and math.isfinite(second.errors[key])]
        unit = first.units[own[0]]
        figures = [(f"error, {unit}" if unit else "error", known, [_mean(first), _mean(second)])]
        if len(ranked) == 2 and len({key[0] for key in own}) == 1:
            both_ranked = [key for key in own if all(key in places for places, _ in ranked)]
            figures.append(("auroc", both_ranked, [_chosen(places, figure) for places, figure in ranked]))
        for name, cases, (one, other) in figures:
            if cases:
                found.append(_difference(part, name, cases, one(cases), other(cases), patients, seed, resamples))
    return found


def _difference(
    part: str,
    name: str,
    cases: list[Key],
    one: Figure,
    other: Figure,
    patients: Mapping[Key, str],
    seed: int,
    resamples: int,
) -> Difference:
    def change(weights: Floats) -> Floats:
        return other(weights) - one(weights)

    once = np.ones((1, len(cases)))
    owners = np.array([f"{key[0]}\0{patients[key] or key[1]}" for key in cases])
    low, high = intervals(change, owners, seed, resamples)
    values = (float(figure(once)[0, 0]) for figure in (one, other, change))
    before, after, moved = values
    return Difference(part, name, len(cases), before, after, (moved, float(low[0]), float(high[0])))


def _mean(tested: Tested) -> Chosen:
    def of(cases: list[Key]) -> Figure:
        errors = np.array([tested.errors[key] for key in cases])
        return lambda weights: (weights @ errors / weights.sum(1))[:, None]

    return of


def _ranked(tested: Tested) -> tuple[dict[Key, int], Callable[[NDArray[np.intp]], Figure]] | None:
    """Return the places of the cases, and the figure of chosen places whose first column is the AUROC."""
    file = tested.file
    if not file.has("label") or not (file.has("score") or file.starting("p_")):
        return None
    try:
        judged = judge_classes(file, file, file, Options(positive=_positive(file)))
    except DataError:  # labels of one kind only, or points, whose score is of something else
        return None
    return {(str(row["source"]), str(row["id"])): i for i, row in enumerate(judged.rows)}, judged.figure


def _positive(file: File) -> str:
    """Return the label that a single score is of: `X` where the other one is `not X`, as `medzoo evaluate` has it."""
    labels = set(file.read([Column("label", optional=True)]).texts("label"))
    return next((label for label in sorted(labels) if label and f"not {label}" in labels), Options().positive)


def _chosen(places: Mapping[Key, int], figure: Callable[[NDArray[np.intp]], Figure]) -> Chosen:
    def of(cases: list[Key]) -> Figure:
        index: NDArray[np.intp] = np.array([places[key] for key in cases], dtype=np.intp)
        made: Figure = figure(index)
        return lambda weights: made(weights)[:, :1]

    return of
