"""What the baselines share: features of a network that nothing trains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor

from medzoo.anomaly.images.fewshot import FewShot, Reference, pieces
from medzoo.anomaly.images.scores import Rule
from medzoo.core.backbones.features import EncoderFeatures

_PIECE = 32  # images through the network at a time


class FixedNetwork(FewShot[Reference]):
    """A method that looks at the supports through a fixed network.

    Args:
        size: Height and width of the images, one number for a square.
        backbone: Network of timm that gives features.
        widths: Channels of a small residual network with one block a stage; empty: timm's own.
        weights: "imagenet", "none" (random, from the seed) or a local file.
        levels: Levels of the features in timm's list; empty: the last of each of the strides.
        strides: Of the levels where none are given.
        batch: Images a batch.
        smooth: Standard deviation in pixels by which score maps are smoothed.
        false_alarms: Share of normal images that the threshold may call abnormal.
        score: How an image's score is made from its map: max, p95 or mean.
    """

    mean: Tensor
    spread: Tensor

    def __init__(
        self,
        size: int | list[int],
        backbone: str,
        widths: list[int] | None,
        weights: str,
        levels: list[int] | None,
        strides: tuple[int, ...],
        batch: int,
        smooth: float,
        false_alarms: float,
        score: Rule,
    ) -> None:
        super().__init__(size, batch, smooth, false_alarms, score)
        self.net = EncoderFeatures(backbone, widths or (), weights, self.size, levels, strides).requires_grad_(False)
        # Those of the images that the weights were learnt on; irrelevant for random weights.
        self.register_buffer("mean", torch.tensor(self.net.mean)[:, None, None])
        self.register_buffer("spread", torch.tensor(self.net.spread)[:, None, None])

    def train(self, mode: bool = True) -> Self:
        """Keep the fixed network's batch statistics as they are."""
        super().train(mode)
        self.net.eval()
        return self

    def staged(self, images: Tensor) -> Iterator[list[Tensor]]:
        """Yield the features of the levels, piece by piece of `(B, 3, H, W)` in [0, 1]."""
        for piece in pieces(images, _PIECE):
            yield self.net((piece - self.mean) / self.spread)
