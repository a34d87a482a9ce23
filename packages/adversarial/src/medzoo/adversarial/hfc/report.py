"""What a test of hidden features leaves: classification as usual, and a row for every attack and detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from medzoo.adversarial.hfc.trials import Trial
from medzoo.core.io import write_csv
from medzoo.core.metrics import auroc
from medzoo.core.metrics.segmentation import group_interval
from medzoo.core.tasks.classification import ClassificationEvaluation

FALSE_ALARMS = 0.05


class Hidden(TypedDict):
    """A row of `hiding.csv`: an attack before a detector."""

    attack: str
    detector: str
    images: int
    success: float
    success_8bit: float
    auroc: float
    seen: float
    false_alarms: float
    joint: float
    joint_low: float
    joint_high: float
    linf: float
    l2: float


class HidingEvaluation(ClassificationEvaluation):
    """Judges the classifier, and what attacks on it are seen by detectors.

    Args:
        classes: Those of the data.
        thresholds: Of each detector, above which an image is rejected.
        diagnostics: Tables by name, written beside the others.
    """

    def __init__(
        self,
        classes: Sequence[str],
        thresholds: dict[str, float],
        diagnostics: dict[str, Sequence[Mapping[str, object]]],
    ) -> None:
        super().__init__(classes)
        self.thresholds, self.diagnostics = thresholds, diagnostics
        self.normal: list[dict[str, Tensor]] = []
        self.trials: dict[str, list[Trial]] = {}
        self.patients: list[str] = []
        self.table: list[Hidden] = []

    @property
    def lacks_trail(self) -> bool:
        """Whether the stress test has seen one class only, and so no distance between classes."""
        return all(row["trail"] != row["trail"] for row in self.diagnostics.get("stress", ()))  # NaN

    def add(self, names: Sequence[str], normal: dict[str, Tensor], trials: Sequence[Trial]) -> None:
        """Add a batch of images that the classifier gets right.

        Args:
            names: Patients of the attacked images.
            normal: Of each detector, scores of clean and noisy images.
            trials: One for each attack.
        """
        self.patients += names
        self.normal.append(normal)
        for trial in trials:
            self.trials.setdefault(trial.attack, []).append(trial)

    def compute(self) -> dict[str, float]:
        """Return the classifier's figures and the main ones of each attack.

        `<source>/<attack>/success` (share with the target class), `…/maha_auroc` of the Mahalanobis distance over all
        layers on successful images, and `…/joint`, the share that is wrong and undetected by the best single detector.
        All of them stand in `hiding.csv`.
        """
        found = super().compute()
        self.table = [row for attack in self.trials for row in self._rows(attack)]
        source = self.tested[0]["source"] if self.tested else "all"
        for attack in self.trials:
            own = [row for row in self.table if row["attack"] == attack]
            area = next((row["auroc"] for row in own if row["detector"] == "maha"), np.nan)
            figures = {
                "success": own[0]["success"],
                "maha_auroc": area,
                "joint": min(row["joint"] for row in own),
            }
            found |= {f"{source}/{attack}/{name}": value for name, value in figures.items() if np.isfinite(value)}
        return found

    def _rows(self, attack: str) -> list[Hidden]:
        trials = self.trials[attack]
        success, rounded, linf, l2 = (
            torch.cat([getattr(trial, name) for trial in trials]).cpu() for name in ("success", "rounded", "linf", "l2")
        )
        _, patient = np.unique(self.patients, return_inverse=True)
        rows: list[Hidden] = []
        for name, threshold in self.thresholds.items():
            normal = torch.cat([scores[name] for scores in self.normal]).cpu()
            scores = torch.cat([trial.scores[name] for trial in trials]).cpu()
            joint = success & (scores <= threshold)
            low, high = group_interval(joint.double(), torch.from_numpy(patient))
            label = torch.cat([torch.zeros(len(normal)), torch.ones(int(success.sum()))])
            some = bool(success.any())
            rows.append(
                {
                    "attack": attack,
                    "detector": name,
                    "images": len(success),
                    "success": float(success.double().mean()),
                    "success_8bit": float(rounded.double().mean()),
                    "auroc": auroc(torch.cat([normal, scores[success]]), label) if some else np.nan,
                    "seen": float((scores[success] > threshold).double().mean()) if some else np.nan,
                    "false_alarms": float((normal > threshold).double().mean()),
                    "joint": float(joint.double().mean()),
                    "joint_low": low,
                    "joint_high": high,
                    "linf": float(linf.mean()),
                    "l2": float(l2.mean()),
                }
            )
        return rows

    def report(self, folder: Path) -> None:
        """Write the reports of classification, `hiding.csv` (attack × detector) and the diagnostics."""
        super().report(folder)
        if self.table:
            write_csv(folder / "hiding.csv", self.table)
        for table, rows in self.diagnostics.items():
            write_csv(folder / f"{table}.csv", rows)
