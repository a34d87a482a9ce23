"""PatchCore as a LightningModule, a baseline."""

from __future__ import annotations

import torch
from torch import Tensor

from medzoo.anomaly.images.fixed import FixedNetwork
from medzoo.anomaly.images.patches import Coreset, memory, memory_scores, patches
from medzoo.anomaly.images.scores import Rule
from medzoo.core.errors import ConfigError


class PatchCore(FixedNetwork[Coreset]):
    """Scores patches by the distance to the nearest normal one, images by the re-weighted largest (Roth et al. 2022).

    Args:
        size: Height and width of the images, one number for a square.
        backbone: Network of timm that gives features, such as resnet18, convnext_tiny or tf_efficientnet_lite0.
        widths: Channels of a small residual network with one block a stage; empty: timm's own.
        weights: "imagenet", "none" (random, from the seed) or a local file.
        levels: Levels of the features in timm's list; empty: the last of stride 8 and of stride 16.
        share: Part of the patches that the coreset keeps.
        most: Patches that the coreset keeps at most.
        nearest: Neighbours that the image score is re-weighted by; 1 leaves it as it is.
        batch: Images a batch.
        smooth: Standard deviation in pixels by which score maps are smoothed.
        false_alarms: Share of normal images that the threshold may call abnormal.
        score: How an image's score is made from its map: "max" is the paper's, the distance of the farthest patch
            re-weighted by the neighbours of its match; "p95" and "mean" are of the smoothed map, which nothing
            re-weights.
    """

    def __init__(
        self,
        size: int | list[int] = [224, 224],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        backbone: str = "wide_resnet50_2",
        widths: list[int] | None = None,
        weights: str = "imagenet",
        levels: list[int] | None = None,
        share: float = 0.1,
        most: int = 20000,
        nearest: int = 9,
        batch: int = 16,
        smooth: float = 4.0,
        false_alarms: float = 0.05,
        score: Rule = "max",
    ) -> None:
        super().__init__(size, backbone, widths, weights, levels, (8, 16), batch, smooth, false_alarms, score)
        self.save_hyperparameters()
        if not 0 < share <= 1:
            raise ConfigError(f"--model.share: expected more than 0 and at most 1, got {share}")
        self.share, self.most, self.nearest = share, most, nearest

    def patches(self, images: Tensor) -> Tensor:
        """Return features averaged over 3 × 3 neighbours, coarse ones interpolated, `(B, C, H/8, W/8)`."""
        return torch.cat([patches(stages) for stages in self.staged(images)])

    @torch.no_grad()
    def reference(self, supports: Tensor) -> Coreset:
        """Choose the coreset."""
        return memory(self.patches(supports), self.share, self.most)

    def coarse_scores(self, reference: Coreset, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return distances to the nearest patch of the bank, and the re-weighted largest of each image."""
        return memory_scores(reference.patches, self.patches(images), self.nearest)
