"""Calibration of probabilities from counts, without torch: error in adaptive bins, Brier score, intercept and slope."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_EDGE = 1e-6
"""Probabilities are moved this far from 0 and 1 before their logit is taken."""
_STEPS = 40


def brier(scores: Floats, negatives: Floats, positives: Floats) -> Floats:
    """Return the mean squared difference of probability and label, NaN without cases.

    Args:
        scores: `(K,)` probabilities, ascending.
        negatives: `(..., K)` cases with label 0 at each.
        positives: `(..., K)` cases with label 1.
    """
    cases = (negatives + positives).sum(-1)
    squares = negatives @ scores**2 + positives @ (1 - scores) ** 2
    return np.asarray(np.divide(squares, cases, out=np.full(np.shape(cases), np.nan), where=cases > 0))


def bin_of_scores(cases: Floats, bins: int) -> NDArray[np.intp]:
    """Return the adaptive bin of each score, `(..., K)`: bins of equal numbers of cases.

    A score belongs to bin `⌊bins · (share of the cases below it)⌋`: equal scores are never split, and probabilities
    that are all the same make one bin.
    """
    below = cases.cumsum(-1) - cases
    total = np.maximum(cases.sum(-1, keepdims=True), 1)
    return np.asarray(np.minimum(np.floor(bins * below / total), bins - 1), dtype=np.intp)


def reliability(scores: Floats, negatives: Floats, positives: Floats, bins: int = 10) -> tuple[Floats, Floats, Floats]:
    """Return cases, mean probability and share of positives of adaptive bins, `(..., bins)`; NaN where one is empty."""
    cases = negatives + positives
    lead = cases.shape[:-1]
    offset = bins * np.arange(math.prod(lead), dtype=np.intp).reshape(*lead, 1)
    place = (bin_of_scores(cases, bins) + offset).ravel()
    size = bins * math.prod(lead)

    def total(weights: Floats) -> Floats:
        return np.asarray(np.bincount(place, weights.ravel(), minlength=size).reshape(*lead, bins), dtype=np.float64)

    count = total(cases)
    empty = np.full(count.shape, np.nan)
    mean = np.divide(total(cases * scores), count, out=empty.copy(), where=count > 0)
    share = np.divide(total(positives), count, out=empty.copy(), where=count > 0)
    return count, mean, share


def adaptive_ece(scores: Floats, negatives: Floats, positives: Floats, bins: int = 10) -> Floats:
    """Return the mean over cases of |mean probability − share of positives| of their bin, NaN without cases."""
    count, mean, share = reliability(scores, negatives, positives, bins)
    cases = count.sum(-1)
    error = np.where(count > 0, count * np.abs(mean - share), 0).sum(-1)
    return np.asarray(np.divide(error, cases, out=np.full(np.shape(cases), np.nan), where=cases > 0))


def calibration_line(scores: Floats, negatives: Floats, positives: Floats) -> tuple[Floats, Floats]:
    """Return calibration intercept and slope by maximum likelihood.

    The intercept is that of `logit P(y = 1) = a + logit(p)` (calibration in the large: 0 is right, more than 0 says
    that probabilities are too low), the slope is `b` of `logit P(y = 1) = a + b · logit(p)` (1 is right, less says that
    they are too extreme). Probabilities are first limited to 1e-6 from 0 and 1.

    Args:
        scores: `(K,)` probabilities, ascending.
        negatives: `(..., K)` cases with label 0 at each.
        positives: `(..., K)` cases with label 1.

    Returns:
        Two arrays of the leading shape: NaN without both classes; the slope also where one score separates the classes
        or all are equal, since there is no finite maximum then.
    """
    limited = np.clip(scores, _EDGE, 1 - _EDGE)
    logits = np.log(limited) - np.log1p(-limited)
    lead = np.broadcast_shapes(negatives.shape, positives.shape)[:-1]
    rows, size = math.prod(lead), len(scores)
    negatives, positives = negatives.reshape(rows, size), positives.reshape(rows, size)
    found = np.full((2, len(positives)), np.nan)
    both = (positives.sum(-1) > 0) & (negatives.sum(-1) > 0)
    if both.any():
        cases = negatives[both] + positives[both]
        found[0, both] = _intercept(logits, cases, positives[both])
        finite = both.copy()
        finite[both] = ~_separated(negatives[both], positives[both])
        if finite.any():
            cases = negatives[finite] + positives[finite]
            found[1, finite] = _slope(logits, cases, positives[finite])
    return found[0].reshape(lead), found[1].reshape(lead)


def _separated(negatives: Floats, positives: Floats) -> NDArray[np.bool_]:
    """Whether no negative lies strictly above a positive, or no positive strictly above a negative."""
    size = negatives.shape[-1]

    def first(counts: Floats) -> NDArray[np.intp]:
        return np.asarray((counts > 0).argmax(-1))

    def last(counts: Floats) -> NDArray[np.intp]:
        return np.asarray(size - 1 - (counts[..., ::-1] > 0).argmax(-1))

    return (first(positives) >= last(negatives)) | (first(negatives) >= last(positives))


def _sigmoid(values: Floats) -> Floats:
    return 0.5 * (1 + np.tanh(0.5 * values))


def _intercept(logits: Floats, cases: Floats, positives: Floats) -> Floats:
    """Solve `Σ cases · σ(a + logit) = Σ positives` by Newton steps that bisection keeps inside a bracket."""
    wanted = positives.sum(-1)
    low, high = np.full(len(cases), -60.0), np.full(len(cases), 60.0)
    start = 0.0 if len(cases) == 1 else float(_intercept(logits, cases.sum(0)[None], positives.sum(0)[None])[0])
    a = np.full(len(cases), start)
    for _ in range(2 * _STEPS):
        mean = _sigmoid(logits + a[:, None])
        called = cases * mean
        miss = called.sum(-1) - wanted
        low, high = np.where(miss < 0, a, low), np.where(miss > 0, a, high)
        step = a - miss / np.maximum((called * (1 - mean)).sum(-1), 1e-300)
        new = np.where((step > low) & (step < high), step, (low + high) / 2)
        new = np.where(miss == 0, a, new)
        moved = np.abs(new - a).max()
        a = new
        if moved < 1e-11:
            break
    return a


def _slope(logits: Floats, cases: Floats, positives: Floats) -> Floats:
    """Return the slopes of all rows: Newton steps from the fit of all rows together, which resamples lie close to.

    The likelihood is concave, so that where the steps end is its maximum. Rows whose steps do not are fitted alone.
    """
    if len(cases) == 1:
        return _safe_slope(logits, cases, positives)[1]
    whole = cases.sum(0)
    total = whole.sum()
    centre = whole @ logits / total
    x = logits - centre
    powers = np.stack([np.ones_like(x), x, x * x], 1)
    level, slope = _safe_slope(logits, whole[None], positives.sum(0)[None])
    a, b = np.full(len(cases), level[0] + slope[0] * centre), np.full(len(cases), slope[0])
    wanted, done = positives @ powers[:, :2], np.zeros(len(cases), dtype=bool)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for _ in range(8):
            mean = _sigmoid(a[:, None] + b[:, None] * x)
            called = cases * mean
            g0, g1 = (wanted - called @ powers[:, :2]).T
            h0, h1, h2 = ((called - called * mean) @ powers).T
            det = h0 * h2 - h1 * h1
            da, db = (h2 * g0 - h1 * g1) / det, (h0 * g1 - h1 * g0) / det
            a, b = a + da, b + db
            done = np.abs(db) <= 1e-9 * (1 + np.abs(b))
            if done.all():
                break
    if not done.all():
        b[~done] = _safe_slope(logits, cases[~done], positives[~done])[1]
    return b


def _safe_slope(logits: Floats, cases: Floats, positives: Floats) -> tuple[Floats, Floats]:
    """Newton's method on `a + b · (logit − mean)`, steps halved while the likelihood falls; a at logit 0, and b."""
    total = cases.sum(-1)
    centre = cases @ logits / total
    spread = np.sqrt(np.maximum((cases * (logits - centre[:, None]) ** 2).sum(-1) / total, 1e-300))
    x = (logits - centre[:, None]) / spread[:, None]
    share = positives.sum(-1) / total
    a, b = np.log(share) - np.log1p(-share), np.zeros(len(cases))

    def likelihood(a: Floats, b: Floats) -> Floats:
        eta = a[:, None] + b[:, None] * x
        return np.asarray((positives * eta - cases * np.logaddexp(0, eta)).sum(-1))

    best = likelihood(a, b)
    active = np.ones(len(cases), dtype=bool)
    for _ in range(_STEPS):
        mean = _sigmoid(a[:, None] + b[:, None] * x)
        rest, weight = positives - cases * mean, cases * mean * (1 - mean)
        g0, g1 = rest.sum(-1), (rest * x).sum(-1)
        h0, h1, h2 = weight.sum(-1), (weight * x).sum(-1), (weight * x * x).sum(-1)
        det = np.maximum(h0 * h2 - h1 * h1, 1e-300)
        da, db = (h2 * g0 - h1 * g1) / det, (h0 * g1 - h1 * g0) / det
        scale = np.where(active, 1.0, 0.0)
        for _ in range(30):
            tried = likelihood(a + scale * da, b + scale * db)
            worse = active & ~(tried >= best - 1e-9 * np.abs(best))
            if not worse.any():
                break
            scale = np.where(worse, scale / 2, scale)
        a, b, best = a + scale * da, b + scale * db, np.where(active, tried, best)
        active &= np.maximum(np.abs(scale * da), np.abs(scale * db)) > 1e-9 * (1 + np.abs(b))
        if not active.any():
            break
    slope = np.where(active, np.nan, b / spread)
    return a - slope * centre, slope
