"""Kinds of anomaly that were labelled and kinds that were not, apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from medzoo.core.metrics.anomaly import auroc
from medzoo.core.tasks.anomaly import AnomalyEvaluation


class KindEvaluation(AnomalyEvaluation):
    """Adds `known_auroc` and `new_auroc`: normal images against abnormal ones of labelled kinds, and of all others.

    Args:
        names: The categories.
        known: Kinds that were labelled in the training, by category.
        device: Where batches are.
    """

    def __init__(self, names: Sequence[str], known: Mapping[str, set[str]], device: torch.device | None = None) -> None:
        super().__init__(names, device)
        self.known = known

    def compute(self) -> dict[str, float]:
        """Return the figures of every category, and means of several."""
        found = super().compute()
        for key, wanted in (("known_auroc", True), ("new_auroc", False)):
            values = {name: self._against(name, wanted) for name in self.names}
            present = {name: value for name, value in values.items() if not math.isnan(value)}
            found |= {f"{name}/{key}": value for name, value in present.items()}
            if len(self.names) > 1 and len(present) == len(self.names):
                found[f"mean/{key}"] = sum(present.values()) / len(present)
        return found

    def _against(self, name: str, known: bool) -> float:
        """Return the AUROC of normal images and those of some kinds; NaN where one of the two is missing."""
        rows = [
            row
            for row in self.tested
            if row["source"] == name and (not row["label"] or (row["kind"] in self.known.get(name, set())) is known)
        ]
        return auroc(torch.tensor([row["score"] for row in rows]), torch.tensor([float(row["label"]) for row in rows]))
