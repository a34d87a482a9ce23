"""Search for the set of templates that represents a pool of images best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Similarity = NDArray[np.float64]
"""`(N, M)`: how well candidate i represents image j, in [0, 1]."""
_CHUNK = 2**22


def set_score(similarity: Similarity, chosen: Sequence[int]) -> float:
    """Score $S(T) = mean_j max_{i in T} m_{ij}$ of a set: monotone and submodular (facility location); 0 if empty."""
    return float(similarity[list(chosen)].max(axis=0).mean()) if len(chosen) else 0.0


def greedy(similarity: Similarity, budget: int, among: Sequence[int] | None = None) -> list[int]:
    """Take the candidate that raises the score most, again and again; the first of equal ones.

    The score is monotone and submodular, so the set reaches at least 1 − 1/e = 63 % of the best score of its size
    (Nemhauser, Wolsey, Fisher, 1978). The first candidate is the best single one.

    Args:
        similarity: Of all candidates.
        budget: Candidates to take.
        among: Candidates to choose from; all if not given.
    """
    left = list(range(len(similarity)) if among is None else among)
    covered = np.zeros(similarity.shape[1])
    chosen: list[int] = []
    for _ in range(budget):
        gains = np.maximum(similarity[left], covered).mean(axis=1)
        best = left.pop(int(gains.argmax()))
        covered = np.maximum(covered, similarity[best])
        chosen.append(best)
    return chosen


def random_search(similarity: Similarity, budget: int, draws: int, seed: int) -> list[int]:
    """Take the best of random sets, as the paper does, ordered by what each adds.

    Every candidate can be drawn; the public code never draws the first.

    Args:
        similarity: Of all candidates.
        budget: Candidates in a set.
        draws: Sets to draw; the paper has 400 000.
        seed: Seed of the draws.
    """
    n, m = similarity.shape
    rng = np.random.default_rng(seed)
    best, found = -1.0, list(range(budget))
    rows = max(1, _CHUNK // max(n, budget * m))
    for start in range(0, draws, rows):
        count = min(rows, draws - start)
        sets = rng.random((count, n)).argpartition(budget - 1, axis=1)[:, :budget]  # (R, T) without repetition
        scores = similarity[sets].max(axis=1).mean(axis=1)
        top = int(scores.argmax())
        if scores[top] > best:
            best, found = float(scores[top]), sets[top].tolist()
    return greedy(similarity, budget, among=found)
