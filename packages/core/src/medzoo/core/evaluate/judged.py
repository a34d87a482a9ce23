"""What all tasks have in common once predictions lie beside the truth: a row a case, figures with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medzoo.core.metrics.classification import intervals

Floats = NDArray[np.float64]
Figure = Callable[[Floats], Floats]
"""Maps weights `(R, N)` of the cases in R draws to figures `(R, F)`, NaN where a draw has none."""
UNKNOWN = "unknown"
Row = dict[str, str | float]
"""A case, by column."""


@dataclass(frozen=True)
class Judged:
    """Cases with their errors.

    Attributes:
        rows: A row a case for `samples.csv`: id, source, patient, `group_…`, error, and what else the task has.
        names: Of the F figures.
        figure: Returns the figures of chosen cases, given their places.
        unpredicted: Cases of the truth without a prediction.
        unknown: Predictions that the truth does not have.
    """

    rows: list[Row]
    names: tuple[str, ...]
    figure: Callable[[NDArray[np.intp]], Figure]
    unpredicted: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """Some of the cases: all, those of a source, or those of a group.

    Attributes:
        title: `all`, the source, or `sex=f`.
        cases: How many they are.
        patients: Of how many patients.
        figures: Value and 95 % interval by name.
    """

    title: str
    cases: int
    patients: int
    figures: dict[str, tuple[float, float, float]]


def parts(judged: Judged, groups: Sequence[str], seed: int = 0, resamples: int = 1000) -> list[Part]:
    """Return the figures of all cases, of each source where there are several, and of each group.

    Intervals are percentiles of draws of whole patients with replacement; a case without a patient is one of its own.

    Args:
        judged: The cases.
        groups: Attributes, as in the columns `group_…`.
        seed: Seed of the draws.
        resamples: Number of draws.
    """
    rows = judged.rows
    chosen: dict[str, list[int]] = {"all": list(range(len(rows)))}
    sources = dict.fromkeys(row["source"] for row in rows)
    for source in sources if len(sources) > 1 else ():
        chosen[str(source)] = [i for i, row in enumerate(rows) if row["source"] == source]
    for name in groups:
        for value in sorted({str(row[f"group_{name}"]) for row in rows}, key=lambda value: (value == UNKNOWN, value)):
            chosen[f"{name}={value}"] = [i for i, row in enumerate(rows) if row[f"group_{name}"] == value]
    owners = np.array([f"{row['source']}\0{row['patient'] or row['id']}" for row in rows])
    found = []
    for title, places in chosen.items():
        index = np.array(places, dtype=np.intp)
        figure = judged.figure(index)
        value = figure(np.ones((1, len(index))))[0]
        low, high = intervals(figure, owners[index], seed, resamples)
        both = zip(judged.names, zip(value.tolist(), low.tolist(), high.tolist(), strict=True), strict=True)
        found.append(Part(title, len(index), len(set(owners[index])), dict(both)))
    return found


def lines(found: Sequence[Part]) -> list[str]:
    """Return a table for the terminal: a line a part, a column a figure with its interval."""
    names = [name for name in found[0].figures if not math.isnan(found[0].figures[name][0])]
    cells = [["", "cases", "patients", *names]]
    for part in found:
        shown = [text(*part.figures[name]) for name in names]
        cells.append([part.title, str(part.cases), str(part.patients), *shown])
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def text(value: float, low: float, high: float) -> str:
    """Return a value with its interval; `–` where there is none."""
    if math.isnan(value):
        return "–"
    return f"{value:.4g}" + ("" if math.isnan(low) else f" [{low:.4g}, {high:.4g}]")
