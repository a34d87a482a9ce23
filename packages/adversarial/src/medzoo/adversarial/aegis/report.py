"""What a test of the defence leaves: classification as usual, and for each attack and budget what gets through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from medzoo.core.io import write_csv
from medzoo.core.metrics import auroc
from medzoo.core.metrics.segmentation import group_interval
from medzoo.core.tasks.classification import ClassificationEvaluation


@dataclass(frozen=True)
class Tried:
    """A batch under one attack.

    Attributes:
        attack: Its name.
        eps: Budget in image units.
        success: `(B,)` bool, whether the class is the target.
        passes: `(B,)` bool, whether the Shield lets the image pass.
        score: `(B,)` of the Shield.
    """

    attack: str
    eps: float
    success: Tensor
    passes: Tensor
    score: Tensor


class Bypass(TypedDict):
    """A row of `bypass.csv`: an attack at a budget."""

    eps: float
    attack: str
    images: int
    success: float
    auroc: float
    bypass: float
    bypass_low: float
    bypass_high: float


class BypassEvaluation(ClassificationEvaluation):
    """Judges the classifier behind the Cushion, and what attacks get past the Shield.

    Args:
        classes: Those of the data.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__(classes)
        self.tried: list[Tried] = []
        self.patients: list[str] = []
        self.clean: list[tuple[Tensor, Tensor]] = []
        """Scores of clean images, and whether the Shield lets them pass."""
        self.table: list[Bypass] = []

    def compute(self) -> dict[str, float]:
        """Return the classifier's figures, `<source>/false_alarms`, and `<source>/bypass_<eps>` of the best attack.

        A bypass is an image that is called the target and passes.
        """
        found = super().compute()
        source = self.tested[0]["source"] if self.tested else "all"
        groups: dict[tuple[float, str], list[Tried]] = {}
        for tried in self.tried:
            groups.setdefault((tried.eps, tried.attack), []).append(tried)
        self.table = [self._row(parts) for parts in groups.values()]
        if self.clean:
            found[f"{source}/false_alarms"] = 1 - float(torch.cat([p for _, p in self.clean]).double().mean())
        for eps in dict.fromkeys(row["eps"] for row in self.table):
            found[f"{source}/bypass_{eps:.3g}"] = max(row["bypass"] for row in self.table if row["eps"] == eps)
        return found

    def _row(self, parts: Sequence[Tried]) -> Bypass:
        success, passes, score = (
            torch.cat([getattr(part, name) for part in parts]) for name in ("success", "passes", "score")
        )
        normal = torch.cat([scores for scores, _ in self.clean])
        label = torch.cat([torch.zeros(len(normal)), torch.ones(int(success.sum()))])
        both = success & passes
        _, patient = np.unique(self.patients, return_inverse=True)
        low, high = group_interval(both.double(), torch.from_numpy(patient))
        return {
            "eps": parts[0].eps,
            "attack": parts[0].attack,
            "images": len(success),
            "success": float(success.double().mean()),
            "auroc": auroc(torch.cat([normal, score[success]]), label) if bool(success.any()) else np.nan,
            "bypass": float(both.double().mean()),
            "bypass_low": low,
            "bypass_high": high,
        }

    def report(self, folder: Path) -> None:
        """Write the reports of classification and `bypass.csv`, a row an attack and budget."""
        super().report(folder)
        if self.table:
            write_csv(folder / "bypass.csv", self.table)
