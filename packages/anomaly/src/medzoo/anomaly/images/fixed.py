"""What the baselines share: features of a network that nothing trains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor

from medzoo.anomaly.images.backbone import Stages
from medzoo.anomaly.images.fewshot import FewShot, Reference

_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PIECE = 32  # images through the network at a time


class FixedNetwork(FewShot[Reference]):
    """A method that looks at the supports through a fixed network.

    Args:
        size: Height and width of the images.
        backbone: Residual network of timm.
        widths: Channels of a small backbone with one block a stage; empty: timm's own.
        weights: "imagenet", "none" (random, from the seed) or a local file.
        batch: Images a batch.
        smooth: Standard deviation in pixels by which score maps are smoothed.
        false_alarms: Share of normal images that the threshold may call abnormal.
    """

    def __init__(
        self,
        size: list[int],
        backbone: str,
        widths: list[int] | None,
        weights: str,
        batch: int,
        smooth: float,
        false_alarms: float,
    ) -> None:
        super().__init__(size, batch, smooth, false_alarms)
        self.net = Stages(backbone, widths or (), weights).requires_grad_(False)
        # Features of networks that saw ImageNet's mean and spread; random ones do not care.
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None])
        self.register_buffer("spread", torch.tensor(_SPREAD)[:, None, None])

    def train(self, mode: bool = True) -> Self:
        """Keep the fixed network's batch statistics as they are."""
        super().train(mode)
        self.net.eval()
        return self

    def staged(self, images: Tensor) -> Iterator[list[Tensor]]:
        """Yield the features of the three stages, piece by piece of `(B, 3, H, W)` in [0, 1]."""
        for piece in images.split(_PIECE):
            yield self.net((piece - self.mean) / self.spread)
