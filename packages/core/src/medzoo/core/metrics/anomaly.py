"""Ranking of images and pixels by how abnormal they are: AUROC, average precision and AUPRO, all exact on raw scores.

torchmetrics' BinaryAUROC squashes scores outside [0, 1] by a sigmoid first, which ties distances beyond about 17 with
each other and moves the result; the functions here only compare scores, so that any increasing map leaves them as is.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from medzoo.core.metrics.base import DataSetMetric

Floats = NDArray[np.float64]
_RESAMPLES = 1000
_CHUNK = 2**22  # weights of a bootstrap held at a time: 32 MB


def auroc(scores: Tensor, labels: Tensor) -> float:
    """Return `P(s⁺ > s⁻) + ½ P(s⁺ = s⁻)` over all pairs of an abnormal and a normal item; NaN without such a pair.

    Args:
        scores: Of any shape, larger is more abnormal, finite.
        labels: Same shape, non-zero where abnormal.
    """
    values, positive = _flat(scores, labels)
    hits, alarms = _curve(values, positive, 1 - positive)
    if hits[-1] == 0 or alarms[-1] == 0:
        return math.nan
    return float(np.trapezoid(hits, alarms) / hits[-1] / alarms[-1])


def average_precision(scores: Tensor, labels: Tensor) -> float:
    """Return `Σ (R_n − R_{n−1}) P_n` over the distinct scores, which depends on prevalence; NaN without a positive."""
    values, positive = _flat(scores, labels)
    hits, alarms = _curve(values, positive, 1 - positive)
    if hits[-1] == 0:
        return math.nan
    precision = hits[1:] / (hits[1:] + alarms[1:])
    return float((np.diff(hits) / hits[-1] * precision).sum())


def region_weights(mask: Tensor) -> Tensor:
    """Return for each pixel `1 / |C|` of the connected region `C` that it belongs to, 0 where the mask is empty.

    Regions touch by edges or corners: 8 neighbours in two dimensions, 26 in three.

    Args:
        mask: `(*S)` of one image, non-zero where abnormal.
    """
    binary = mask.detach().cpu().numpy() != 0
    labels, _ = ndimage.label(binary, structure=np.ones((3,) * binary.ndim, dtype=bool))
    sizes = np.bincount(labels.ravel()).astype(np.float64)
    sizes[0] = np.inf
    return torch.from_numpy((1 / sizes)[labels])


def aupro(scores: Tensor, weights: Tensor, limit: float = 0.3) -> float:
    """Return the area under the per-region overlap over the false-positive rate up to `limit`, divided by `limit`.

    `PRO(τ)` is the mean over all regions `C` of all images of `|{s ≥ τ} ∩ C| / |C|`, the rate counts the pixels of
    normal ground of all images. Every distinct score is a threshold; the curve is cut at `limit` by linear
    interpolation (Bergmann et al., CVPR 2019, §4.2). Only scores that matter below the limit are sorted.

    Args:
        scores: Of any shape, pooled over the images, larger is more abnormal, finite.
        weights: Same shape, `region_weights` of each image.
        limit: Largest false-positive rate, in (0, 1].

    Returns:
        A value in [0, 1]; NaN without a region or without normal ground.

    Raises:
        ValueError: `limit` is outside (0, 1], or shapes differ.
    """
    if not 0 < limit <= 1:
        raise ValueError(f"limit must be in (0, 1], got {limit}")
    if scores.shape != weights.shape:
        raise ValueError(
            f"scores and weights must have one shape, got {tuple(scores.shape)} and {tuple(weights.shape)}"
        )
    values = scores.detach().cpu().reshape(-1).numpy()
    overlap = weights.detach().cpu().reshape(-1).to(torch.float64).numpy()
    background = overlap == 0
    normal, regions = int(background.sum()), float(overlap.sum())
    if normal == 0 or regions == 0:
        return math.nan
    keep = _above(values, background, limit)
    hits, alarms = _curve(values[keep], overlap[keep], background[keep].astype(np.float64))
    pro, rate = hits / regions, alarms / normal
    end = int(np.searchsorted(rate, limit, side="left"))
    if end == len(rate):  # the kept part ends below the limit only through rounding
        return float(np.trapezoid(np.append(pro, pro[-1]), np.append(rate, limit)) / limit)
    last = np.interp(limit, rate[end - 1 : end + 1], pro[end - 1 : end + 1]) if rate[end] > rate[end - 1] else pro[end]
    return float(np.trapezoid(np.append(pro[:end], last), np.append(rate[:end], limit)) / limit)


def auroc_interval(
    scores: Tensor, labels: Tensor, groups: Tensor, seed: int = 0, level: float = 0.95, resamples: int = _RESAMPLES
) -> tuple[float, float]:
    """Return the percentile interval of the AUROC when whole patients are drawn with replacement.

    The images of a patient resemble each other: drawing images would make the interval too narrow. Draws with only
    normal or only abnormal images are left out.

    Args:
        scores: `(N,)`.
        labels: `(N,)`, non-zero where abnormal.
        groups: `(N,)`, the number of the patient.
        seed: Seed of the draws.
        level: Coverage.
        resamples: Number of draws.

    Returns:
        Lower and upper bound; NaN with fewer than two patients, of whom no spread can be seen.
    """
    values, positive = _flat(scores, labels)
    _, group = np.unique(groups.detach().cpu().reshape(-1).numpy(), return_inverse=True)
    count = int(group.max()) + 1 if len(group) else 0
    if count < 2:  # nothing varies between draws of one patient
        return math.nan, math.nan
    order = np.lexsort((group, positive, -values))  # by content, not by the order in which a loader delivered
    values, positive, group = values[order], positive[order], group[order]
    last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)  # last item of each tie
    rng = np.random.default_rng(seed)
    found: list[Floats] = []
    rows = max(1, _CHUNK // len(values))
    for start in range(0, resamples, rows):
        n = min(rows, resamples - start)
        draws = rng.multinomial(count, np.full(count, 1 / count), size=n)[:, group]  # (R, N) times each item is drawn
        hits = np.pad((draws * positive).cumsum(1)[:, last], ((0, 0), (1, 0)))
        alarms = np.pad((draws * (1 - positive)).cumsum(1)[:, last], ((0, 0), (1, 0)))
        area = (np.diff(alarms, axis=1) * (hits[:, 1:] + hits[:, :-1]) / 2).sum(1)
        pairs = hits[:, -1] * alarms[:, -1]
        found.append(area[pairs > 0] / pairs[pairs > 0])
    areas = np.concatenate(found)
    if not len(areas):
        return math.nan, math.nan
    tail = (1 - level) / 2
    low, high = np.quantile(areas, (tail, 1 - tail))
    return float(low), float(high)


class ImageAnomalyMetrics(DataSetMetric):
    """Ranking of whole images over a data set.

    `compute` returns `image_auroc`, its 95 % interval `image_auroc_low` and `image_auroc_high` from drawing patients,
    `image_ap`, and `prevalence`, which the average precision depends on.

    Args:
        seed: Seed of the bootstrap.
    """

    scores: list[Tensor]
    labels: list[Tensor]
    groups: list[Tensor]

    def __init__(self, seed: int = 0, **options: object) -> None:
        super().__init__(**options)
        self.seed = seed
        for name in ("scores", "labels", "groups"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, labels: Tensor, groups: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            scores: `(B,)` raw scores, neither normalised nor clamped.
            labels: `(B,)`, non-zero where abnormal.
            groups: `(B,)` integer number of the patient, below 2**24; each image its own patient where missing.

        Raises:
            ValueError: Shapes differ or a score is not finite.
        """
        _check(scores, labels, ndim=1)
        if groups is None:
            seen = sum(len(part) for part in self.groups)
            groups = -1 - torch.arange(seen, seen + len(scores), device=scores.device)
        self.scores.append(scores.detach().to(self.dtype))
        self.labels.append((labels != 0).to(self.dtype))
        self.groups.append(groups.to(self.dtype))

    def compute(self) -> dict[str, Tensor]:
        """Return the scalars."""
        empty = torch.empty(0)
        scores, labels, groups = (
            dim_zero_cat(state) if len(state) else empty for state in (self.scores, self.labels, self.groups)
        )
        low, high = auroc_interval(scores, labels, groups, self.seed)
        found = {
            "image_auroc": auroc(scores, labels),
            "image_auroc_low": low,
            "image_auroc_high": high,
            "image_ap": average_precision(scores, labels),
            "prevalence": float(labels.double().mean()) if len(labels) else math.nan,
        }
        return {name: torch.tensor(value) for name, value in found.items()}


class PixelAnomalyMetrics(DataSetMetric):
    """Ranking of all pixels or voxels of a data set, pooled: `pixel_auroc` and `aupro`.

    Args:
        limit: Largest false-positive rate of the AUPRO.
    """

    scores: list[Tensor]
    weights: list[Tensor]

    def __init__(self, limit: float = 0.3, **options: object) -> None:
        super().__init__(**options)
        self.limit = limit
        self.add_state("scores", default=[], dist_reduce_fx="cat")
        self.add_state("weights", default=[], dist_reduce_fx="cat")

    def update(self, maps: Tensor, masks: Tensor, inside: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            maps: `(B, *S)` raw scores.
            masks: `(B, *S)`, non-zero where abnormal; all zero for a normal image, which counts as normal ground.
            inside: `(B, *S)` bool, where to look (an organ); everywhere if missing. Regions are taken from the whole
                mask first, so a region that is cut by the organ's edge counts with the part inside.

        Raises:
            ValueError: Shapes differ or a score is not finite.
        """
        _check(maps, masks)
        for index in range(len(maps)):
            weights = region_weights(masks[index]).to(maps.device)
            scores = maps[index].detach()
            if inside is not None:
                scores, weights = scores[inside[index]], weights[inside[index]]
            self.scores.append(scores.reshape(-1).to(self.dtype))
            self.weights.append(weights.reshape(-1).to(self.dtype))

    def compute(self) -> dict[str, Tensor]:
        """Return the scalars."""
        empty = torch.empty(0)
        scores = dim_zero_cat(self.scores) if len(self.scores) else empty
        weights = dim_zero_cat(self.weights) if len(self.weights) else empty
        return {
            "pixel_auroc": torch.tensor(auroc(scores, weights)),
            "aupro": torch.tensor(aupro(scores, weights, self.limit)),
        }


def _flat(scores: Tensor, labels: Tensor) -> tuple[NDArray[np.floating], Floats]:
    if scores.shape != labels.shape:
        raise ValueError(f"scores and labels must have one shape, got {tuple(scores.shape)} and {tuple(labels.shape)}")
    return scores.detach().cpu().reshape(-1).numpy(), (labels.detach().cpu().reshape(-1) != 0).double().numpy()


def _curve(values: NDArray[np.floating], hits: Floats, alarms: Floats) -> tuple[Floats, Floats]:
    """Return cumulated hits and false alarms at every distinct threshold from the highest down, starting at (0, 0)."""
    if not len(values):
        return np.zeros(1), np.zeros(1)
    order = torch.from_numpy(values).argsort(descending=True).numpy()  # several times faster than numpy's
    ranked = values[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # equal scores are one threshold
    start = np.zeros(1)
    return (
        np.concatenate([start, hits[order].cumsum()[last]]),
        np.concatenate([start, alarms[order].cumsum()[last]]),
    )


def _above(values: NDArray[np.floating], background: NDArray[np.bool_], limit: float) -> NDArray[np.bool_]:
    """Return which scores are thresholds at or below the false-positive rate `limit`, and the next one after it."""
    ground = values[background]
    rank = min(len(ground) - 1, math.ceil(limit * len(ground)))
    cut = np.partition(ground, len(ground) - 1 - rank)[len(ground) - 1 - rank]
    kept: NDArray[np.bool_] = values >= cut
    return kept


def _check(scores: Tensor, labels: Tensor, ndim: int | None = None) -> None:
    if scores.shape != labels.shape or (ndim is not None and scores.ndim != ndim):
        raise ValueError(f"scores and labels must have one shape, got {tuple(scores.shape)} and {tuple(labels.shape)}")
    if not torch.isfinite(scores).all():
        raise ValueError("scores must be finite")
