"""Classification judged group by group, beside all that the task shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medzoo.core.io import write_csv
from medzoo.core.metrics.group_figures import OneVersusRest, one_versus_rest, shortcut_auc, utopia_distance
from medzoo.core.tasks.classification import ClassificationEvaluation, Floats
from medzoo.core.values import Row

GAPS = ("accuracy_gap", "auc_gap", "dp_gap", "dp_variation", "eodd_max", "eodd_mean", "eopp0_gap", "eopp1_gap")
"""The comparisons of groups in the results, each the mean over the classes."""
HEAD, TAIL = 0.05, 0.01
"""A label is of the head from this share of the training images on, of the tail below that."""


class GroupEvaluation(ClassificationEvaluation):
    """Judges classes and probabilities, source by source and group by group.

    Args:
        classes: Those of the data, which the model must know.
        multi_label: Whether several may hold at once.
        spread: Give intervals.
        group_names: Values of each sensitive attribute, in the order of their numbers; without them, the numbers.
        bias: Attribute with two groups that goes with one of two classes in training, whose aligned and conflicting
            cases are told apart.
        minimum: Cases of a class that a group needs to take part in a gap.
        shares: Part of the training images that have each label, for the figures of a long tail.
    """

    def __init__(
        self,
        classes: Sequence[str],
        multi_label: bool = False,
        spread: bool = True,
        group_names: Mapping[str, Sequence[str]] | None = None,
        bias: str | None = None,
        minimum: int = 10,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(classes, multi_label, spread)
        self.group_names, self.bias, self.minimum = dict(group_names or {}), bias, minimum
        self.shares = dict(shares or {})
        self.by_group: list[Row] = []
        """After `compute`, a row a source, attribute and group."""

    def compute(self) -> dict[str, float]:
        """Return what the task shows, and `<source>/<attribute>/<figure>` of every sensitive attribute.

        A figure is a gap of `GAPS`, `pqd`, `eom`, `worst_accuracy`, `worst_auc` or `utopia` (distance of overall
        and worst-group AUC to 1), or `accuracy`, `auc`, `tpr` and `tnr` of a group as `<figure>/<group>`. Rates are
        those of the given class; of two classes the second is the positive one, of several they are means over all
        classes one against the rest. With a bias, `aligned_auc`, `conflict_auc` and `balanced_auc`. What has no value
        is left out.

        Of several labels there is the mean average precision of those of the `head` (in 5 % of the training images and
        more), the `middle` and the `tail` (in less than 1 %), as `<source>/head_ap` and so on.
        """
        found = dict(super().compute())
        self.by_group = []
        for source in dict.fromkeys(str(row["source"]) for row in self.tested):
            rows, chances, labels = self._of(source)
            names = sorted({key for row in rows for key in row if key.startswith("group_")})
            if self.multi_label:
                found |= self._by_frequency(source, found)
            for name in names:
                codes = np.array([row.get(name, -1) for row in rows], dtype=np.int64)
                found |= self._attribute(source, name.removeprefix("group_"), chances, labels, codes)
        return found

    def _by_frequency(self, source: str, figures: Mapping[str, float]) -> dict[str, float]:
        parts: dict[str, list[float]] = {}
        for name, share in self.shares.items():
            value = figures.get(f"{source}/ap/{name}")
            if value is not None:
                parts.setdefault("head" if share >= HEAD else "tail" if share < TAIL else "middle", []).append(value)
        return {f"{source}/{part}_ap": sum(values) / len(values) for part, values in parts.items()}

    def _attribute(
        self, source: str, name: str, chances: Floats, labels: Floats, codes: NDArray[np.int64]
    ) -> dict[str, float]:
        values = self.group_names.get(name) or [str(code) for code in range(int(codes.max(initial=-1)) + 1)]
        pair = not self.multi_label and len(self.classes) == 2
        columns = slice(1, 2) if pair else slice(None)
        called = chances >= 0.5 if self.multi_label else np.eye(len(self.classes), dtype=bool)[chances.argmax(1)]
        compared = one_versus_rest(
            chances[:, columns], called[:, columns], labels[:, columns], codes, len(values), self.minimum,
            exclusive=not self.multi_label and not pair,
        )  # fmt: skip
        figures = _gaps(compared)
        for g, value in enumerate(values):
            each = {"accuracy": float(compared.accuracy[g])}
            each |= {key: _mean(compared.values[key][g]) for key in ("auc", "tpr", "tnr")}
            self.by_group.append(
                {"source": source, "attribute": name, "group": value, "cases": int(compared.cases[g]), **each}
            )
            figures |= {f"{key}/{value}": figure for key, figure in each.items()}
        unknown = int((codes < 0).sum())
        if unknown:
            self.by_group.append({"source": source, "attribute": name, "group": "unknown", "cases": unknown})
        if pair and name == self.bias:
            areas = shortcut_auc(chances[:, 1], labels[:, 1], codes)
            figures |= {f"{side}_auc": area for side, area in areas.items()}
        return {f"{source}/{name}/{key}": value for key, value in figures.items() if not math.isnan(value)}

    def report(self, folder: Path) -> None:
        """Write what the task writes, and `groups.csv`, a row a source, attribute and group."""
        super().report(folder)
        if self.by_group:
            columns = list(dict.fromkeys(key for row in self.by_group for key in row))
            write_csv(folder / "groups.csv", self.by_group, columns)


def _gaps(compared: OneVersusRest) -> dict[str, float]:
    valid = compared.compared_accuracy
    gaps = compared.mean_gaps | {"accuracy_gap": float(np.ptp(valid)) if len(valid) > 1 else math.nan}
    figures = {name: gaps[name] for name in GAPS if name in gaps}
    figures |= {"pqd": compared.pqd, "eom": compared.eom}
    figures["worst_accuracy"] = float(valid.min()) if len(valid) > 1 else math.nan
    worst = _mean(compared.gaps["worst_auc"])
    figures["worst_auc"] = worst
    figures["utopia"] = utopia_distance(_mean(compared.overall_auc), worst)
    return figures


def _mean(values: Floats) -> float:
    valid = values[~np.isnan(values)]
    return float(valid.mean()) if len(valid) else math.nan
