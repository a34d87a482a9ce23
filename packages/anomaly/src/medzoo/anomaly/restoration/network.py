"""The network: three encoders and decoders, and attention between a record and one of its beats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Restored(NamedTuple):
    """What the network makes of a record and one of its beats."""

    signal: Tensor
    """`(B, L, T)` in [-1, 1]."""
    signal_spread: Tensor
    """`(B, 1, T)` log variance, shared by the leads."""
    beat: Tensor
    """`(B, L, d)` in [-1, 1]."""
    beat_spread: Tensor
    """`(B, 1, d)` log variance."""
    trend: Tensor
    """`(B, L, T)` in [-1, 1], the signal as restored with the help of its trend."""
    tokens: Tensor
    """`(B, 2 hidden, n)`, those of the record, after the exchange, above those of its trend."""


class Encoder(nn.Sequential):
    """Halves the length five times, then a bare convolution: `(B, L, T)` to `(B, hidden, T / 32 − tail + 1)`.

    Args:
        leads: Channels of the input.
        widths: Channels of the five halvings.
        hidden: Channels of the tokens.
        tail: Samples that the last convolution sees.
    """

    def __init__(self, leads: int, widths: Sequence[int], hidden: int, tail: int) -> None:
        layers: list[nn.Module] = []
        before = leads
        for i, width in enumerate(widths):
            layers.append(nn.Conv1d(before, width, 4, 2, 1, bias=False))
            if i:
                layers.append(nn.BatchNorm1d(width))
            layers.append(nn.LeakyReLU(0.2))
            before = width
        super().__init__(*layers, nn.Conv1d(before, hidden, tail, bias=False))


class Decoder(nn.Sequential):
    """The mirror of `Encoder`, ending in tanh.

    Args:
        hidden: Channels of the tokens.
        widths: Channels of the encoder's halvings.
        out: Channels of the output.
        tail: Samples that the first convolution sees.
    """

    def __init__(self, hidden: int, widths: Sequence[int], out: int, tail: int) -> None:
        layers: list[nn.Module] = []
        before = hidden
        for i, width in enumerate(reversed(widths)):
            how = (tail, 1, 0) if i == 0 else (4, 2, 1)
            layers += [nn.ConvTranspose1d(before, width, *how, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
            before = width
        super().__init__(*layers, nn.ConvTranspose1d(before, out, 4, 2, 1, bias=False), nn.Tanh())


class Exchange(nn.Module):
    """Attention over the tokens of record and beat together, from which both take what they lack.

    Args:
        hidden: Channels of the tokens.
        record: Tokens of the record.
        beat: Tokens of the beat.
        heads: Heads of the attention.
        dropout: Of attention and its output, in training.
    """

    def __init__(self, hidden: int, record: int, beat: int, heads: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        both = record + beat
        self.attention = nn.MultiheadAttention(hidden, heads, dropout, batch_first=True)
        self.dropout, self.norm = nn.Dropout(dropout), nn.LayerNorm(hidden, eps=1e-6)
        self.to_beat = nn.Sequential(nn.Linear(both, 2 * both), nn.ReLU(), nn.Linear(2 * both, beat))
        self.to_record = nn.Sequential(nn.Linear(both, 4 * both), nn.ReLU(), nn.Linear(4 * both, record))

    def forward(self, record: Tensor, beat: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens of record `(B, hidden, n)` and beat `(B, hidden, m)` with what the other adds."""
        tokens = torch.cat([record, beat], dim=2).transpose(1, 2)
        mixed = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        seen = self.norm(tokens + self.dropout(mixed)).transpose(1, 2)
        return record + self.to_record(seen), beat + self.to_beat(seen)


class CrossRestoration(nn.Module):
    """Restores a masked record, a masked beat of it, and the record once more from its trend.

    Args:
        leads: Leads.
        length: Samples of a record, a multiple of 32.
        beat: Samples of a beat, a multiple of 32.
        widths: Channels of the five halvings.
        hidden: Channels of the tokens.
        tail: Samples, of each 32, that the last convolution of an encoder sees.
        spread: Least and largest log variance.
    """

    def __init__(
        self,
        leads: int = 12,
        length: int = 4800,
        beat: int = 480,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        hidden: int = 50,
        tail: int = 15,
        spread: tuple[float, float] = (-1.0, 1.0),
    ) -> None:
        super().__init__()
        self.tokens = length // 32 - tail + 1, beat // 32 - tail + 1
        if length % 32 or beat % 32 or min(self.tokens) < 1:
            raise ValueError(f"length {length} and beat {beat} must be multiples of 32, at least 32 × tail ({tail})")
        self.spread = spread
        self.record_encoder, self.beat_encoder, self.trend_encoder = (
            Encoder(leads, widths, hidden, tail) for _ in range(3)
        )
        self.exchange = Exchange(hidden, *self.tokens)
        self.record_decoder = Decoder(hidden, widths, leads + 1, tail)
        self.beat_decoder = Decoder(hidden, widths, leads + 1, tail)
        self.trend_decoder = Decoder(2 * hidden, widths, leads, tail)

    def forward(self, record: Tensor, beat: Tensor, trend: Tensor) -> Restored:
        """Restore masked records `(B, L, T)` and beats `(B, L, d)`, given trends `(B, L, T)`."""
        return self.restore(self.record_encoder(record), self.beat_encoder(beat), self.trend_encoder(trend))

    def restore(self, record: Tensor, beat: Tensor, trend: Tensor) -> Restored:
        """Restore from tokens, so that what several beats share is encoded once."""
        record, beat = self.exchange(record, beat)
        signal, signal_spread = self._parted(self.record_decoder(record))
        restored, beat_spread = self._parted(self.beat_decoder(beat))
        tokens = torch.cat([record, trend], dim=1)
        return Restored(signal, signal_spread, restored, beat_spread, self.trend_decoder(tokens), tokens)

    def _parted(self, decoded: Tensor) -> tuple[Tensor, Tensor]:
        low, high = self.spread
        return decoded[:, :-1], low + (decoded[:, -1:] + 1) * (high - low) / 2
