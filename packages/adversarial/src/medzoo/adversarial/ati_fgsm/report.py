"""What a test under ATI-FGSM leaves: budgets, convergence, coupling of neighbours, clinical effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

from medzoo.adversarial.ati_fgsm.clinical import measures
from medzoo.core.io import write_csv
from medzoo.core.plots import save
from medzoo.core.sample import Batch
from medzoo.core.tasks.base import Evaluation
from medzoo.core.tasks.landmark_types import LandmarkOutputs
from medzoo.core.tasks.landmarks import LandmarkEvaluation
from medzoo.core.values import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = (0, 1, 5, 10, 20, 50, 100, 150, 200, 250, 300, 400, 600, 1000)
NEAR = 4.0
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Led:
    """A batch of one domain under one attack; distances in the domain's unit.

    Attributes:
        domain: Its name.
        unit: Its unit.
        method: `ati-fgsm` or `ti-fgsm`.
        eps: Budget in image units.
        targeted: `(B, K)` bool, whether a landmark is led away.
        goal: `(B, K)` distance of each point from its goal, or of a stationary one from its clean place.
        truth: `(B, K)` distance from the truth, NaN where nobody knows it.
        clean: `(B, K)` distance of the clean point from the truth.
        apart: `(B, K, K)` distances between the clean points.
        trace: `(steps + 1, B, K)` as `goal`, of the maps' highest pixels.
        places: Clean and attacked points `(B, K, 2)` in the unit.
        names: Of the landmarks.
    """

    domain: str
    unit: str
    method: str
    eps: float
    targeted: Tensor
    goal: Tensor
    truth: Tensor
    clean: Tensor
    apart: Tensor
    trace: Tensor
    places: tuple[Tensor, Tensor]
    names: tuple[str, ...]


class Step(TypedDict):
    """A row of `convergence.csv`: mean distances after some steps."""

    domain: str
    eps: float
    method: str
    unit: str
    step: int
    goal: float
    drift: float


class LedEvaluation(Evaluation[LandmarkOutputs]):
    """The victim's own evaluation of clean images, and what attacks did.

    Args:
        inner: The victim's.
    """

    def __init__(self, inner: LandmarkEvaluation) -> None:
        self.inner = inner
        self.led: list[Led] = []
        self.tables: dict[str, Sequence[Mapping[str, object]]] = {}
        self.steps: list[Step] = []

    def update(self, batch: Batch, outputs: LandmarkOutputs) -> None:
        """Judge clean images."""
        self.inner.update(batch, outputs)

    def rows(self) -> list[Row]:
        """Return the rows of clean images."""
        return self.inner.rows()

    def compute(self) -> dict[str, float | Tensor]:
        """Return the victim's figures and `<domain>/<method>/goal_<unit>`, `…/drift_<unit>` at the largest budget.

        `goal`: mean distance of led landmarks from their goals; `drift`: that of the others from their clean place.
        """
        found: dict[str, float | Tensor] = dict(self.inner.compute())
        groups: dict[tuple[str, float, str], list[Led]] = {}
        for led in self.led:
            groups.setdefault((led.domain, led.eps, led.method), []).append(led)
        budgets = [_budget(parts) for parts in groups.values()]
        self.steps = [row for parts in groups.values() for row in _convergence(parts)]
        self.tables = {
            "budgets": budgets,
            "convergence": self.steps,
            "coupling": [_coupling(parts) for parts in groups.values()],
            "clinical": [row for parts in groups.values() for row in _clinical(parts)],
        }
        largest = max((led.eps for led in self.led), default=0.0)
        for row in budgets:
            if row["eps"] == largest:
                for name in ("goal", "drift"):
                    mean = float(row[f"{name}_mean"])
                    if np.isfinite(mean):
                        found[f"{row['domain']}/{row['method']}/{name}_{row['unit']}"] = mean
        return found

    def report(self, folder: Path) -> None:
        """Write the victim's report, and `budgets.csv`, `convergence.csv`, `coupling.csv`, `clinical.csv`, a figure."""
        self.inner.report(folder)
        for table, rows in self.tables.items():
            if rows:
                write_csv(folder / f"{table}.csv", rows)
        if self.steps:
            save(_curves(self.steps), folder / "figures" / "convergence.png")


def _head(led: Led) -> Row:
    return {"domain": led.domain, "eps": led.eps, "method": led.method, "unit": led.unit}


def _split(parts: Sequence[Led]) -> tuple[Floats, Floats, Floats, Floats]:
    """Return distances of led landmarks from goals, and of the others from clean place, truth, and truth before."""
    led = torch.cat([part.targeted for part in parts]).cpu().numpy()
    goal, truth, clean = (
        torch.cat([getattr(part, name) for part in parts]).double().cpu().numpy() for name in ("goal", "truth", "clean")
    )
    return goal[led], goal[~led], truth[~led], clean[~led]


def _budget(parts: Sequence[Led]) -> Row:
    goal, drift, truth, clean = _split(parts)
    everything = torch.cat([part.clean for part in parts]).double().cpu().numpy()
    return {
        **_head(parts[0]),
        "images": sum(len(part.goal) for part in parts),
        "goal_mean": _mean(goal),
        "goal_median": float(np.median(goal)) if len(goal) else np.nan,
        f"goal_within_{NEAR:g}": float((goal < NEAR).mean()) if len(goal) else np.nan,
        "drift_mean": _mean(drift),
        "drift_median": float(np.median(drift)) if len(drift) else np.nan,
        f"drift_within_{NEAR:g}": float((drift < NEAR).mean()) if len(drift) else np.nan,
        "others_error": _mean(truth),
        "others_error_clean": _mean(clean),
        "error_clean": _mean(everything),
    }


def _convergence(parts: Sequence[Led]) -> list[Step]:
    led = torch.cat([part.targeted for part in parts]).cpu().numpy()
    trace = torch.cat([part.trace for part in parts], dim=1).double().cpu().numpy()
    shown = [step for step in SHOWN if step < len(trace)]
    if len(trace) - 1 not in shown:
        shown.append(len(trace) - 1)
    first = parts[0]
    return [
        {
            "domain": first.domain,
            "eps": first.eps,
            "method": first.method,
            "unit": first.unit,
            "step": step,
            "goal": _mean(trace[step][led]),
            "drift": _mean(trace[step][~led]),
        }
        for step in shown
    ]


def _coupling(parts: Sequence[Led]) -> dict[str, object]:
    """Return rank correlations of a led landmark's distance from its goal with how near its neighbours are."""
    near, near_six, error = [], [], []
    for part in parts:
        count = part.apart.shape[1]
        ranked = part.apart.double().cpu().numpy()
        ranked = np.sort(np.where(np.eye(count, dtype=bool), np.inf, ranked), axis=2)
        led = part.targeted.cpu().numpy()
        near.append(ranked[..., 0][led])
        near_six.append(ranked[..., : min(6, count - 1)].mean(axis=2)[led])
        error.append(part.goal.double().cpu().numpy()[led])
    columns = [np.concatenate(values) for values in (near, near_six, error)]
    found = {}
    for name, values in zip(("nearest", "nearest_six"), columns[:2], strict=True):
        varied = len(values) > 2 and np.ptp(values) > 0 and np.ptp(columns[2]) > 0
        found[name] = float(spearmanr(values, columns[2]).statistic) if varied else np.nan
    return {**_head(parts[0]), "landmarks": len(columns[2]), **found}


def _clinical(parts: Sequence[Led]) -> list[dict[str, object]]:
    before, after = (torch.cat([part.places[i] for part in parts]) for i in (0, 1))
    clean, attacked = measures(parts[0].names, before), measures(parts[0].names, after)
    return [
        {
            **_head(parts[0]),
            "measure": name,
            "clean": float(clean[name].mean()),
            "attacked": float(attacked[name].mean()),
            "change_mean": float((attacked[name] - clean[name]).abs().mean()),
            "change_largest": float((attacked[name] - clean[name]).abs().amax()),
        }
        for name in clean
    ]


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan


def _curves(rows: Sequence[Step]) -> Figure:
    from matplotlib.figure import Figure

    domains = list(dict.fromkeys(row["domain"] for row in rows))
    figure = Figure(figsize=(4.2 * len(domains), 3.4), layout="constrained")
    axes = figure.subplots(1, len(domains), squeeze=False)[0]
    for axis, domain in zip(axes, domains, strict=True):
        own = [row for row in rows if row["domain"] == domain]
        eps = max(row["eps"] for row in own)
        for method, colour in (("ti-fgsm", "C0"), ("ati-fgsm", "C1")):
            line = [row for row in own if row["method"] == method and row["eps"] == eps]
            steps = [row["step"] for row in line]
            axis.plot(steps, [row["goal"] for row in line], "-", color=colour, label=f"{method}: to the goal")
            axis.plot(steps, [row["drift"] for row in line], "--", color=colour, label=f"{method}: drift of the others")
        axis.set(title=f"{domain}, eps {eps:.3g}", xlabel="steps", ylabel=own[0]["unit"])
        axis.legend(fontsize=7)
    return figure
