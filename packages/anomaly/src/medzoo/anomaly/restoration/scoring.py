"""Scores of a record: what is restored badly under three masks, beat by beat."""

from __future__ import annotations

import torch
from torch import Tensor

from medzoo.anomaly.restoration.losses import fixed_masks, normalised, smoothed, trend_of, weighted_error
from medzoo.anomaly.restoration.network import CrossRestoration

BEFORE = 140 / 480
"""Part of a beat that lies before its R peak."""


def windows(beats: Tensor, length: int, beat: int) -> Tensor:
    """Return the first sample of each beat whose window lies within the record, int64."""
    starts = beats - round(BEFORE * beat)
    return starts[(starts >= 0) & (starts + beat <= length)]


def cut(signal: Tensor, starts: Tensor, beat: int) -> Tensor:
    """Cut windows `(N, L, beat)` out of a record `(L, T)`."""
    at = starts[:, None] + torch.arange(beat, device=signal.device)
    return signal[:, at].transpose(0, 1)


def score_record(
    net: CrossRestoration,
    signal: Tensor,
    seen: Tensor,
    starts: Tensor,
    beat: int,
    norm: str,
    trend: int,
    sigma: float,
    masked_trend: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the score of a record, `()`, and its map, `(L, T)`.

    The score is the mean over beats and masks of the mean weighted error of record and beat plus the mean error by the
    trend; the map holds the same terms in place, where windows of beats overlap their sum, and is smoothed.

    Args:
        net: In evaluation mode.
        signal: `(L, T)` in mV.
        seen: `(L, T)` as the network gets it.
        starts: First samples of the beats, at least one.
        beat: Samples of a beat.
        norm: See `losses.normalised`.
        trend: Samples of the moving average.
        sigma: Samples by which the map is smoothed.
        masked_trend: Take the trend of the masked record.
    """
    whole, part = (mask.to(signal) for mask in fixed_masks(signal.shape[-1], beat))
    parts = normalised(cut(signal, starts, beat), norm)
    count, masks = len(parts), len(whole)
    slopes = trend_of(seen * whole if masked_trend else seen[None], trend)
    record, slope = net.record_encoder(seen * whole), net.trend_encoder(slopes).expand(masks, -1, -1)
    beats = net.beat_encoder((parts[:, None] * part).flatten(0, 1))
    made = net.restore(record.repeat(count, 1, 1), beats, slope.repeat(count, 1, 1))
    of_record = weighted_error(made.signal, seen, made.signal_spread) + (made.trend - seen).square()
    target = parts.repeat_interleave(masks, 0)
    of_beats = weighted_error(made.beat, target, made.beat_spread)
    own = of_beats.unflatten(0, (count, masks)).mean(1)  # (N, L, d)
    at = (starts[:, None] + torch.arange(beat, device=signal.device)).reshape(-1)
    heat = of_record.mean(0).index_add(1, at, own.transpose(0, 1).reshape(len(signal), -1))
    return of_record.mean() + of_beats.mean(), smoothed(heat, sigma)
