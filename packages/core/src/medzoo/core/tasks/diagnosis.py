"""The task of diagnosing signals with several labels: common and rare ones apart, and group by group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medzoo.core.io import write_csv
from medzoo.core.metrics.classification import areas, intervals, row_means
from medzoo.core.tasks.classification import ClassificationEvaluation, Floats
from medzoo.core.values import Row

TIERS = ("common", "uncommon", "rare")


def tiers(shares: Mapping[str, float]) -> dict[str, str]:
    """Return the tier of each class: the most frequent third is common, the least frequent rare.

    Where the borders lie in the papers is not public.

    Args:
        shares: Part of the training records that has each class.
    """
    order = sorted(shares, key=lambda name: -shares[name])
    parts = np.array_split(np.arange(len(order)), len(TIERS))
    return {order[i]: tier for tier, part in zip(TIERS, parts, strict=True) for i in part.tolist()}


class DiagnosisEvaluation(ClassificationEvaluation):
    """Judges labels, source by source, tier by tier, and where asked group by group.

    Args:
        classes: Those of the data, which the model must know.
        shares: Part of the training records that has each class.
        spread: Give intervals.
        by_group: Compare the groups of each sensitive attribute, too.
        minimum: Records with a class, and without, that every group needs for the class to take part.
    """

    def __init__(
        self,
        classes: Sequence[str],
        shares: Mapping[str, float],
        spread: bool = True,
        by_group: bool = False,
        minimum: int = 10,
    ) -> None:
        super().__init__(classes, multi_label=True, spread=spread)
        self.tiers, self.by_group, self.minimum = tiers(shares), by_group, minimum
        self.groups: list[Row] = []
        """After `compute`, a row a source, attribute and group."""

    def class_sets(self) -> dict[str, list[int]]:
        """Return the places of the classes of each tier."""
        return {tier: self._members(tier) for tier in TIERS if self._members(tier)}

    def _members(self, tier: str) -> list[int]:
        return [index for index, name in enumerate(self.classes) if self.tiers.get(name) == tier]

    def compute(self) -> dict[str, float]:
        """Return what the task shows, and `<source>/<attribute>/auroc_gap` (largest less smallest of the groups).

        The tiers' mean AUROCs are `auroc_common`, `auroc_uncommon` and `auroc_rare`, means over their classes and never
        of pooled ones.
        """
        found, self.groups = dict(super().compute()), []
        for source in dict.fromkeys(str(row["source"]) for row in self.tested if self.by_group):
            rows, chances, labels = self._of(source)
            patients = np.array([row["patient"] or row["id"] for row in rows])
            for name in sorted({key for row in rows for key in row if key.startswith("group_")}):
                codes = np.array([row.get(name, -1) for row in rows], dtype=np.int64)
                own = compared(chances, labels, codes, patients, self.minimum)
                attribute = name.removeprefix("group_")
                self.groups += [{"source": source, "attribute": attribute, **row} for row in own]
                values = [float(row["auroc"]) for row in own if not math.isnan(float(row["auroc"]))]
                if len(values) > 1:
                    found[f"{source}/{attribute}/auroc_gap"] = max(values) - min(values)
        return found

    def report(self, folder: Path) -> None:
        """Write what the task writes, `tiers.csv`, and where groups are compared `groups.csv`."""
        super().report(folder)
        write_csv(folder / "tiers.csv", [{"class": name, "tier": tier} for name, tier in self.tiers.items()])
        if self.groups:
            write_csv(folder / "groups.csv", self.groups)


def compared(
    chances: Floats, labels: Floats, codes: NDArray[np.int64], patients: NDArray[np.str_], minimum: int = 10
) -> list[Row]:
    """Return of each group its mean AUROC, and by how much that exceeds the other groups', with 95 % intervals.

    Means are over the classes that every group has at least `minimum` times, and lacks as often, so that groups are
    compared on the same classes. Intervals draw patients.

    Args:
        chances: `(N, C)`.
        labels: `(N, C)` of 0, 1 and NaN.
        codes: `(N,)` group of each record, −1 where unknown.
        patients: `(N,)` whose it is.
        minimum: See above.
    """
    groups = np.unique(codes[codes >= 0])
    inside = codes[None] == groups[:, None]
    enough = [
        (((labels[own] == 1).sum(0) >= minimum) & ((labels[own] == 0).sum(0) >= minimum)) for own in inside
    ]  # of each group, by class
    shared = np.all(enough, axis=0) if len(groups) else np.zeros(labels.shape[1], bool)

    def figures(weights: Floats) -> Floats:
        each = [row_means(areas(chances[:, shared], labels[:, shared], weights * own)) for own in inside]
        others = [
            row_means(areas(chances[:, shared], labels[:, shared], weights * (~own & (codes >= 0)))) for own in inside
        ]
        return np.column_stack([*each, *(a - b for a, b in zip(each, others, strict=True))])

    if not shared.any():
        nothing = dict.fromkeys(("auroc", "auroc_low", "auroc_high", "more", "more_low", "more_high"), math.nan)
        pairs = zip(groups.tolist(), inside, strict=True)
        return [{"group": group, "records": int(own.sum()), "classes": 0, **nothing} for group, own in pairs]
    value = figures(np.ones((1, len(codes))))[0]
    low, high = intervals(figures, patients)
    rows: list[Row] = []
    for index, (group, own) in enumerate(zip(groups.tolist(), inside, strict=True)):
        row: Row = {"group": group, "records": int(own.sum()), "classes": int(shared.sum())}
        for name, at in (("auroc", index), ("more", len(groups) + index)):
            row |= {name: float(value[at]), f"{name}_low": float(low[at]), f"{name}_high": float(high[at])}
        rows.append(row)
    return rows
