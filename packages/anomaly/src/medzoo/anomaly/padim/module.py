"""PaDiM as a LightningModule, a baseline."""

from __future__ import annotations

import torch
from torch import Tensor

from medzoo.anomaly.images.fixed import FixedNetwork
from medzoo.anomaly.images.gaussian import PositionGaussians
from medzoo.anomaly.images.scores import Rule
from medzoo.core.backbones.features import stacked
from medzoo.core.errors import ConfigError


class PaDiM(FixedNetwork[PositionGaussians]):
    """Scores positions by the distance of fixed features from a Gaussian of the normal images' features.

    Args:
        size: Height and width of the images, one number for a square.
        backbone: Network of timm that gives features, such as resnet18, convnext_tiny or tf_efficientnet_lite0.
        widths: Channels of a small residual network with one block a stage; empty: timm's own.
        weights: "imagenet", "none" (random, from the seed) or a local file.
        levels: Levels of the features in timm's list; empty: the last of stride 4, 8 and 16.
        channels: Features chosen at random of those of all levels; 0 keeps all, as does more than there are.
        batch: Images a batch.
        smooth: Standard deviation in pixels by which score maps are smoothed.
        false_alarms: Share of normal images that the threshold may call abnormal.
        score: How an image's score is made from its map: its largest value as in the paper, the value that 95 % of the
            pixels do not exceed, or its mean.
    """

    def __init__(
        self,
        size: int | list[int] = [224, 224],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        backbone: str = "resnet18",
        widths: list[int] | None = None,
        weights: str = "imagenet",
        levels: list[int] | None = None,
        channels: int = 100,
        batch: int = 32,
        smooth: float = 4.0,
        false_alarms: float = 0.05,
        score: Rule = "max",
    ) -> None:
        super().__init__(size, backbone, widths, weights, levels, (4, 8, 16), batch, smooth, false_alarms, score)
        self.save_hyperparameters()
        total = sum(self.net.channels)
        if channels < 0:
            raise ConfigError(f"--model.channels: expected at least 0, got {channels}")
        order = torch.randperm(total, generator=torch.Generator().manual_seed(0))
        self.chosen: Tensor
        self.register_buffer("chosen", order[: channels or total].sort().values)

    def features(self, images: Tensor) -> Tensor:
        """Return the chosen features, `(B, channels, H/4, W/4)`."""
        return torch.cat([stacked(stages)[:, self.chosen] for stages in self.staged(images)])

    @torch.no_grad()
    def reference(self, supports: Tensor) -> PositionGaussians:
        """Estimate a Gaussian a position."""
        if len(supports) < 2:
            # One sample has no spread: the ridge alone is left, and the distance is Euclidean.
            supports = supports.expand(2, -1, -1, -1)
        return PositionGaussians.fit(self.features(supports))

    def coarse_scores(self, reference: PositionGaussians, images: Tensor) -> tuple[Tensor, None]:
        """Return Mahalanobis distances."""
        return reference.distance(self.features(images)), None
