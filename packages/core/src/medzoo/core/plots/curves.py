"""Distributions of errors and courses of trainings."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import ArrayLike, NDArray

from medzoo.core.errors import DataError
from medzoo.core.names import csv_text, figure_text
from medzoo.core.plots.figures import CYCLE, style

Errors = NDArray[np.float64]


def error_cdf(errors: Mapping[str, ArrayLike], unit: str, thresholds: Sequence[float] = ()) -> Figure:
    """Draw the share of landmarks whose error is at most x, one line for each domain.

    Args:
        errors: By domain, errors of any shape; infinite where a point was not found, NaN where none was annotated.
        unit: Unit of the errors.
        thresholds: Radii at which success is reported, drawn as upright lines.

    Raises:
        ValueError: No domain, or one without any annotated point.
    """
    if not errors:
        raise ValueError("errors is empty, expected at least one domain")
    ranked = {domain: np.sort(_annotated(values, domain)) for domain, values in errors.items()}
    # Far outliers would squeeze the part of interest: the axis ends at the 98th percentile, or beyond the last radius.
    finite = np.concatenate([values[np.isfinite(values)] for values in ranked.values()])
    reach = float(np.quantile(finite, 0.98)) if len(finite) else 1.0
    limit = max(reach, 1.15 * max(thresholds, default=0.0), 1e-9)
    figure = Figure(figsize=(6.4, 4.2), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    for radius in thresholds:
        axes.axvline(radius, color="0.75", linewidth=1, zorder=0)
        axes.annotate(f"{radius:g}", (radius, 1.0), xytext=(0, 2), textcoords="offset points", ha="center", fontsize=8)
    for index, (domain, values) in enumerate(ranked.items()):
        share = np.arange(len(values) + 1) / len(values)
        label = f"{figure_text(domain)} (median {_short(float(np.median(values)), unit)}, n = {len(values)})"
        steps = np.concatenate(([0.0], np.where(np.isfinite(values), values, 1e30)))  # matplotlib drops infinities
        axes.step(steps, share, where="post", label=label, **style(index))
    axes.set(xlim=(0, limit), ylim=(0, 1), xlabel=f"radial error ({unit})", ylabel="share of landmarks")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(axis="y", color="0.9")
    axes.legend(loc="lower right", fontsize=9)
    return figure


def per_landmark_bars(errors: ArrayLike, names: Sequence[str], unit: str) -> Figure:
    """Draw each landmark's mean error as a bar, with a line from its lower to its upper quartile.

    Args:
        errors: `(N, K)`; infinite where a point was not found (left out, but counted in its label), NaN where none was
            annotated.
        names: K names.
        unit: Unit of the errors.

    Raises:
        ValueError: Shapes that do not fit each other.
    """
    values = np.asarray(errors, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(names):
        raise ValueError(f"errors has shape {values.shape}, expected (N, {len(names)}), a column for each name")
    place = np.arange(len(names))
    found = [column[np.isfinite(column)] for column in values.T]
    mean = np.array([column.mean() if len(column) else np.nan for column in found])
    quartiles = np.array([np.quantile(column, (0.25, 0.75)) if len(column) else (np.nan, np.nan) for column in found])
    missing = np.isposinf(values).sum(axis=0)
    figure = Figure(figsize=(6.4, 1.1 + 0.24 * len(names)), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.barh(place, mean, color=CYCLE[5], height=0.7, label="mean")
    axes.hlines(place, quartiles[:, 0], quartiles[:, 1], color="black", linewidth=1.6, label="quartiles")
    pooled = np.concatenate(found) if found else np.zeros(0)
    if len(pooled):
        axes.axvline(float(pooled.mean()), color=CYCLE[1], linestyle="--", linewidth=1.2, label="mean of all")
    labels = [
        figure_text(f"{name} ({gone} not found)" if gone else name) for name, gone in zip(names, missing, strict=True)
    ]
    axes.set_yticks(place, labels, fontsize=8)
    axes.set(xlabel=f"radial error ({unit})", ylim=(len(names) - 0.4, -0.6), xlim=(0, None))
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper right", fontsize=8, ncols=3)
    return figure


def score_reliability(errors: ArrayLike, scores: ArrayLike, unit: str) -> Figure:
    """Draw how the score of a point is related to its error: errors by tenth of the score, and what abstaining gains.

    On the left the quartiles of the errors in each tenth, the least sure points first. On the right the mean error of
    the surest share of the points, between that of points kept at random and that of the best choice.

    Args:
        errors: Errors of any shape; infinite or NaN ones are left out.
        scores: Higher is surer, of the same shape; NaN ones are left out.
        unit: Unit of the errors.

    Raises:
        ValueError: Shapes differ, or no point has both.
    """
    error, score = (np.asarray(values, dtype=np.float64) for values in (errors, scores))
    if error.shape != score.shape:
        raise ValueError(f"errors and scores must have one shape, got {error.shape} and {score.shape}")
    known = np.isfinite(error) & np.isfinite(score)
    error, score = error[known], score[known]
    if not len(error):
        raise ValueError("no point has both a finite error and a finite score")
    order = np.argsort(score, kind="stable")
    parts = [part for part in np.array_split(error[order], 10) if len(part)]
    # Points of one score cannot be distinguished: each counts with the mean error of all of them.
    _, group = np.unique(-score, return_inverse=True)
    means = np.bincount(group, error) / np.bincount(group)
    kept = np.arange(1, len(error) + 1)
    figure = Figure(figsize=(8.4, 3.6), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2)
    low, middle, high = np.array([np.quantile(part, (0.25, 0.5, 0.75)) for part in parts]).T
    place = np.arange(1, len(parts) + 1)
    left.vlines(place, low, high, color=CYCLE[5], linewidth=5, label="quartiles")
    left.plot(place, middle, "o", color=CYCLE[0], markersize=4, label="median")
    left.set(xlabel="tenth of the score (1: least sure)", ylabel=f"radial error ({unit})", ylim=(0, None))
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    for index, (ranked, label) in enumerate(((means[np.sort(group)], "by score"), (np.sort(error), "best choice"))):
        right.plot(kept / len(error), np.cumsum(ranked) / kept, label=label, **style(index))
    right.axhline(float(error.mean()), color="0.5", linewidth=1.2, linestyle=":", label="at random")
    right.set(
        xlabel="surest share of the points kept", ylabel=f"their mean error ({unit})", ylim=(0, None), xlim=(0, 1)
    )
    right.xaxis.set_major_formatter(PercentFormatter(1.0))
    for axes in (left, right):
        axes.grid(axis="y", color="0.9")
        axes.legend(fontsize=8)
    return figure


def training_curves(table: str | os.PathLike[str] | Mapping[str, ArrayLike]) -> Figure:
    """Draw every quantity of a training over the epochs; those with the same last name share a panel.

    Args:
        table: The `metrics.csv` of a run, or its columns: `epoch` and quantities such as `train/loss`, `val/loss`,
            `val/head/mre_mm` (NaN where not measured).

    Raises:
        DataError: A file that cannot be read as such a table.
        ValueError: Columns without `epoch` or without any quantity.
    """
    columns = _columns(table) if isinstance(table, str | os.PathLike) else table
    values = {name: np.asarray(column, dtype=np.float64) for name, column in columns.items()}
    if "epoch" not in values or len(values) < 2:
        raise ValueError(f"table has the columns {', '.join(values) or 'none'}, expected epoch and at least one more")
    epoch = values.pop("epoch")
    panels: dict[str, list[str]] = {}
    for name in values:
        panels.setdefault(name.rpartition("/")[2], []).append(name)
    across = min(3, len(panels))
    down = math.ceil(len(panels) / across)
    figure = Figure(figsize=(4.6 * across, 3.2 * down), dpi=100, layout="constrained")
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes, (quantity, lines) in zip(grid, panels.items(), strict=False):
        for index, name in enumerate(lines):
            known = np.isfinite(values[name])
            label = figure_text(name.rpartition("/")[0].replace("/", " "))
            # A marker shows a quantity that was measured only once.
            axes.plot(epoch[known] + 1, values[name][known], label=label, marker=".", markersize=4, **style(index))
        axes.set(xlabel="epoch", title=figure_text(quantity))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color="0.9")
        if any(name != quantity for name in lines):
            axes.legend(fontsize=8)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    return figure


def _annotated(values: ArrayLike, domain: str) -> Errors:
    flat = np.asarray(values, dtype=np.float64).ravel()
    flat = flat[~np.isnan(flat)]
    if not len(flat):
        raise ValueError(f"errors of {domain!r} hold no annotated point")
    return flat


def _short(value: float, unit: str) -> str:
    return f"{value:.3g} {unit}" if math.isfinite(value) else "not found"


def _columns(path: str | os.PathLike[str]) -> dict[str, Errors]:
    cure = "give the metrics.csv that a run has written"
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, f"cannot be read as a table ({error})", cure) from error
    if not rows or "epoch" not in rows[0] or len(rows[0]) < 2:
        raise DataError(path, "has no row, no column epoch, or no other column", cure)
    columns: dict[str, Errors] = {}
    for name in rows[0]:
        try:
            columns[csv_text(name)] = np.array([float(row[name] or "nan") for row in rows])
        except (TypeError, ValueError) as error:
            raise DataError(path, f"column {csv_text(name)} holds something that is not a number", cure) from error
    return columns
