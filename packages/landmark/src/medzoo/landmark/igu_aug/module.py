"""IGU-Aug as a Lightning module: CC2D's matching twice, the second time with intensities that the first has found."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, cast

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from medzoo.core.backbones.pretrained import start_from
from medzoo.core.errors import ConfigError, check_choice
from medzoo.core.optim.schedules import adam_in_steps, adamw
from medzoo.core.sample import Batch
from medzoo.landmark.found import Found
from medzoo.landmark.igu_aug.handover import read_intervals, write_intensities
from medzoo.landmark.igu_aug.information import Indicator
from medzoo.landmark.igu_aug.originals import OriginalEntropy
from medzoo.landmark.igu_aug.sampling import InformedSampler
from medzoo.landmark.matching import search
from medzoo.landmark.matching.cascade import Cascade, Sampler, patch_warp
from medzoo.landmark.matching.embedder import Embedder
from medzoo.landmark.matching.patches import Jitter
from medzoo.landmark.matching.search import LossVariant, contrast_of
from medzoo.landmark.method import LandmarkMethod
from medzoo.landmark.networks.embedding import Embedders, EmbeddingUNet, matchers
from medzoo.landmark.networks.vgg import Norm
from medzoo.landmark.shots import Domains
from medzoo.landmark.views import View


class IGUAug(LandmarkMethod):
    """Information-guided pixel augmentation (TMI 2024): CC2D's matching with pixels chosen and augmented by entropy.

    With several domains in the data, each has networks and intensities of its own.

    Args:
        stage: `round1` (CC2D's intensities), `round2` (those of `augmentation`) or `all` (both, on the command line).
        domains: Landmark names by domain; empty: those of the data.
        augmentation: File of intensities that round 1 wrote, for round 2.
        loss: Form of CC2D's matching, `classic` (paper) or `v2`.
        size: Height and width of the images, one number for a square; multiples of 32.
        patch: Side of the augmented patches that must be found in the image.
        points: Points matched for each patch, all of one class; the paper takes one.
        alpha: Pixels are drawn in proportion to their entropy to this power; 0 draws them alike, as CC2D does.
        threshold: Draw pixels of at least this entropy in bits alike instead, and no others; the paper has 1 to 2.
        medium: Entropy in bits from which a pixel is of the medium class.
        high: Entropy in bits from which a pixel is of the high class.
        radius: Radius of the neighbourhood of a pixel, in pixels of the image whose entropy it is.
        entropy: Entropy of the `original` image at its own resolution, resized (public code), or of the image that the
            `network` sees, as `augment` needs.
        mi: Information between patches: `joint` (of aligned pixels) or `counts` (public code).
        mi_side: Side of these patches in pixels of the image that the network sees; the public code has 64.
        references: Images of each domain that the intensities are estimated on.
        vgg_widths: Channels of the VGG stages.
        vgg_depths: Convolutions of the VGG stages.
        vgg_norm: Normalisation in the VGG: none (paper), batch or group.
        decoder_widths: Channels of the decoder at strides 16, 8, 4 and 2.
        embedding: Channels of the embeddings.
        window: Half width in cells of the window around the true cell in the loss; the paper has 9 (head) and 6 (hand).
        upsampling: How coarse strides reach the finest: `nearest` (paper) or `bilinear`, which refines maxima.
        vgg_weights: Initial weights of the VGGs: a file, or `vgg19` where a cache has it; empty: random ones.
        lr: Learning rate.
        decay: Epochs after which the rate falls, and the factor.
        epochs: Epochs of each round.
        steps: Steps of each round instead of epochs.
        batch: Images a batch.
        schedule: `paper` (Adam, the rate falls in steps) or `cosine` (AdamW, warm-up and cosine decay).
        augment: Strength of the deformation and intensity changes of whole images, and of scale, deformation, gamma and
            noise of patches; the paper has 0.
    """

    stages: ClassVar[tuple[str, ...]] = ("round1", "round2")
    keeps_shots: ClassVar[bool] = True
    trains_in_parts: ClassVar[bool] = True

    def __init__(
        self,
        stage: str = "round1",
        domains: dict[str, list[str]] | None = None,
        augmentation: str | None = None,
        loss: LossVariant = "classic",
        size: int | list[int] = 384,
        patch: int = 64,
        points: int = 1,
        alpha: float = 0.3,
        threshold: float | None = None,
        medium: float = 2.0,
        high: float = 4.5,
        radius: int = 10,
        entropy: Literal["original", "network"] = "original",
        mi: Indicator = "joint",
        mi_side: int = 64,
        references: int = 8,
        vgg_widths: tuple[int, ...] = (64, 128, 256, 512, 512),
        vgg_depths: tuple[int, ...] = (2, 2, 4, 4, 4),
        vgg_norm: Norm = "none",
        decoder_widths: tuple[int, ...] = (256, 128, 64, 128),
        embedding: int = 16,
        window: int = 9,
        upsampling: search.Upsampling = "nearest",
        vgg_weights: str | None = "vgg19",
        lr: float = 1e-4,
        decay: tuple[int, float] = (550, 0.8),
        epochs: int = 4400,
        steps: int | None = None,
        batch: int = 8,
        schedule: Literal["paper", "cosine"] = "paper",
        augment: float = 0.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        check_choice("model.stage", stage, ("all", *self.stages))
        check_choice("model.loss", loss, ("classic", "v2"))
        check_choice("model.mi", mi, ("joint", "counts"))
        check_choice("model.entropy", entropy, ("original", "network"))
        if mi_side < 2:
            raise ConfigError(f"--model.mi_side: expected at least 2 pixels, got {mi_side}")
        if references < 2 or not 0 < medium < high or alpha < 0:
            raise ConfigError(
                "--model: expected references of at least 2, 0 < medium < high and alpha of at least 0, "
                f"got {references}, {medium}, {high} and {alpha}"
            )
        self.stage = stage
        self.cascade = Cascade(contrast_of(loss, window), upsampling=upsampling)
        self.view = View(augment)
        changes = Jitter(0.0, 0.0, 0.3 * augment, 0.03 * augment)
        self.sampler = partial(
            InformedSampler, patch, points, patch_warp(augment), changes,
            alpha=alpha, threshold=threshold, borders=(medium, high), radius=radius,
        )  # fmt: skip
        self.samplers: list[InformedSampler] = []
        self.originals = OriginalEntropy(radius) if entropy == "original" else None
        self.network: Embedders | None = None
        self.patch_network: Embedders | None = None
        self.build_for_domains(domains)

    @property
    def embedder(self) -> Embedder | None:
        """The network of either round."""
        return self.network

    def build(self, domains: Domains) -> None:
        """Make the networks, one for each domain."""
        h = self.hparams
        matcher = partial(
            EmbeddingUNet, in_channels=1, widths=h["vgg_widths"], depths=h["vgg_depths"], norm=h["vgg_norm"],
            decoder_widths=h["decoder_widths"], embedding=h["embedding"],
        )  # fmt: skip
        self.network, self.patch_network = matchers(len(domains), h["loss"], matcher)

    def setup(self, stage: str) -> None:
        """Take the shots from the data, the weights to start from and, in round 2, the intensities of round 1."""
        if stage == "fit" and self.originals is not None and self.view.strength:
            raise ConfigError(
                f"--model.augment: expected 0 with the entropy of the original images, got {self.view.strength}; "
                "give --model.entropy network"
            )
        super().setup(stage)
        if stage != "fit":
            return
        for network in filter(None, (self.network, self.patch_network)):
            start_from(self.hparams["vgg_weights"], network.load_vgg)
        self.samplers = [self.sampler() for _ in self.names]
        if self.stage == "round2":
            if self.hparams["augmentation"] is None:
                raise ConfigError("round2 needs --model.augmentation FILE, which round1 writes")
            found = read_intervals(self.hparams["augmentation"], self.names)
            self.samplers = [self.sampler(intervals=found[name]) for name in self.names]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam with a rate that falls in steps, or AdamW with warm-up and cosine decay."""
        if self.hparams["schedule"] == "cosine":
            return adamw(self, self.stage_hparam("lr"))
        return adam_in_steps(self, self.hparams["lr"], self.hparams["decay"])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Take one batch of one domain."""
        assert self.network is not None
        domain = int(batch["domain"][0])
        image, _ = self.view(batch["image"])
        sample: Sampler = self.samplers[domain]
        if self.originals is not None:
            sample = partial(self.samplers[domain], entropy=self.originals(self.data.sources[domain].images, batch))
        loss = torch.stack(self.cascade.loss(self.network, self.patch_network, image, domain, sample)).sum()
        self.log("train/loss", loss)
        return loss

    def forward(self, image: Tensor, domain: int) -> Found:
        """Find the landmarks of a domain by the shots; the score is the similarity."""
        return self.cascade.find(cast(Embedder, self.network), self.shots[domain], image, domain)

    def hand_over(self, folder: Path) -> dict[str, object]:
        """Estimate the intensities of each domain, and write `augmentation.json` for round 2."""
        path = folder.resolve() / "augmentation.json"
        write_intensities(self, path)
        self.trainer.strategy.barrier()
        return {"augmentation": str(path), "domains": self.hparams["domains"]}
