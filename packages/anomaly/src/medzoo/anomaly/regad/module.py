"""RegAD as a LightningModule."""

from __future__ import annotations

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from medzoo.anomaly.images.fewshot import pieces
from medzoo.anomaly.images.gaussian import PositionGaussians
from medzoo.anomaly.images.registration import Siamese
from medzoo.anomaly.images.scores import Rule
from medzoo.anomaly.images.siamese import RegisteringMethod
from medzoo.anomaly.images.training import cosine
from medzoo.anomaly.images.versions import augmented
from medzoo.anomaly.regad.network import MODES, Registrar
from medzoo.core.backbones.features import EncoderFeatures, stacked
from medzoo.core.errors import ConfigError

_PIECE = 32  # images through the backbone at a time


class RegAD(RegisteringMethod[PositionGaussians]):
    """Learns to register normal images of other categories, then scores new ones against a few normal images.

    Args:
        size: Height and width of the images, one number for a square.
        backbone: Network of timm that is a chain of stages, such as resnet18 or tf_efficientnet_lite0.
        widths: Channels of a small residual network with one block a stage; empty: timm's own.
        weights: "imagenet", "none" or a local file.
        levels: Levels of the features in timm's list, each followed by a spatial transformer; empty: the last of stride
            4, 8 and 16.
        mode: Maps of the spatial transformers.
        train_shots: Supports of each training image; empty: as many as are tested with.
        batch: Images a batch, all of one category.
        epochs: Passes over the normal images of the other categories.
        lr: Learning rate of SGD at the start of the cosine.
        transformer_lr: That of the spatial transformers; empty: the same. Where `lr` is raised to train from random
            weights, theirs must stay low, or they turn images until nothing is left of them.
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
        mode: str = "rotation_scale",
        train_shots: int | None = None,
        batch: int = 32,
        epochs: int = 50,
        lr: float = 1e-4,
        transformer_lr: float | None = None,
        smooth: float = 4.0,
        false_alarms: float = 0.05,
        score: Rule = "max",
    ) -> None:
        super().__init__(size, batch, smooth, false_alarms, score)
        self.save_hyperparameters()
        if mode not in MODES:
            raise ConfigError(f"--model.mode: expected one of {', '.join(MODES)}, got {mode}")
        stages = EncoderFeatures(backbone, widths or (), weights, self.size, levels)
        self.registrar = Registrar(stages, mode)
        self.siamese = Siamese(stages.channels[-1])
        self.train_shots, self.epochs, self.lr = train_shots, epochs, lr
        self.transformer_lr = lr if transformer_lr is None else transformer_lr

    def aligned(self, images: Tensor) -> Tensor:
        """Return the registered features of the last level."""
        registered: Tensor = self.registrar(images)[0]
        return registered

    def features(self, images: Tensor) -> Tensor:
        """Return the registered features of all levels in the frame of the images, `(B, ΣC, H/4, W/4)`."""
        return torch.cat([stacked(self.registrar(part)[1]) for part in pieces(images, _PIECE)])

    @torch.no_grad()
    def reference(self, supports: Tensor) -> PositionGaussians:
        """Estimate a Gaussian a position from 22 versions of each support."""
        return PositionGaussians.fit(self.features(augmented(supports)))

    def coarse_scores(self, reference: PositionGaussians, images: Tensor) -> tuple[Tensor, None]:
        """Return Mahalanobis distances."""
        return reference.distance(self.features(images)), None

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """SGD with a cosine by epoch, one for all parts: the authors' three have the same settings."""
        groups = [
            {"params": [*self.registrar.stages.parameters(), *self.siamese.parameters()], "lr": self.lr},
            {"params": self.registrar.transformers.parameters(), "lr": self.transformer_lr},
        ]
        optimizer = torch.optim.SGD(groups, momentum=0.9)
        return cosine(self, optimizer)
