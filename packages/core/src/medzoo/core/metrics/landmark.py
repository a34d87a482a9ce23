"""Errors of landmarks: mean radial error, its spread, and the share found within given radii."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from medzoo.core.metrics.base import DataSetMetric
from medzoo.core.seams import synced

_SLACK = 1e-6
"""Relative width of the boundary of a radius. Points on whole pixels lie exactly on it (20 px of 0.1 mm is 2 mm), where
the rounding of float32 would otherwise decide between found and not found."""
_RESAMPLES = 1000
_CHUNK = 2**22  # indices of a bootstrap held at a time: 32 MB


def radial_errors(pred: Tensor, target: Tensor, visible: Tensor, scale: Tensor) -> Tensor:
    """Return the distance of each point from its target, `‖diag(scale)·(pred − target)‖`, never rounded.

    Args:
        pred: `(B, K, nd)` in original pixels; a NaN or infinite coordinate means that the point was not found.
        target: `(B, K, nd)` in original pixels.
        visible: `(B, K)` bool, true where the target was annotated.
        scale: `(B, nd)`, size of one original pixel along x, y[, z] in the unit of the error.

    Returns:
        `(B, K)` float64 (float32 on devices without it): infinity for a point not found, NaN for one not annotated.
    """
    kind = torch.float32 if pred.device.type == "mps" else torch.float64
    offset = (pred.to(kind) - target.to(kind)) * scale.to(kind)[:, None]  # (B, K, nd)
    error = torch.linalg.vector_norm(offset, dim=-1)  # (B, K)
    error = torch.where(torch.isfinite(error), error, torch.inf)
    return torch.where(visible, error, torch.nan)


def landmark_scores(
    errors: Tensor, thresholds: Sequence[float], unit: str = "mm", inclusive: bool = True, seed: int = 0
) -> dict[str, Tensor]:
    """Reduce all errors of a data set to scalars.

    * `mre_<unit>`: mean over all annotated points that were found, pooled over images.
    * `std_<unit>`: population standard deviation of the same pool (that of the images' means is far smaller).
    * `median_<unit>`: median over all annotated points; a point not found counts as infinitely far, so that the median
      is at most r where `sdr_<r>` is more than half.
    * `sdr_<r>`: percentage of annotated points with error ≤ r (`inclusive`) or < r; a point not found is a failure.
    * `missing`: annotated points that were not found.
    * `mre_<unit>_low`, `mre_<unit>_high`: 95 % percentile interval of the mean, from drawing images with replacement.

    Args:
        errors: `(N, K)` as `radial_errors` returns them.
        thresholds: Radii in the unit of the errors.
        unit: Part of the names.
        inclusive: Whether a point at distance r counts as found.
        seed: Seed of the bootstrap.

    Returns:
        Scalars in the default float type; NaN where there is nothing to measure.
    """
    pool = errors.detach().cpu().double()
    found = torch.isfinite(pool)
    values = pool[found].sort().values  # sorted, so that the sums do not depend on the order of images
    mean = _ratio(values.sum(), values.numel())
    scores = {f"mre_{unit}": mean, f"std_{unit}": _ratio((values - mean).square().sum(), values.numel()).sqrt()}
    scores[f"median_{unit}"] = _median(pool)
    visible = int((~torch.isnan(pool)).sum())
    for radius in thresholds:
        scores[sdr_name(radius)] = _ratio(_within(pool, radius, inclusive).sum() * 100, visible)
    scores["missing"] = torch.isinf(pool).sum()
    low, high = bootstrap_interval(pool, seed)
    scores[f"mre_{unit}_low"], scores[f"mre_{unit}_high"] = torch.tensor(low), torch.tensor(high)
    return {name: value.to(torch.get_default_dtype()) for name, value in scores.items()}


def landmark_table(
    errors: Tensor, thresholds: Sequence[float], unit: str = "mm", inclusive: bool = True
) -> dict[str, Tensor]:
    """Return `mre_<unit>`, `std_<unit>`, `median_<unit>`, `sdr_<r>`, `visible` and `missing` of each landmark, `(K,)`.

    See `landmark_scores`.
    """
    pool = errors.detach().cpu().double()
    found, visible = torch.isfinite(pool), ~torch.isnan(pool)
    values = torch.where(found, pool, 0.0).sort(dim=0).values
    count = found.sum(0)
    mean = values.sum(0) / count  # 0/0 is NaN without a warning in torch
    spread = torch.where(found, pool - mean, 0.0).square().sort(dim=0).values.sum(0) / count
    median = torch.stack([_median(column) for column in pool.T]) if pool.shape[1] else mean
    table = {f"mre_{unit}": mean, f"std_{unit}": spread.sqrt(), f"median_{unit}": median}
    for radius in thresholds:
        table[sdr_name(radius)] = 100 * _within(pool, radius, inclusive).double().sum(0) / visible.sum(0)
    table = {name: value.to(torch.get_default_dtype()) for name, value in table.items()}
    return {**table, "visible": visible.sum(0), "missing": torch.isinf(pool).sum(0)}


def bootstrap_interval(
    errors: Tensor, seed: int = 0, level: float = 0.95, resamples: int = _RESAMPLES
) -> tuple[float, float]:
    """Return the percentile interval of the mean error when whole images are drawn with replacement.

    The points of one image err together, so drawing points would make the interval too narrow. Images without a found
    point are not drawn, for they take no part in the mean.

    Args:
        errors: `(N, K)` as `radial_errors` returns them.
        seed: Seed of the draws.
        level: Coverage.
        resamples: Number of draws.

    Returns:
        Lower and upper bound; NaN with fewer than two images, of which no spread can be seen.
    """
    pool = errors.detach().cpu().double().numpy()
    finite = np.isfinite(pool)
    counts = finite.sum(1)
    sums = np.sort(np.where(finite, pool, 0.0), axis=1).sum(1)[counts > 0]  # (N,)
    counts = counts[counts > 0]
    n = len(sums)
    if n < 2:  # nothing varies between draws of one image
        return math.nan, math.nan
    order = np.lexsort((counts, sums))  # by content: processes and loaders deliver images in any order
    sums, counts = sums[order], counts[order]
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // n)
    means = []
    for start in range(0, resamples, rows):
        drawn = rng.integers(n, size=(min(rows, resamples - start), n))  # (R, N)
        means.append(sums[drawn].sum(1) / counts[drawn].sum(1))
    tail = (1 - level) / 2
    low, high = np.quantile(np.concatenate(means), (tail, 1 - tail))
    return float(low), float(high)


def score_spearman(errors: Tensor, scores: Tensor) -> float:
    """Return Spearman's rank correlation of score and error: −1 where the score ranks points perfectly, 0 by chance.

    Args:
        errors: As `radial_errors` returns them, of any shape; only points that were annotated and found count.
        scores: How sure the model is of each point, higher is surer; NaN where it does not say.

    Returns:
        The correlation; NaN with fewer than three points, or where all errors or all scores are equal.
    """
    pool, sure = errors.detach().cpu().double(), scores.detach().cpu().double()
    known = torch.isfinite(pool) & torch.isfinite(sure)
    if int(known.sum()) < 3:
        return math.nan
    # Sorted by content, so that the sums do not depend on the order of images.
    order = np.lexsort((sure[known].numpy(), pool[known].numpy()))
    ranks = torch.stack([_ranks(pool[known]), _ranks(sure[known])])[:, order]
    if (ranks == ranks[:, :1]).all(dim=1).any():
        return math.nan
    return float(torch.corrcoef(ranks)[0, 1])


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 0, ties sharing the mean of theirs."""
    _, inverse, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double() - 1
    ranks: Tensor = (last - (counts - 1) / 2)[inverse]
    return ranks


def sdr_name(radius: float) -> str:
    """Return the name of the success rate at a radius: `sdr_2`, `sdr_2.5`."""
    return f"sdr_{radius:g}"


class LandmarkMetrics(DataSetMetric):
    """Errors of landmarks over a data set; see `landmark_scores` for what `compute` returns.

    Args:
        thresholds: Radii of the success rates, in `unit`.
        unit: Name of the unit that `scale` converts pixels to: "mm", or "px" of a reference frame.
        names: Names of the landmarks, in order; their number is then enforced.
        inclusive: Whether a point exactly at a radius counts as found (most published tables: yes).
        seed: Seed of the bootstrap interval.

    Example:
        >>> metric = LandmarkMetrics((2, 4))
        >>> target = torch.zeros(1, 2, 2)
        >>> pred = torch.tensor([[[30.0, 0.0], [0.0, 10.0]]])
        >>> metric.update(pred, target, torch.ones(1, 2, dtype=torch.bool), torch.tensor([[0.1, 0.1]]))
        >>> {name: round(float(value), 2) for name, value in metric.compute().items()}["mre_mm"]
        2.0
    """

    rows: list[Tensor]
    sure: list[Tensor]
    points: Tensor

    def __init__(
        self,
        thresholds: Sequence[float],
        unit: str = "mm",
        names: Sequence[str] | None = None,
        inclusive: bool = True,
        seed: int = 0,
        **options: object,
    ) -> None:
        super().__init__(**options)
        if not all(math.isfinite(radius) and radius > 0 for radius in thresholds):
            raise ValueError(f"thresholds must be positive, got {tuple(thresholds)}")
        if names is not None and len(set(names)) != len(names):
            raise ValueError("names must differ from each other")
        self.thresholds, self.unit, self.inclusive, self.seed = tuple(thresholds), unit, inclusive, seed
        self.names = None if names is None else tuple(names)
        # Errors are kept flat: see the conventions in the package's docstring.
        self.add_state("rows", default=[], dist_reduce_fx="cat")
        self.add_state("sure", default=[], dist_reduce_fx="cat")
        self.add_state("points", default=torch.tensor(len(names or ())), dist_reduce_fx="max")

    def update(self, pred: Tensor, target: Tensor, visible: Tensor, scale: Tensor, score: Tensor | None = None) -> None:
        """Add a batch; shapes as in `radial_errors`.

        Args:
            pred: Predictions.
            target: True points.
            visible: Which true points are known.
            scale: Size of a pixel.
            score: `(B, K)`, how sure the model is of each point, higher is surer; None where it does not say.

        Raises:
            ValueError: Shapes do not fit, an annotated target is not finite, or its scale is not positive and finite.
        """
        self._check(pred, target, visible, scale)
        if score is not None and score.shape != pred.shape[:2]:
            raise ValueError(f"score must be {tuple(pred.shape[:2])}, got {tuple(score.shape)}")
        if self.points == 0:
            self.points = torch.full_like(self.points, pred.shape[1])
        self.rows.append(radial_errors(pred, target, visible, scale).to(self.dtype).flatten())  # (B, K) -> (B * K,)
        sure = torch.full(pred.shape[:2], torch.nan, device=pred.device) if score is None else score.detach()
        self.sure.append(sure.to(self.dtype).flatten())

    def compute(self) -> dict[str, Tensor]:
        """Return the scalars of `landmark_scores`, and `score_spearman` where it is defined."""
        values = landmark_scores(self._matrix(), self.thresholds, self.unit, self.inclusive, self.seed)
        rank = score_spearman(self._matrix(), self._matrix("sure"))
        return values if math.isnan(rank) else {**values, "score_spearman": torch.tensor(rank)}

    def per_landmark(self) -> dict[str, Tensor]:
        """Return the `(K,)` tensors of `landmark_table`; with several processes, to be called on each of them."""
        return landmark_table(self.errors(), self.thresholds, self.unit, self.inclusive)

    def errors(self) -> Tensor:
        """Return all errors, `(N, K)`: infinity where a point was not found, NaN where it was not annotated.

        Rows stand in the order of updates, process after process; to be called on each process.
        """
        return self.errors_and_scores()[0]

    def errors_and_scores(self) -> tuple[Tensor, Tensor]:
        """Return `errors` and the scores of the same points, `(N, K)`, NaN where none was given."""
        with synced(self):
            return self._matrix().clone(), self._matrix("sure").clone()

    def _matrix(self, state: Literal["rows", "sure"] = "rows") -> Tensor:
        width = int(self.points)
        parts = getattr(self, state)
        flat = dim_zero_cat(parts) if len(parts) else torch.empty(0, device=self.device)
        return flat.reshape(-1, width) if width else flat.reshape(0, 0)

    def _check(self, pred: Tensor, target: Tensor, visible: Tensor, scale: Tensor) -> None:
        if pred.ndim != 3 or pred.shape != target.shape:
            raise ValueError(
                f"pred and target must both be (B, K, nd), got {tuple(pred.shape)} and {tuple(target.shape)}"
            )
        batch, count, axes = pred.shape
        if visible.shape != (batch, count) or visible.dtype != torch.bool:
            raise ValueError(f"visible must be ({batch}, {count}) bool, got {tuple(visible.shape)} {visible.dtype}")
        if scale.shape != (batch, axes):
            raise ValueError(f"scale must be ({batch}, {axes}), got {tuple(scale.shape)}")
        width = int(self.points)
        if width not in (0, count):
            raise ValueError(f"pred must have {width} landmarks, got {count}")
        if not torch.isfinite(target[visible]).all():
            raise ValueError("target must be finite where visible")
        used = scale[visible.any(1)]
        if not (torch.isfinite(used) & (used > 0)).all():
            raise ValueError(
                f"scale must be positive and finite to report {self.unit}; report px with a scale of 1 instead"
            )


def _within(errors: Tensor, radius: float, inclusive: bool) -> Tensor:
    return errors <= radius * (1 + _SLACK) if inclusive else errors < radius * (1 - _SLACK)  # false for NaN


def _median(errors: Tensor) -> Tensor:
    """Median of what was annotated, as `landmark_scores` counts it; NaN where nothing was."""
    ranked = errors[~torch.isnan(errors)].double().sort().values
    if not len(ranked):
        return torch.tensor(math.nan, dtype=torch.float64)
    return (ranked[(len(ranked) - 1) // 2] + ranked[len(ranked) // 2]) / 2


def _ratio(total: Tensor, count: int) -> Tensor:
    return total.double() / count if count else torch.tensor(math.nan, dtype=torch.float64)
