"""What an attack leaves: a table by budget, a row an image and budget, curves, examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from medzoo.adversarial.attack.callback import Example
from medzoo.adversarial.attack.change import draw_change
from medzoo.core.io import figure_text, write_csv
from medzoo.core.metrics.segmentation import group_interval
from medzoo.core.plots import save
from medzoo.core.values import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Attempt:
    """A test at one budget, or under one corruption.

    Attributes:
        label: What tells it from the others: `eps`, the budget in image units, or `corruption` and `severity`.
        metrics: Figures of the model's own evaluation on the attacked images.
        rows: A row an image.
        examples: Clean and attacked images, and the answers for them.
    """

    label: Row
    metrics: Mapping[str, float]
    rows: Sequence[Row] = ()
    examples: Sequence[Example] = field(default_factory=list)

    def figures(self) -> Row:
        """Return label, share of images that come out wrong and its interval, the share once saved, sizes, metrics."""
        own: Row = dict(self.label)
        if self.rows:
            known = [row for row in self.rows if not np.isnan(row["success"])] or self.rows
            success = torch.tensor([row["success"] for row in known])
            _, patient = np.unique([row["patient"] or row["id"] for row in known], return_inverse=True)
            low, high = group_interval(success, torch.from_numpy(np.asarray(patient)))
            own |= {"success": float(success.mean()), "success_low": low, "success_high": high}
            own["success_rounded"] = float(np.mean([row["success_rounded"] for row in known]))
            own |= {name: float(np.mean([row[name] for row in self.rows])) for name in ("linf", "l2", "queries")}
        return own | dict(self.metrics)


def write_report(attempts: Sequence[Attempt], folder: Path) -> None:
    """Write `attack.csv`, `samples.csv`, `figures/curves.png`, `figures/examples_*.png`; of corruptions their means.

    Args:
        attempts: By budget, the clean images first.
        folder: The run folder.
    """
    table = [attempt.figures() for attempt in attempts]
    write_csv(folder / "attack.csv", table, list(dict.fromkeys(name for row in table for name in row)))
    rows = [{**attempt.label, **row} for attempt in attempts for row in attempt.rows]
    write_csv(folder / "samples.csv", rows, list(dict.fromkeys(name for row in rows for name in row)))
    save(_curves(table), folder / "figures" / "curves.png")
    if "severity" in attempts[0].label:
        write_csv(folder / "corruptions.csv", mean_of_corruptions(attempts))
    for number, attempt in enumerate(attempts):
        if attempt.examples:
            save(_pictures(attempt), folder / "figures" / f"examples_{number}.png")


def main_metric(names: Sequence[str]) -> str | None:
    """Return the figure that the curve shows beside the success: an error, an AUROC or a Dice, the first there is."""
    wanted = ("mre_mm", "mre_px", "accuracy", "image_auroc", "dice")
    return next((name for end in wanted for name in names if name.rpartition("/")[2] == end), None)


def mean_of_corruptions(attempts: Sequence[Attempt]) -> list[Row]:
    """Return for each corruption, and for all, the means over severities of all figures.

    Args:
        attempts: Under corruptions; others are left out.
    """
    table = [attempt.figures() for attempt in attempts if attempt.label.get("severity")]
    kinds = list(dict.fromkeys(row["corruption"] for row in table))
    rows = []
    for kind in [*kinds, "all"]:
        own = [row for row in table if kind in (row["corruption"], "all")]
        names = [name for name in own[0] if name not in ("corruption", "severity", "success_low", "success_high")]
        rows.append({"corruption": kind, **{n: float(np.mean([row.get(n, np.nan) for row in own])) for n in names}})
    return rows


def _curves(table: Sequence[Row]) -> Figure:
    """Draw success and main figure against the budget, or against the severity with a line for each corruption."""
    from matplotlib.figure import Figure

    metric = main_metric(list(table[-1]))
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots(1, 2)
    clean, *others = table
    along = "severity" if "severity" in clean else "eps"
    for kind in dict.fromkeys(row.get("corruption", "") for row in others):
        own = [clean, *(row for row in others if row.get("corruption", "") == kind)]
        for axis, name in zip(axes, ("success", metric or ""), strict=True):
            known = [row for row in own if name in row]
            axis.plot([row[along] for row in known], [row[name] for row in known], marker="o", label=kind)
            if name == "success" and not kind:
                ends = [[row[f"success_{end}"] for row in known] for end in ("low", "high")]
                axis.fill_between([row[along] for row in known], *ends, alpha=0.2)
    axes[0].set(ylabel="share of images that come out wrong", ylim=(-0.05, 1.05))
    axes[1].set(ylabel=figure_text(metric or ""))
    for axis in axes:
        axis.set(xlabel="severity" if along == "severity" else "budget, image units")
    if along == "severity":
        axes[1].legend(fontsize=5)
    return figure


def _pictures(attempt: Attempt) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 2.6 * len(attempt.examples)), layout="constrained")
    axes = figure.subplots(len(attempt.examples), 4, squeeze=False)
    for row, example in zip(axes, attempt.examples, strict=True):
        before, after = (image.numpy().mean(0) for image in (example.clean, example.attacked))
        if before.ndim == 3:  # a volume: the slice that changed most
            at = int(np.abs(after - before).sum((1, 2)).argmax())
            before, after = before[at], after[at]
        change = after - before
        largest = float(np.abs(change).max())
        most = largest or 1.0
        for axis, picture in ((row[0], before), (row[2], after)):
            axis.imshow(picture, cmap="gray", vmin=before.min(), vmax=before.max())
        row[1].imshow(change, cmap="coolwarm", vmin=-most, vmax=most)
        titles = (example.name, f"change, largest {largest:.3g}", "attacked")
        for axis, title in zip(row, titles, strict=False):
            axis.set_title(figure_text(title), fontsize=8)
            axis.set_axis_off()
        draw_change(row[3], example.before, example.after, after)
    return figure
