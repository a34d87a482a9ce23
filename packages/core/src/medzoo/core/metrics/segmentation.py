"""Segmentation of lesions: Dice a volume, lesions found and false alarms, thresholds that no test label touched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from medzoo.core.metrics.base import DataSetMetric

_RESAMPLES = 1000
_COLUMNS = ("dice", "lesions", "found", "alarms", "precision", "recall", "group")


@dataclass(frozen=True)
class LesionCounts:
    """What a predicted mask finds of the lesions of one volume."""

    lesions: int
    """Connected regions of the target."""
    found: int
    """Those of which the prediction covers enough."""
    alarms: int
    """Connected regions of the prediction that touch no lesion."""


def dice(pred: Tensor, target: Tensor) -> float:
    """Return `2 |P ∩ G| / (|P| + |G|)` of one volume: 1 where both are empty, 0 where exactly one is."""
    inside, guess = target != 0, pred != 0
    if inside.shape != guess.shape:
        raise ValueError(f"pred and target must have one shape, got {tuple(guess.shape)} and {tuple(inside.shape)}")
    total = int(inside.sum()) + int(guess.sum())
    return 2 * int((inside & guess).sum()) / total if total else 1.0


def lesion_counts(pred: Tensor, target: Tensor, overlap: float = 0.1) -> LesionCounts:
    """Count lesions, found lesions and false alarms by connected regions (26 neighbours, 8 in a plane).

    Args:
        pred: `(*S)` of one volume, non-zero where a lesion is predicted.
        target: `(*S)`, non-zero where one is.
        overlap: Share of a lesion's voxels that the prediction must cover to have found it, above 0.
    """
    guess, truth = (part.detach().cpu().numpy() != 0 for part in (pred, target))
    structure = np.ones((3,) * truth.ndim, dtype=bool)
    lesions, number = ndimage.label(truth, structure)
    sizes = np.bincount(lesions.ravel(), minlength=number + 1)[1:]
    covered = np.bincount(lesions[guess], minlength=number + 1)[1:]
    found = int((covered >= np.maximum(overlap * sizes, 1)).sum())
    regions, alarms = ndimage.label(guess, structure)
    touching = len(np.setdiff1d(np.unique(regions[truth]), [0]))
    return LesionCounts(number, found, alarms - touching)


def best_threshold(maps: Sequence[Tensor], masks: Sequence[Tensor], steps: int = 64) -> tuple[float, float]:
    """Return the threshold with the best mean Dice over volumes, and that Dice; the mask is `map ≥ threshold`.

    The candidates are quantiles of the scores inside and outside of the masks. Give validation volumes: a threshold
    that is chosen on the test set makes every figure after it an oracle's.

    Args:
        maps: One score map a volume.
        masks: Its mask, non-zero where abnormal.
        steps: Candidates from each of the two sides.

    Raises:
        ValueError: There is no volume, or no mask has a lesion.
    """
    truth = [mask.detach().cpu().reshape(-1) != 0 for mask in masks]
    flat = [score.detach().cpu().float().reshape(-1) for score in maps]
    if not flat or len(flat) != len(truth):
        raise ValueError(f"maps and masks must be as many and at least one, got {len(flat)} and {len(truth)}")
    inside = torch.cat([score[mask] for score, mask in zip(flat, truth, strict=True)]).numpy()
    outside = torch.cat([score[~mask] for score, mask in zip(flat, truth, strict=True)]).numpy()
    if not len(inside):
        raise ValueError("masks must hold a lesion to choose a threshold by Dice")
    levels = [np.quantile(inside, np.linspace(0, 1, steps), method="nearest")]
    if len(outside):
        levels.append(np.quantile(outside, 1 - np.geomspace(1e-4, 0.5, steps), method="nearest"))
    candidates = np.unique(np.concatenate(levels).astype(np.float32))
    total = np.zeros(len(candidates))
    for score, mask in zip(flat, truth, strict=True):
        total += _dice_curve(score.numpy(), mask.numpy(), candidates)
    best = int(total.argmax())
    return float(candidates[best]), float(total[best] / len(flat))


def quantile_threshold(scores: Tensor, false_alarms: float = 0.05) -> float:
    """Return the threshold that normal images exceed with at most the given probability (split conformal quantile).

    With `n` normal scores it is the `⌈(n + 1)(1 − α)⌉`-th smallest; where that is beyond the largest, `n` is too small
    to promise α and the largest score is returned, which a new normal image exceeds with probability `1 / (n + 1)`.

    Args:
        scores: `(n,)` of normal images that neither training nor the reference has seen.
        false_alarms: α in (0, 1).
    """
    if not 0 < false_alarms < 1:
        raise ValueError(f"false_alarms must be in (0, 1), got {false_alarms}")
    if scores.numel() == 0:
        raise ValueError("scores must hold at least one normal image")
    ranked = scores.detach().cpu().reshape(-1).sort().values
    rank = min(len(ranked), math.ceil((len(ranked) + 1) * (1 - false_alarms)))
    return float(ranked[rank - 1])


def group_interval(
    values: Tensor, groups: Tensor, seed: int = 0, level: float = 0.95, resamples: int = _RESAMPLES
) -> tuple[float, float]:
    """Return the percentile interval of the mean of `values` when whole patients are drawn with replacement.

    Args:
        values: `(N,)`; NaN values take no part.
        groups: `(N,)`, the number of the patient.
        seed: Seed of the draws.
        level: Coverage.
        resamples: Number of draws.

    Returns:
        Lower and upper bound; NaN with fewer than two patients, of whom no spread can be seen.
    """
    pool = values.detach().cpu().double().numpy()
    kept = np.isfinite(pool)
    pool, owner = pool[kept], groups.detach().cpu().numpy()[kept]
    if not len(pool):
        return math.nan, math.nan
    _, owner = np.unique(owner, return_inverse=True)
    if owner.max() == 0:  # nothing varies between draws of one patient
        return math.nan, math.nan
    order = np.lexsort((pool, owner))
    pool, owner = pool[order], owner[order]
    sums, counts = np.bincount(owner, pool), np.bincount(owner)
    ranked = np.lexsort((counts, sums))  # by content: the numbers of patients depend on nothing that matters
    sums, counts = sums[ranked], counts[ranked]
    drawn = np.random.default_rng(seed).integers(len(sums), size=(resamples, len(sums)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


class SegmentationMetrics(DataSetMetric):
    """Lesion masks over a data set, one volume at a time.

    `compute` returns `dice` (mean over volumes), its interval `dice_low` and `dice_high` from drawing patients,
    `precision` and `recall` by voxel (mean over volumes where defined), `lesion_sensitivity` (all lesions pooled),
    `alarms_per_volume` and `volumes`.

    Args:
        overlap: Share of a lesion that must be covered to have found it.
        seed: Seed of the bootstrap.
    """

    rows: list[Tensor]

    def __init__(self, overlap: float = 0.1, seed: int = 0, **options: object) -> None:
        super().__init__(**options)
        self.overlap, self.seed = overlap, seed
        self.add_state("rows", default=[], dist_reduce_fx="cat")

    def update(self, pred: Tensor, target: Tensor, group: int = 0) -> None:
        """Add one volume.

        Args:
            pred: `(*S)`, non-zero where a lesion is predicted.
            target: `(*S)`, non-zero where one is.
            group: Number of the patient, below 2**24.
        """
        guess, truth = pred != 0, target != 0
        counts = lesion_counts(guess, truth, self.overlap)
        hits = int((guess & truth).sum())
        positive, lesion = int(guess.sum()), int(truth.sum())
        row = (
            dice(guess, truth),
            counts.lesions,
            counts.found,
            counts.alarms,
            hits / positive if positive else math.nan,
            hits / lesion if lesion else math.nan,
            group,
        )
        self.rows.append(torch.tensor(row, dtype=self.dtype, device=self.device))  # flat, see the package's conventions

    def compute(self) -> dict[str, Tensor]:
        """Return the scalars."""
        flat = dim_zero_cat(self.rows) if len(self.rows) else torch.empty(0)
        table = dict(zip(_COLUMNS, flat.reshape(-1, len(_COLUMNS)).double().cpu().T, strict=True))
        low, high = group_interval(table["dice"], table["group"], self.seed)
        lesions = table["lesions"].sum()
        scores = {
            "dice": _mean(table["dice"]),
            "dice_low": low,
            "dice_high": high,
            "precision": _mean(table["precision"]),
            "recall": _mean(table["recall"]),
            "lesion_sensitivity": float(table["found"].sum() / lesions) if lesions else math.nan,
            "alarms_per_volume": _mean(table["alarms"]),
            "volumes": float(len(table["dice"])),
        }
        return {name: torch.tensor(value) for name, value in scores.items()}


def _dice_curve(
    score: NDArray[np.float32], mask: NDArray[np.bool_], candidates: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the Dice of `score ≥ c` for each candidate, by two sorts instead of a pass for each."""
    lesion, all_scores = np.sort(score[mask]), np.sort(score)
    hits = len(lesion) - np.searchsorted(lesion, candidates, side="left")
    positive = len(all_scores) - np.searchsorted(all_scores, candidates, side="left")
    total = positive + len(lesion)
    return np.where(total > 0, 2 * hits / np.maximum(total, 1), 1.0)


def _mean(values: Tensor) -> float:
    kept = values[torch.isfinite(values)].sort().values
    return float(kept.mean()) if len(kept) else math.nan
