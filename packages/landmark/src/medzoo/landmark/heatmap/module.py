"""Supervised heat-map regression as a Lightning module: the baselines beside which the other methods stand."""

from __future__ import annotations

from typing import ClassVar

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from medzoo.core.backbones.pretrained import start_from
from medzoo.core.errors import ConfigError
from medzoo.core.optim.schedules import adamw
from medzoo.core.sample import Batch
from medzoo.landmark.found import Found
from medzoo.landmark.heatmap.network import HeatmapNetwork
from medzoo.landmark.method import LandmarkMethod
from medzoo.landmark.networks.decode import DecoderName
from medzoo.landmark.networks.heatmaps import Target, find_points, heatmap_loss
from medzoo.landmark.shots import Domains, standardise
from medzoo.landmark.views import View, annotated

_STRIDE = 32


class Heatmap(LandmarkMethod):
    """Supervised heat-map regression with a U-Net or any timm encoder (HRNet, ConvNeXt, …), on annotated images.

    Args:
        domains: Landmark names by domain; empty: those of the data.
        backbone: `unet`, or a timm model that gives features, such as `hrnet_w18` or `convnext_tiny`.
        width: Channels of the U-Net at full resolution; timm models have their own.
        decoder_width: Most channels of a step of the decoder.
        weights: File with weights of the timm model, or the name `tf_efficientnet_lite0`, whose weights come with pip;
            empty: random ones. Nothing is downloaded.
        size: Height and width of the images, one number for a square; multiples of 32 for timm models.
        target: Heat maps are to become a distribution over pixels, `softmax`, or `gaussian` (cross-entropy of each
            pixel with a peak of 1) or `alpha_power` (UOD's).
        sigma: Width of the target in pixels of the network's image.
        decoder: How points are read from heat maps: local_mean, median, argmax, quarter, parabola, soft_argmax, dark or
            component_mean.
        augment: Strength of smooth deformation, rotation, zoom, shift and changes of intensity of the images.
        rehearsal: Share of the epochs that first train on drawn radiographs with their exact landmarks, for domains
            that are read from files and have the landmarks of a built-in phantom.
        lr: Highest learning rate of AdamW; it rises over a tenth of the steps and falls to 0 by a cosine.
        epochs: Epochs.
        steps: Steps instead of epochs.
        batch: Images a batch, all of one domain.
    """

    supervised: ClassVar[bool] = True
    trains_in_parts: ClassVar[bool] = True

    def __init__(
        self,
        domains: dict[str, list[str]] | None = None,
        backbone: str = "unet",
        width: int = 64,
        decoder_width: int = 256,
        weights: str | None = None,
        size: int | list[int] = [512, 512],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        target: Target = "softmax",
        sigma: float = 4.0,
        decoder: DecoderName = "local_mean",
        augment: float = 1.0,
        rehearsal: float = 0.0,
        lr: float = 1e-3,
        epochs: int = 100,
        steps: int | None = None,
        batch: int = 4,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if backbone == "unet" and weights:
            raise ConfigError("--model.weights are those of a timm model; backbone is unet")
        self.network: HeatmapNetwork | None = None
        self.view = View(augment)
        self.build_for_domains(domains)

    def build(self, domains: Domains) -> None:
        """Make the network."""
        h = self.hparams
        counts = [len(names) for names in domains.values()]
        try:
            network = HeatmapNetwork(counts, h["backbone"], 1, h["width"], h["decoder_width"])
        except ValueError as error:
            raise ConfigError(f"--model.backbone: {error}") from error
        self.network = network.to(memory_format=torch.channels_last)

    def setup(self, stage: str) -> None:
        """Check the size of the images, and take the weights to start from."""
        super().setup(stage)
        if self.hparams["backbone"] != "unet":
            self.check_sides(_STRIDE, f" for {self.hparams['backbone']}")
        if stage == "fit" and self.network is not None:
            start_from(self.hparams["weights"], self.network.load_encoder)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with warm-up and cosine decay."""
        return adamw(self, self.stage_hparam("lr"))

    def logits(self, image: Tensor, domain: int) -> Tensor:
        """Return the logits `(B, K, H, W)` of the heat maps of images in [0, 1]."""
        assert self.network is not None
        out: Tensor = self.network(standardise(image), domain)
        return out

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Take one batch of one domain."""
        image, points = self.rehearsals.draw(batch) or annotated(batch, self.view)
        logits = self.logits(image, int(batch["domain"][0]))
        loss = heatmap_loss(logits, points, self.hparams["sigma"], self.hparams["target"])
        self.log("train/loss", loss)
        return loss

    def forward(self, image: Tensor, domain: int) -> Found:
        """Find the landmarks of a domain in its heat maps."""
        h = self.hparams
        return find_points(self.logits(image, domain), h["target"], h["decoder"], h["sigma"])
