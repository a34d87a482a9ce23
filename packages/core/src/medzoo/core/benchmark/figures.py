"""From the results of cells to a table: mean and spread over seeds, and what lies outside that of an earlier table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict

import numpy as np
from scipy.special import stdtrit

from medzoo.core.benchmark.plan import Cell

HEADLINES = (
    "mre_mm",
    "mre_px",
    "image_auroc",
    "pixel_auroc",
    "dice",
    "auroc_in_organ",
    "auroc",
    "balanced_accuracy",
)
"""Figures that are shown and compared, of each source, or of `mean` or `all` where there is one."""
LEVEL = 0.99
TOLERANCE = {"metric": 0.005, "speed": 0.5, "memory_mb": 0.1}
"""Relative changes that are never marked: rounding on another processor, other work on the machine, other libraries."""


Measure = Literal["speed", "memory_mb", "gpu_memory_mb", "seconds"]
MEASURES: tuple[Measure, ...] = ("speed", "memory_mb", "gpu_memory_mb", "seconds")


class Result(TypedDict):
    """What a cell left that ended well, with status `ok`, or failed, with an error."""

    status: Literal["ok", "failed"]
    error: NotRequired[str]
    metrics: NotRequired[dict[str, float | None]]
    seconds: NotRequired[float]
    samples_per_second: NotRequired[float]
    reference_samples_per_second: NotRequired[float]
    speed: NotRequired[float]
    memory_mb: NotRequired[float]
    gpu_memory_mb: NotRequired[float]
    device: NotRequired[str]
    versions: NotRequired[dict[str, str]]


class Spread(TypedDict):
    """Values over seeds; the standard deviation is None of one value."""

    mean: float
    sd: float | None
    values: list[float]


class Row(TypedDict):
    """A model on a data module."""

    model: str
    data: str
    seeds: list[int]
    metrics: dict[str, Spread]
    speed: NotRequired[Spread]
    memory_mb: NotRequired[Spread]
    gpu_memory_mb: NotRequired[Spread]
    seconds: NotRequired[Spread]


class Report(TypedDict):
    """What `benchmark.json` holds."""

    schema: str
    medzoo: str
    commit: str | None
    date: str
    command: str
    budget: str
    arguments: list[str]
    device: str | None
    versions: dict[str, str]
    rows: list[Row]
    failed: dict[str, str]
    waiting: list[str]


@dataclass(frozen=True)
class Mark:
    """A figure outside the spread of the earlier table; NaN where it is no longer there."""

    model: str
    data: str
    figure: str
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        value = "not there" if math.isnan(self.value) else f"{self.value:.4g}"
        return (
            f"{self.model} on {self.data}: {self.figure} is {value}, "
            f"outside {self.low:.4g} to {self.high:.4g} of the baseline"
        )


def headlines(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Return the figures of a run that a table shows: `HEADLINES` where it has one, else all that are finite.

    Args:
        metrics: Those of `results.json`; None where one is not finite.
    """
    known = {name: value for name, value in metrics.items() if value is not None and math.isfinite(value)}
    chosen = [name for name in known if name.count("/") == 1 and name.partition("/")[2] in HEADLINES]
    whole = [name for name in chosen if name.startswith(("mean/", "all/", "voxels/"))]
    return {name: known[name] for name in whole or chosen or known}


def summary(results: Mapping[Cell, Result]) -> list[Row]:
    """Return a row for each model and data module: seeds, figures, speed, memory and seconds, each with its spread.

    Args:
        results: What the cells that ended well left.
    """
    rows: list[Row] = []
    for model, data in dict.fromkeys((cell.model, cell.data) for cell in results):
        own = {cell.seed: result for cell, result in results.items() if (cell.model, cell.data) == (model, data)}
        shown = [headlines(result["metrics"]) for result in own.values()]
        names = [name for name in shown[0] if all(name in part for part in shown)]
        row: Row = {
            "model": model,
            "data": data,
            "seeds": list(own),
            "metrics": {name: spread([part[name] for part in shown]) for name in names},
        }
        for key in MEASURES:
            if all(key in result for result in own.values()):
                row[key] = spread([result[key] for result in own.values()])
        rows.append(row)
    return rows


def spread(values: Sequence[float]) -> Spread:
    """Return values with their mean and standard deviation (`n − 1`; None of one value)."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "sd": sd, "values": [float(value) for value in values]}


def compare(rows: Sequence[Row], earlier: Sequence[Row], speed: bool) -> tuple[list[Mark], int]:
    """Return the figures that lie outside the seed spread of an earlier table, and how many were compared.

    A mean is marked where it differs from the earlier one by more than seeds explain, which is the 99 % interval of
    Student's two-sample test with pooled variance, and by more than `TOLERANCE`. Of speed only a lower, of memory only
    a higher value counts. A metric that is no longer there (it was not finite with some seed) is marked; models and
    metrics that the earlier table lacks are not compared.

    Args:
        rows: See `summary`.
        earlier: Likewise.
        speed: Whether to compare speed too.
    """
    known = {(row["model"], row["data"]): row for row in earlier}
    found, compared = [], 0
    for row in rows:
        old = known.get((row["model"], row["data"]))
        if old is None:
            continue
        pairs = [(n, "metric", new, old["metrics"][n]) for n, new in row["metrics"].items() if n in old["metrics"]]
        for name in sorted(old["metrics"].keys() - row["metrics"].keys()):
            values = old["metrics"][name]["values"]
            found.append(Mark(row["model"], row["data"], name, math.nan, *limits(values, values, TOLERANCE["metric"])))
        pairs += [(key, key, row[key], old[key]) for key in MEASURES[:2] if key in row and key in old]
        for name, kind, new, base in pairs:
            if kind == "speed" and not speed:
                continue
            compared += kind == "metric"
            low, high = limits(new["values"], base["values"], TOLERANCE[kind])
            low, high = (-math.inf if kind == "memory_mb" else low), (math.inf if kind == "speed" else high)
            if not low <= new["mean"] <= high:
                found.append(Mark(row["model"], row["data"], name, new["mean"], low, high))
    return found, compared


def limits(values: Sequence[float], earlier: Sequence[float], tolerance: float) -> tuple[float, float]:
    """Return the smallest and largest mean that other seeds, or a relative change within the tolerance, explain.

    Args:
        values: Over the seeds of now.
        earlier: Over those of the earlier table.
        tolerance: Relative change of the mean that is let pass.
    """
    centre, free = float(np.mean(earlier)), len(values) + len(earlier) - 2
    half = tolerance * abs(centre)
    if free > 0:
        squares = sum(float(np.square(np.subtract(part, np.mean(part))).sum()) for part in (values, earlier))
        error = math.sqrt(squares / free * (1 / len(values) + 1 / len(earlier)))
        half = max(half, float(stdtrit(free, (1 + LEVEL) / 2)) * error)
    return centre - half, centre + half
