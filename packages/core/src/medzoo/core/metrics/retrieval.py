"""How well images find their texts and texts their images: recall at k, never favoured by ties or duplicates."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def expected_hits(scores: Floats, right: NDArray[np.bool_], k: int) -> Floats:
    """Return for each query the chance that one of its k best candidates is right, `(Q,)`; NaN without a right one.

    Candidates of equal score come in any order alike, so that a model which scores all N alike reaches k/N with one
    right candidate: neither 0 nor 1.

    Args:
        scores: `(Q, N)`, larger fits better.
        right: `(Q, N)`, which candidates are right; identical candidates must be one.
        k: How many candidates are looked at, at least 1.

    Raises:
        ValueError: `k` is below 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}, expected at least 1")
    found = np.full(len(scores), math.nan)
    for query in np.flatnonzero(right.any(axis=1)):
        best = scores[query][right[query]].max()
        before = int((scores[query] > best).sum())
        tied = scores[query] == best
        places, good, all_tied = k - before, int((tied & right[query]).sum()), int(tied.sum())
        if places <= 0:
            found[query] = 0.0
        elif places > all_tied - good:
            found[query] = 1.0
        else:  # none of the first `places` of the tied ones is right: hypergeometric
            miss = math.comb(all_tied - good, places) / math.comb(all_tied, places)
            found[query] = 1.0 - miss
    return found


def recall_at(scores: Floats, right: NDArray[np.bool_], k: int) -> float:
    """Return the mean of `expected_hits` over the queries that have a right candidate; NaN where none has."""
    hits = expected_hits(scores, right, k)
    known = ~np.isnan(hits)
    return float(hits[known].mean()) if known.any() else math.nan
