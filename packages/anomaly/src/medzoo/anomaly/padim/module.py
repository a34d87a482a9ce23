"""PaDiM as a LightningModule, a baseline."""

from __future__ import annotations

import torch
from torch import Tensor

from medzoo.anomaly.backbone import Stages, stacked
from medzoo.anomaly.fewshot import TrainingFree
from medzoo.anomaly.gaussian import PositionGaussians
from medzoo.core.errors import ConfigError

_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PaDiM(TrainingFree[PositionGaussians]):
    """Scores positions by the distance of fixed features from a Gaussian of the normal images' features.

    Args:
        size: Height and width of the images.
        backbone: Residual network of timm.
        widths: Channels of a small backbone with one block a stage; empty: timm's own.
        weights: "imagenet", "none" (random, from the seed) or a local file.
        channels: Features chosen at random of those of the three stages; 0 keeps all, as does more than there are.
        batch: Images a batch.
        smooth: Standard deviation in pixels by which score maps are smoothed.
        false_alarms: Share of normal images that the threshold may call abnormal.
    """

    def __init__(
        self,
        size: list[int] = [224, 224],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        backbone: str = "resnet18",
        widths: list[int] | None = None,
        weights: str = "imagenet",
        channels: int = 100,
        batch: int = 32,
        smooth: float = 4.0,
        false_alarms: float = 0.05,
    ) -> None:
        super().__init__(size, smooth, false_alarms)
        self.save_hyperparameters()
        self.net = Stages(backbone, widths or (), weights).requires_grad_(False)
        total = sum(self.net.channels)
        if channels < 0:
            raise ConfigError(f"--model.channels: expected at least 0, got {channels}")
        order = torch.randperm(total, generator=torch.Generator().manual_seed(0))
        self.chosen: Tensor
        self.register_buffer("chosen", order[: channels or total].sort().values)
        # Features of networks that saw ImageNet's mean and spread; random ones do not care.
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None])
        self.register_buffer("spread", torch.tensor(_SPREAD)[:, None, None])
        self.batch = batch

    @property
    def batch_size(self) -> int:
        """Images a batch."""
        return self.batch

    def train(self, mode: bool = True) -> PaDiM:
        """Keep the fixed network's batch statistics as they are."""
        super().train(mode)
        self.net.eval()
        return self

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Return the chosen features, `(B, channels, H/4, W/4)`."""
        parts = [stacked(self.net((part - self.mean) / self.spread)) for part in images.split(32)]
        return torch.cat(parts)[:, self.chosen]

    @torch.no_grad()
    def reference(self, supports: Tensor) -> PositionGaussians:
        """Estimate a Gaussian a position."""
        if len(supports) < 2:
            # One sample has no spread: the ridge alone is left, and the distance is Euclidean.
            supports = supports.expand(2, -1, -1, -1)
        return PositionGaussians.fit(self.features(supports))

    @torch.no_grad()
    def coarse_scores(self, reference: PositionGaussians, images: Tensor) -> tuple[Tensor, None]:
        """Return Mahalanobis distances."""
        return reference.distance(self.features(images)), None
