"""Figures of classifiers: which classes are taken for which, and whether probabilities hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medzoo.core.names import figure_text
from medzoo.core.plots.figures import CYCLE

_LONGEST = 18  # characters of a name


def confusion(counts: NDArray[np.int_], names: Sequence[str]) -> Figure:
    """Draw a confusion matrix: each row a true class, shaded by its share.

    Args:
        counts: `(C, C)`, true classes by predicted ones.
        names: The classes.
    """
    side = 2.4 + 0.5 * len(names)
    figure = Figure(figsize=(side, side), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        colour = "white" if shares[row, column] > 0.6 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=9)
    labels = [figure_text(name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…") for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), labels)
    axes.set(xlabel="predicted", ylabel="true")
    return figure


def reliability(
    count: NDArray[np.float64], claimed: NDArray[np.float64], found: NDArray[np.float64], error: float
) -> Figure:
    """Draw how often what was claimed is true, against the probability it was claimed with.

    Args:
        count: `(bins,)` values a bin, see `medzoo.core.metrics.classification.calibration`.
        claimed: `(bins,)` mean probability.
        found: `(bins,)` share that is true.
        error: Expected calibration error, for the title.
    """
    figure = Figure(figsize=(4.4, 4.6), dpi=100, layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    filled = count > 0
    upper.plot((0, 1), (0, 1), color="0.6", linewidth=1, linestyle=":")
    upper.plot(claimed[filled], found[filled], "o-", color=CYCLE[0], markersize=4)
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that is true", title=f"calibration error {error:.3f}")
    edges = (np.arange(len(count)) + 0.5) / len(count)
    lower.bar(edges, count, width=0.9 / len(count), color=CYCLE[5])
    lower.set(xlabel="probability", ylabel="values")
    for axes in (upper, lower):
        axes.grid(color="0.9")
        axes.set_axisbelow(True)
    return figure
