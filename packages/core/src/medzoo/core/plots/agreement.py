"""How far two ways of measuring agree."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from medzoo.core.plots.figures import CYCLE


def bland_altman(pairs: Mapping[str, tuple[ArrayLike, ArrayLike]], unit: str) -> Figure:
    """Draw predicted − true over their mean, a panel a measure, with bias and limits of agreement (Bland, Altman 1986).

    The limits are 1.96 standard deviations to either side of the bias. Pairs with a NaN are left out.

    Args:
        pairs: Predicted and true values by the measure's name, `(N,)` each.
        unit: Of all values.

    Raises:
        ValueError: There is no measure.
    """
    if not pairs:
        raise ValueError("expected one measure at least")
    columns = min(3, len(pairs))
    rows = math.ceil(len(pairs) / columns)
    figure = Figure(figsize=(3.6 * columns, 2.9 * rows), layout="constrained")
    for number, (name, (predicted, true)) in enumerate(pairs.items(), 1):
        a, b = np.asarray(predicted, float), np.asarray(true, float)
        known = np.isfinite(a) & np.isfinite(b)
        mean, off = (a + b)[known] / 2, (a - b)[known]
        axes = figure.add_subplot(rows, columns, number)
        axes.scatter(mean, off, s=14, color=CYCLE[0])
        axes.set_title(name, fontsize=9)
        axes.set_xlabel(f"mean of both ({unit})", fontsize=8)
        axes.set_ylabel(f"predicted − true ({unit})", fontsize=8)
        if len(off):
            bias, limit = float(off.mean()), 1.96 * float(off.std(ddof=1)) if len(off) > 1 else math.nan
            axes.axhline(bias, color=CYCLE[6], linewidth=1)
            for border in (bias - limit, bias + limit):
                if math.isfinite(border):
                    axes.axhline(border, color=CYCLE[1], linewidth=1, linestyle="--")
            spread = f" ± {limit:.2f}" if math.isfinite(limit) else ""
            axes.set_title(f"{name}: {bias:+.2f}{spread} {unit}, n = {len(off)}", fontsize=9)
    return figure
