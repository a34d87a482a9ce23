"""How sure a comparison of groups is: bootstrap, permutation null, Benjamini-Hochberg, DeLong; without torch.

Cases of one patient belong together: a bootstrap draws patients and a permutation moves them. Where every patient has
one case the resampled counts are drawn at once (multinomial, multivariate hypergeometric), so that the cost depends on
the number of distinct scores and not on that of the cases.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medzoo.core.metrics.fairness import Floats, ScoreCounts

FINEST = 1024
"""Distinct scores of a group that its resampled counts keep; of more, neighbours are put together."""
_CHUNK = 32
"""Resamples that are held at a time."""


@dataclass(frozen=True)
class Cases:
    """The cases of a group, or of several, sorted by patient.

    Attributes:
        scores: `(K,)` mean score of each code.
        codes: `(N,)` code of each case's score, plus K where its label is 1.
        sizes: `(M,)` cases of each patient.
    """

    scores: Floats
    codes: NDArray[np.int32]
    sizes: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        scores: Floats,
        labels: NDArray[np.int8],
        patients: NDArray[np.int64] | None,
        threshold: float,
        finest: int = FINEST,
    ) -> Cases:
        """Put together cases.

        Args:
            scores: `(N,)`.
            labels: `(N,)`, 0 or 1.
            patients: `(N,)` whole numbers, ascending; each case is a patient of its own where None.
            threshold: Scores on its two sides stay apart.
            finest: Codes at most, but for one more where the threshold divides one.
        """
        distinct, place = np.unique(scores, return_inverse=True)
        if len(distinct) > finest:
            count = np.bincount(place)
            code = finest * (np.cumsum(count) - count) // len(scores) * 2 + (distinct >= threshold)
            place = np.unique(code, return_inverse=True)[1][place]
        count = np.bincount(place)
        centre = np.bincount(place, scores) / np.maximum(count, 1)
        codes = (place + len(centre) * labels.astype(np.int64)).astype(np.int32)
        if patients is None:
            sizes = np.ones(len(scores), dtype=np.int64)
        else:
            starts = np.flatnonzero(np.diff(patients, prepend=-1))
            sizes = np.diff(np.append(starts, len(patients)))
        return cls(centre, codes, sizes)

    def counts(self, table: NDArray[np.generic]) -> ScoreCounts:
        """Return the counts of codes, `(..., 2K)`, as those of scores."""
        size = len(self.scores)
        numbers = table.astype(np.float64)
        return ScoreCounts(self.scores, numbers[..., :size], numbers[..., size:])


def bootstrap(cases: Cases, repeats: int, generator: np.random.Generator) -> Iterator[ScoreCounts]:
    """Yield the counts of resamples, which draw as many patients as there are, with replacement.

    Args:
        cases: Of one group.
        repeats: Number of resamples.
        generator: Of random numbers.

    Yields:
        Counts with one leading dimension, a part of the resamples at a time.
    """
    codes, sizes = cases.codes, cases.sizes
    width, patients = 2 * len(cases.scores), len(sizes)
    single = patients == len(codes)
    shares = np.bincount(codes, minlength=width) / max(len(codes), 1)
    for start in range(0, repeats, _CHUNK):
        now = min(_CHUNK, repeats - start)
        if single:
            yield cases.counts(generator.multinomial(len(codes), shares, size=now))
            continue
        table = np.empty((now, width))
        for row in table:
            drawn = np.bincount(generator.integers(0, patients, patients, dtype=np.uint32), minlength=patients)
            row[:] = np.bincount(codes, np.repeat(drawn, sizes), minlength=width)
        yield cases.counts(table)


def permutations(
    cases: Cases, groups: NDArray[np.int64], number: int, repeats: int, generator: np.random.Generator
) -> Iterator[list[ScoreCounts]]:
    """Yield the counts of each group where patients are shuffled between groups; every group keeps its number of them.

    Args:
        cases: Of all groups together.
        groups: `(M,)` group of each patient, from 0.
        number: Of groups.
        repeats: Number of shuffles.
        generator: Of random numbers.

    Yields:
        The groups' counts with one leading dimension, a part of the shuffles at a time.
    """
    codes, sizes = cases.codes, cases.sizes
    width = 2 * len(cases.scores)
    single = len(sizes) == len(codes)
    wanted = np.bincount(groups, minlength=number)
    colours = np.bincount(codes, minlength=width)
    for start in range(0, repeats, _CHUNK):
        now = min(_CHUNK, repeats - start)
        table = np.empty((number, now, width), dtype=np.int64)
        for r in range(now):
            if single:
                rest = colours.copy()
                for g in range(number - 1):
                    table[g, r] = generator.multivariate_hypergeometric(rest, int(wanted[g]), method="marginals")
                    rest -= table[g, r]
                table[-1, r] = rest
            else:
                place = np.repeat(generator.permutation(groups) * width, sizes) + codes
                table[:, r] = np.bincount(place, minlength=number * width).reshape(number, width)
        yield [cases.counts(part) for part in table]


def interval(values: Floats, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of resampled values; NaN where fewer than nine in ten have one."""
    valid = values[~np.isnan(values)]
    if len(valid) == 0 or len(valid) < 0.9 * len(values):
        return math.nan, math.nan
    low, high = np.quantile(valid, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def p_value(observed: float, null: Floats) -> float:
    """Return `(1 + number of null values at least as large) / (1 + number of null values)`, NaN without a value."""
    valid = null[~np.isnan(null)]
    if math.isnan(observed) or len(valid) == 0:
        return math.nan
    return float((1 + (valid >= observed - 1e-12).sum()) / (1 + len(valid)))


def benjamini_hochberg(p: Floats) -> Floats:
    """Return p-values adjusted for the rate of false discoveries; NaN ones are no tests and stay NaN."""
    adjusted = np.full(len(p), np.nan)
    tests = np.flatnonzero(~np.isnan(p))
    order = tests[np.argsort(p[tests], kind="stable")]
    scaled = p[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return adjusted


def delong(counts: ScoreCounts) -> tuple[float, float]:
    """Return an AUC and its variance after DeLong et al. (Biometrics 1988); NaN with fewer than two of a class.

    Cases count as independent, several ones of a patient too.
    """
    negatives, positives = counts.negatives, counts.positives
    m, n = float(positives.sum()), float(negatives.sum())
    if m < 2 or n < 2:
        return math.nan, math.nan
    above_negatives = (negatives.cumsum() - negatives / 2) / n
    below_positives = (m - positives.cumsum() + positives / 2) / m
    area = float(positives @ above_negatives / m)
    s10 = float(positives @ (above_negatives - area) ** 2) / (m - 1)
    s01 = float(negatives @ (below_positives - area) ** 2) / (n - 1)
    return area, s10 / m + s01 / n


def normal_p(difference: float, variance: float) -> float:
    """Return the two-sided p-value of a normal difference with mean 0; NaN where the variance is 0 or unknown."""
    if math.isnan(variance) or variance <= 0:
        return math.nan
    return math.erfc(abs(difference) / math.sqrt(2 * variance))
