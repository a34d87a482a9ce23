"""How sure a comparison of groups is: bootstrap, permutation null, Benjamini-Hochberg, DeLong; without torch.

Cases of one patient belong together: a bootstrap draws patients and a permutation moves them. Where every patient has
one case the resampled counts are drawn at once (multinomial, multivariate hypergeometric), so that the cost depends on
the number of distinct scores and not on that of the cases.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medzoo.core.metrics.fairness import Floats, ScoreCounts

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FINEST = 1024
"""Distinct scores of a group that its resampled counts keep; of more, neighbours are put together."""
_CHUNK = 16
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
    codes, patients, width = cases.codes, len(cases.sizes), 2 * len(cases.scores)
    shares = np.bincount(codes, minlength=width) / max(len(codes), 1)
    content = None if patients == len(codes) else _content(cases)
    for start in range(0, repeats, _CHUNK):
        now = min(_CHUNK, repeats - start)
        if content is None:
            yield cases.counts(generator.multinomial(len(codes), shares, size=now))
            continue
        drawn = np.stack([_resample(patients, generator) for _ in range(now)])
        yield cases.counts((content @ drawn.T.astype(np.float32, order="C")).T)


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
    width = 2 * len(cases.scores)
    wanted = np.bincount(groups, minlength=number)
    colours = np.bincount(cases.codes, minlength=width)
    content = None if len(cases.sizes) == len(cases.codes) else _content(cases)
    for start in range(0, repeats, _CHUNK):
        now = min(_CHUNK, repeats - start)
        table = np.empty((number, now, width))
        if content is None:
            for r in range(now):
                rest = colours.copy()
                for g in range(number - 1):
                    table[g, r] = part = generator.multivariate_hypergeometric(rest, int(wanted[g]), method="marginals")
                    rest -= part
                table[-1, r] = rest
        else:
            placed = np.stack([_shuffled(wanted, generator) for _ in range(now)]).T.copy()
            for g in range(number - 1):
                table[g] = (content @ (placed == g).astype(np.float32)).T
            table[-1] = colours - table[:-1].sum(0)
        yield [cases.counts(part) for part in table]


def _content(cases: Cases) -> csr_matrix:
    """Return how often each patient has each code, a sparse `(2K, M)`; float32 holds counts below 2**24 exactly."""
    from scipy.sparse import csr_matrix

    owner = np.repeat(np.arange(len(cases.sizes)), cases.sizes)
    once = np.ones(len(owner), dtype=np.float32)
    return csr_matrix((once, (cases.codes, owner)), shape=(2 * len(cases.scores), len(cases.sizes)))


def _resample(size: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Return how often each of `size` is drawn when `size` are drawn with replacement.

    Independent Poisson numbers are such counts of as many draws as their sum. They are drawn at a rate a little below
    1, and the draws that are still missing one by one: half the time of drawing all so.
    """
    table = _poisson(size)
    while True:
        counts = table[generator.integers(0, 2**16, size, dtype=np.uint16)]
        missing = size - int(counts.sum())
        if missing >= 0:
            np.add.at(counts, generator.integers(0, size, missing), 1)
            return counts


@lru_cache(maxsize=64)
def _poisson(size: int) -> NDArray[np.uint8]:
    """Return Poisson numbers by 16 random bits, of a rate six deviations below 1; probabilities are right to 2**-16."""
    rate = max(1 - 6 / math.sqrt(size), 0.0)
    chances = rate ** np.arange(12) / np.array([math.factorial(k) for k in range(12)]) * math.exp(-rate)
    limits = np.round(np.cumsum(chances) * 2**16)[:-1]
    return np.searchsorted(limits, np.arange(2**16), side="right").astype(np.uint8)


def _shuffled(wanted: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int16]:
    """Return a random order of as many of each number as wanted.

    Each place draws its number alone, then a few random places of the numbers that came too often are given to the
    others. All places are treated alike, so all orders are equally likely; this takes 60 % of a shuffle's time.
    """
    size = int(wanted.sum())
    drawn = generator.integers(0, 2**16, size, dtype=np.uint16)
    placed = np.zeros(size, dtype=np.int16)
    above = [size]
    for limit in np.round(np.cumsum(wanted)[:-1] / max(size, 1) * 2**16):
        later = drawn >= limit
        above.append(int(np.count_nonzero(later)))
        placed += later
    excess = -np.diff([*above, 0]) - wanted
    free = [_some(placed, int(g), int(excess[g]), generator) for g in np.flatnonzero(excess > 0)]
    if free:
        lacking = np.maximum(-excess, 0)
        placed[generator.permutation(np.concatenate(free))] = np.repeat(np.arange(len(wanted)), lacking)
    return placed


def _some(placed: NDArray[np.int16], number: int, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return `count` random places of a number, none twice: random places, of which the others are passed over."""
    found = np.empty(0, dtype=np.int64)
    while len(found) < count:
        more = generator.integers(0, len(placed), 4 * count + 16)
        pool = np.concatenate([found, more[placed[more] == number]])
        found = pool[np.sort(np.unique(pool, return_index=True)[1])]
    return found[:count]


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
