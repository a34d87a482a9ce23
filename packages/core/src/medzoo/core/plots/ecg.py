"""Signals on the grid of electrocardiogram paper: 25 mm a second, 10 mm a millivolt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medzoo.core.names import figure_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SPEED, _GAIN = 25.0, 10.0  # mm a second, mm a millivolt
_ROW, _MARGIN, _INCH = 20.0, 8.0, 25.4  # mm
_COLUMN = 0.25
"""Width of a column of shade in mm, about a pixel."""
_THIN, _THICK, _KNOWN = "#f6d5d5", "#e9a3a3", "#56B4E9"


def ecg_paper(
    signal: NDArray[np.float32],
    rate: float,
    leads: Sequence[str],
    score: NDArray[np.float32] | None = None,
    mask: NDArray[np.bool_] | None = None,
    title: str = "",
) -> Figure:
    """Draw a record in its true size, a lead a row, small squares of 1 mm (40 ms, 0.1 mV), large ones of 5 mm.

    Args:
        signal: `(L, T)` in mV.
        rate: Samples a second.
        leads: Names, `L`.
        score: `(L, T)`, larger is more abnormal; shaded behind the line, darkest at the record's largest.
        mask: `(L, T)`, a bar below the line where the record is known to be abnormal.
        title: Above the picture.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    count, length = signal.shape
    width, height = length / rate * _SPEED, count * _ROW
    figure = Figure(figsize=((width + 2 * _MARGIN) / _INCH, (height + 2 * _MARGIN) / _INCH), dpi=100)
    ax = figure.add_axes(
        (
            _MARGIN / (width + 2 * _MARGIN),
            _MARGIN / (height + 2 * _MARGIN),
            width / (width + 2 * _MARGIN),
            height / (height + 2 * _MARGIN),
        )
    )
    ax.set_xlim(0, width)
    ax.set_ylim(-height, 0)
    for step, colour, thickness in ((1.0, _THIN, 0.3), (5.0, _THICK, 0.5)):
        columns = [((x, -height), (x, 0.0)) for x in np.arange(0, width + 1e-6, step)]
        rows = [((0.0, -y), (width, -y)) for y in np.arange(0, height + 1e-6, step)]
        ax.add_collection(LineCollection(columns + rows, colors=colour, linewidths=thickness, zorder=0))
    time = np.arange(length) / rate * _SPEED
    top = float(score.max()) if score is not None else 0.0
    if score is not None and top > 0:
        # Of what falls on a pixel the largest, so that nothing narrow is lost; one picture for all leads, for speed.
        starts = np.unique(np.arange(round(width / _COLUMN)) * length // max(1, round(width / _COLUMN)))
        shade = np.clip(np.maximum.reduceat(score, starts, axis=1) / top, 0, 1)
        ax.imshow(
            shade, extent=(0, width, -height, 0), aspect="auto", interpolation="nearest", cmap="Oranges", vmin=0,
            vmax=1, alpha=0.6, zorder=1,
        )  # fmt: skip
    for row, name in enumerate(leads):
        middle = -(row + 0.5) * _ROW
        if mask is not None and mask[row].any():
            ax.fill_between(time, middle - 9.5, middle - 8.5, where=mask[row].tolist(), color=_KNOWN, zorder=2)
        ax.plot(time, middle + _GAIN * (signal[row] - np.median(signal[row])), color="black", linewidth=0.6, zorder=3)
        ax.text(1, middle + 6, figure_text(name), fontsize=7, zorder=4)
    ax.set_xlim(0, width)
    ax.set_ylim(-height, 0)
    ax.set_axis_off()
    figure.suptitle(figure_text(title), fontsize=9)
    return figure
