"""The classifier of tokens: a residual network along time."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

_STRIDE, _STRIDE_AT, _DOUBLE = 6, 1, 12  # blocks 1, 7, 13 halve the time; block 12 doubles the channels


class SameConv(nn.Module):
    """A convolution that keeps the length, or halves it with a stride of 2, rounding up.

    Args:
        before: Channels of the input.
        after: Channels of the output.
        kernel: Samples of the kernel.
        stride: 1 or 2.
        groups: Groups of channels.
    """

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv = nn.Conv1d(before, after, kernel, stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, after, ⌈n / stride⌉)` of `(B, before, n)`."""
        length = x.shape[-1]
        pad = max(0, (-(-length // self.stride) - 1) * self.stride + self.kernel - length)
        out: Tensor = self.conv(F.pad(x, (pad // 2, pad - pad // 2)))
        return out


class Block(nn.Module):
    """Two grouped convolutions, each after normalisation, ReLU and dropout, beside an identity.

    Args:
        before: Channels of the input.
        after: Channels of the output, those of the input or twice as many.
        kernel: Samples of the kernels.
        groups: Groups of channels.
        dropout: Part of the channels that is dropped in training.
        stride: 1, or 2 to halve the time.
        first: Whether the stem has just normalised.
    """

    def __init__(
        self, before: int, after: int, kernel: int, groups: int, dropout: float, stride: int, first: bool
    ) -> None:
        super().__init__()
        self.stride, self.more = stride, after - before
        ready = nn.Identity() if first else nn.Sequential(nn.BatchNorm1d(before), nn.ReLU(), nn.Dropout(dropout))
        self.body = nn.Sequential(
            ready,
            SameConv(before, after, kernel, stride, groups),
            nn.BatchNorm1d(after),
            nn.ReLU(),
            nn.Dropout(dropout),
            SameConv(after, after, kernel, 1, groups),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, after, ⌈n / stride⌉)`."""
        same = F.max_pool1d(x, 2, ceil_mode=True) if self.stride == 2 else x
        if self.more:
            same = F.pad(same, (0, 0, self.more // 2, self.more - self.more // 2))
        out: Tensor = self.body(x) + same
        return out


class TokenClassifier(nn.Module):
    """Reads classes from tokens `(B, C, n)`: `(B, classes)` logits.

    Args:
        channels: C.
        classes: How many.
        width: Channels of the first 12 blocks.
        blocks: Blocks of two convolutions.
        kernel: Samples of the kernels.
        groups: Groups of channels.
        dropout: Part of the channels that is dropped in training.
    """

    def __init__(
        self,
        channels: int = 100,
        classes: int = 116,
        width: int = 128,
        blocks: int = 16,
        kernel: int = 16,
        groups: int = 32,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if width % groups:
            raise ValueError(f"width {width} must be a multiple of groups {groups}")
        self.stem = nn.Sequential(SameConv(channels, width, kernel), nn.BatchNorm1d(width), nn.ReLU())
        made, before = [], width
        for index in range(blocks):
            after = 2 * before if index and index % _DOUBLE == 0 else before
            stride = 2 if index % _STRIDE == _STRIDE_AT else 1
            made.append(Block(before, after, kernel, groups, dropout, stride, first=index == 0))
            before = after
        self.blocks = nn.Sequential(*made)
        self.last = nn.Sequential(nn.BatchNorm1d(before), nn.ReLU())
        self.head = nn.Linear(before, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.last(self.blocks(self.stem(tokens))).mean(-1))
        return logits
