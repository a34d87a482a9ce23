"""Figures of classifiers: how often they are right, how they rank, and whether their probabilities hold.

Labels are 0, 1 or NaN where a class was not looked for. Intervals draw whole patients: their images resemble each
other.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_RESAMPLES = 1000
_CHUNK = 2**22  # weights of a bootstrap held at a time: 32 MB
BINS = 15


def precisions(probabilities: Floats, labels: Floats) -> Floats:
    """Return the average precision of each class, NaN for one without a positive.

    Args:
        probabilities: `(N, C)`.
        labels: `(N, C)` of 0, 1 and NaN.
    """
    import torch  # here, so that the other figures of this module are had without it

    from medzoo.core.metrics.anomaly import average_precision

    found = []
    for score, label in zip(probabilities.T, labels.T, strict=True):
        known = ~np.isnan(label)
        found.append(average_precision(torch.from_numpy(score[known]), torch.from_numpy(label[known])))
    return np.array(found)


def brier(probabilities: Floats, labels: Floats) -> float:
    """Return the mean over samples of the summed squares `(p − y)²` of the classes that were looked for.

    For exclusive classes this is Brier's score from 0 to 2; of two classes twice the binary one.
    """
    squares = (probabilities - labels) ** 2
    known = ~np.isnan(labels).all(axis=1)
    return float(np.nansum(squares[known], axis=1).mean()) if known.any() else math.nan


def calibration(confidence: Floats, correct: Floats, bins: int = BINS) -> tuple[Floats, Floats, Floats]:
    """Return for each bin of equal width how many values it holds, their mean confidence and how often they hold.

    Args:
        confidence: `(N,)` in [0, 1].
        correct: `(N,)`, 1 where what was claimed is true.
        bins: Number of bins; an empty one has NaN means.
    """
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins).astype(float)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(place, values, minlength=bins) / count for values in (confidence, correct)]
    return count, means[0], means[1]


def calibration_error(confidence: Floats, correct: Floats, bins: int = BINS) -> float:
    """Return the expected calibration error: the mean over all values of |confidence − frequency| of their bin."""
    if not len(confidence):
        return math.nan
    count, claimed, found = calibration(confidence, correct, bins)
    filled = count > 0
    return float((count * np.abs(claimed - found))[filled].sum() / count.sum())


def recalls(predicted: NDArray[np.bool_], labels: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return the share of positives that are called so and of negatives that are not, by draw and class.

    Args:
        predicted: `(N, C)`.
        labels: `(N, C)` of 0, 1 and NaN.
        weights: `(R, N)`, how often each sample counts in each of R draws.

    Returns:
        Sensitivity and specificity, both `(R, C)`, NaN without such a sample.
    """
    positive, negative = (labels == 1).astype(float), (labels == 0).astype(float)
    with np.errstate(invalid="ignore"):
        return (
            weights @ (positive * predicted) / (weights @ positive),
            weights @ (negative * ~predicted) / (weights @ negative),
        )


def areas(probabilities: Floats, labels: Floats, weights: Floats) -> Floats:
    """Return the AUROC by draw and class, `(R, C)`; NaN where a draw lacks one side of a class.

    Args:
        probabilities: `(N, C)`.
        labels: `(N, C)` of 0, 1 and NaN.
        weights: `(R, N)`, how often each sample counts in each of R draws.
    """
    found = np.full((len(weights), labels.shape[1]), math.nan)
    for index, (score, label) in enumerate(zip(probabilities.T, labels.T, strict=True)):
        order = np.flatnonzero(~np.isnan(label))
        order = order[np.argsort(-score[order], kind="stable")]
        if not len(order):
            continue
        last = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)  # equal scores are one threshold
        drawn, positive = weights[:, order], label[order]
        hits = np.pad((drawn * positive).cumsum(1)[:, last], ((0, 0), (1, 0)))
        alarms = np.pad((drawn * (1 - positive)).cumsum(1)[:, last], ((0, 0), (1, 0)))
        area = (np.diff(alarms, axis=1) * (hits[:, 1:] + hits[:, :-1]) / 2).sum(1)
        with np.errstate(invalid="ignore"):
            found[:, index] = area / (hits[:, -1] * alarms[:, -1])
    return found


def row_means(values: Floats) -> Floats:
    """Return the mean of each row over what is no NaN; NaN for a row without any."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        means: Floats = np.where(known, values, 0).sum(axis=1) / known.sum(axis=1)
    return means


def intervals(
    figure: Callable[[Floats], Floats], patients: NDArray[np.str_], seed: int = 0, resamples: int = _RESAMPLES
) -> tuple[Floats, Floats]:
    """Return the 95 % percentile interval of several figures when whole patients are drawn with replacement.

    Args:
        figure: Maps weights `(R, N)` of the samples in R draws to figures `(R, F)`, NaN where a draw has none.
        patients: `(N,)` whose each sample is.
        seed: Seed of the draws.
        resamples: Number of draws.

    Returns:
        Lower and upper bounds, each `(F,)`; NaN with fewer than two patients, of whom no spread can be seen.
    """
    _, group = np.unique(patients, return_inverse=True)
    count = int(group.max()) + 1 if len(group) else 0
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // max(1, len(group)))
    sizes = [min(rows, resamples - start) for start in range(0, resamples, rows)] if count > 1 else [1]
    chance = np.full(count, 1 / count) if count else np.ones(1)
    draws = (rng.multinomial(count, chance, size=n)[:, group].astype(float) for n in sizes)
    found = np.concatenate([figure(weights) for weights in draws])
    low, high = (np.full(found.shape[1], math.nan) for _ in range(2))
    for index, values in enumerate(found.T if count > 1 else ()):
        values = values[~np.isnan(values)]
        if len(values):
            low[index], high[index] = np.quantile(values, (0.025, 0.975))
    return low, high
