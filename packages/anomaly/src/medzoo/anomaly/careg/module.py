"""CAReg as a LightningModule."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from medzoo.anomaly.images.fewshot import pieces
from medzoo.anomaly.images.gaussian import PositionGaussians
from medzoo.anomaly.images.patches import Coreset, memory, memory_scores, patches
from medzoo.anomaly.images.registration import Siamese
from medzoo.anomaly.images.scores import Rule
from medzoo.anomaly.images.siamese import RegisteringMethod
from medzoo.anomaly.images.training import cosine
from medzoo.anomaly.images.versions import augmented
from medzoo.core.backbones.features import EncoderFeatures, stacked
from medzoo.core.errors import ConfigError

Head = Literal["patches", "gaussian"]
_STRIDES: dict[str, tuple[int, ...]] = {"patches": (8, 16), "gaussian": (4, 8, 16)}
_PIECE = 32  # images through the backbone at a time


class CAReg(RegisteringMethod[Coreset | PositionGaussians]):
    """Learns features that agree between normal images of any category, then scores against a few normal ones.

    Args:
        size: Height and width of the images, one number for a square.
        backbone: Network of timm that gives features, such as wide_resnet50_2.
        widths: Channels of a small residual network with one block a stage; empty: timm's own.
        weights: "imagenet", "none" or a local file.
        levels: Levels of the features in timm's list; empty: the last of stride 8 and 16, with the Gaussian
            of stride 4 too.
        head: What is kept of 22 versions of each support: patches, a coreset as in PatchCore; or gaussian, a Gaussian
            at each position as in PaDiM.
        inside: Channels of the siamese head.
        share: Part of the patches that the coreset keeps.
        most: Patches that the coreset keeps at most.
        nearest: Neighbours that the image score of the patches is re-weighted by; 1 leaves it as it is.
        train_shots: Supports of each training image; empty: as many as are tested with.
        batch: Images a batch, all of one category.
        epochs: Passes over the normal images of the other categories.
        lr: Learning rate of SGD at the start of the cosine.
        smooth: Standard deviation in pixels by which score maps are smoothed.
        false_alarms: Share of normal images that the threshold may call abnormal.
        score: How an image's score is made from its map: "max" is the paper's; "p95" and "mean" are of the smoothed
            map, which nothing re-weights.
    """

    def __init__(
        self,
        size: int | list[int] = [224, 224],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        backbone: str = "wide_resnet50_2",
        widths: list[int] | None = None,
        weights: str = "imagenet",
        levels: list[int] | None = None,
        head: Head = "patches",
        inside: int = 256,
        share: float = 0.1,
        most: int = 20000,
        nearest: int = 9,
        train_shots: int | None = None,
        batch: int = 2,
        epochs: int = 50,
        lr: float = 1e-4,
        smooth: float = 4.0,
        false_alarms: float = 0.05,
        score: Rule = "max",
    ) -> None:
        super().__init__(size, batch, smooth, false_alarms, score)
        self.save_hyperparameters()
        if head not in get_args(Head):
            raise ConfigError(f"--model.head: expected one of {', '.join(get_args(Head))}, got {head}")
        if not 0 < share <= 1:
            raise ConfigError(f"--model.share: expected more than 0 and at most 1, got {share}")
        if inside < 1:
            raise ConfigError(f"--model.inside: expected at least 1, got {inside}")
        self.backbone = EncoderFeatures(backbone, widths or (), weights, self.size, levels, _STRIDES[head])
        self.siamese = Siamese(self.backbone.channels[-1], inside)
        self.head, self.share, self.most, self.nearest = head, share, most, nearest
        self.train_shots, self.epochs, self.lr = train_shots, epochs, lr

    def aligned(self, images: Tensor) -> Tensor:
        """Return the features of the last level."""
        last: Tensor = self.backbone(images)[-1]
        return last

    def features(self, images: Tensor) -> Tensor:
        """Return what the head looks at, `(B, ΣC, h, w)` at the finest level."""
        join = patches if self.head == "patches" else stacked
        return torch.cat([join(self.backbone(part)) for part in pieces(images, _PIECE)])

    @torch.no_grad()
    def reference(self, supports: Tensor) -> Coreset | PositionGaussians:
        """Keep a coreset, or a Gaussian a position, of 22 versions of each support."""
        found = self.features(augmented(supports))
        return memory(found, self.share, self.most) if self.head == "patches" else PositionGaussians.fit(found)

    def coarse_scores(self, reference: Coreset | PositionGaussians, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return distances from the reference, and with patches the re-weighted largest of each image."""
        found = self.features(images)
        if isinstance(reference, PositionGaussians):
            return reference.distance(found), None
        return memory_scores(reference.patches, found, self.nearest)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """SGD with a cosine by epoch over backbone, encoder and predictor."""
        optimizer = torch.optim.SGD(self.parameters(), self.lr, momentum=0.9)
        return cosine(self, optimizer)
