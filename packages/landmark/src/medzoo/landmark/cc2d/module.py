"""CC2D as a Lightning module: stage 1 learns to match, stage 2 to vote with the labels that stage 1 hands over."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from medzoo.core.backbones.pretrained import start_from
from medzoo.core.data.wants import Wants
from medzoo.core.errors import ConfigError, check_choice
from medzoo.core.geometry.points import to_network
from medzoo.core.optim.schedules import adam_in_steps, adamw
from medzoo.core.sample import Batch
from medzoo.landmark.cc2d.losses import Target, voting_loss
from medzoo.landmark.cc2d.network import Voters, VotingUNet
from medzoo.landmark.found import Found
from medzoo.landmark.matching import search
from medzoo.landmark.matching.cascade import Cascade, patch_sampler
from medzoo.landmark.matching.search import LossVariant, contrast_of
from medzoo.landmark.networks.decode import vote
from medzoo.landmark.networks.embedding import EmbeddingUNet, SideBySide, matchers
from medzoo.landmark.networks.vgg import Norm
from medzoo.landmark.shots import Domains, standardise
from medzoo.landmark.two_stages import MatchThenDetect


class CC2D(MatchThenDetect):
    """Cascade comparing to detect (MICCAI 2021): landmarks from one annotated image and images without labels.

    With several domains in the data, each has networks of its own.

    Args:
        stage: `stage1` (matching), `stage2` (voting) or `all` (both, on the command line).
        domains: Landmark names by domain; empty: those of the data.
        pseudo_labels: File of labels that stage 1 wrote, for stage 2.
        loss: `classic`: cosines clamped to [0, 1], no temperature, one network for images and one for patches; `v2`:
            temperature 10 and a margin, one network for both, points in the middle of patches.
        match_size: Height and width of the images in stage 1, one number for a square; multiples of 32.
        patch: Side of the augmented patches that must be found in the image.
        points: Points matched for each patch; the paper takes one.
        vgg_widths: Channels of the VGG stages.
        vgg_depths: Convolutions of the VGG stages.
        vgg_norm: Normalisation in the VGG: none (paper), batch or group.
        decoder_widths: Channels of the decoder at strides 16, 8, 4 and 2.
        embedding: Channels of the embeddings.
        window: Half width in cells of the window around the true cell in the loss; classic has 6, v2 11.
        upsampling: How coarse strides reach the finest: `nearest` (classic) or `bilinear` (v2), which refines maxima.
        vgg_weights: Initial weights of the VGGs: a file, or `vgg19` where a cache has it; empty: random ones.
        match_lr: Learning rate of stage 1.
        match_decay: Epochs after which the rate of stage 1 falls, and the factor.
        match_epochs: Epochs of stage 1.
        match_steps: Steps of stage 1 instead of epochs.
        match_batch: Images a batch in stage 1.
        size: Height and width of the images in stage 2, one number for a square; multiples of 32.
        radius: Radius of the discs around landmarks, as a share of the image's side.
        target: The heat map is to become a `disc` (paper) or a distribution over pixels, `softmax`, which random
            weights learn in far fewer steps.
        heat_weight: Weight of the heat map against the offsets in the loss; the papers have 2 (head, hand) to 15.
        finest_width: Channels of the voting network at stride 1.
        detect_lr: Learning rate of stage 2.
        detect_decay: Epochs after which the rate of stage 2 falls, and the factor.
        detect_epochs: Epochs of stage 2.
        detect_steps: Steps of stage 2 instead of epochs.
        detect_batch: Images a batch in stage 2, one of them a shot.
        schedule: `paper` (Adam, the rate falls in steps) or `cosine` (AdamW, warm-up and cosine decay).
        augment: Strength of the deformation and intensity changes of whole images in both stages; the paper has 0.
    """

    def __init__(
        self,
        stage: str = "stage1",
        domains: dict[str, list[str]] | None = None,
        pseudo_labels: str | None = None,
        loss: LossVariant = "classic",
        match_size: int | list[int] = 384,
        patch: int = 256,
        points: int = 1,
        vgg_widths: tuple[int, ...] = (64, 128, 256, 512, 512),
        vgg_depths: tuple[int, ...] = (2, 2, 4, 4, 4),
        vgg_norm: Norm = "none",
        decoder_widths: tuple[int, ...] = (256, 128, 64, 128),
        embedding: int = 16,
        window: int = 6,
        upsampling: search.Upsampling = "nearest",
        vgg_weights: str | None = "vgg19",
        match_lr: float = 1e-5,
        match_decay: tuple[int, float] = (550, 0.8),
        match_epochs: int = 14080,
        match_steps: int | None = None,
        match_batch: int = 8,
        size: int | list[int] = 384,
        radius: float = 0.05,
        target: Target = "disc",
        heat_weight: float = 2.0,
        finest_width: int = 64,
        detect_lr: float = 3e-4,
        detect_decay: tuple[int, float] = (300, 0.1),
        detect_epochs: int = 900,
        detect_steps: int | None = None,
        detect_batch: int = 4,
        schedule: Literal["paper", "cosine"] = "paper",
        augment: float = 0.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        check_choice("model.loss", loss, ("classic", "v2"))
        if detect_batch < 2:
            raise ConfigError(
                f"--model.detect_batch: expected at least 2, a shot and another image, got {detect_batch}"
            )
        sample = patch_sampler(patch, points, augment, 0.8 if loss == "v2" else None)
        self.begin(stage, Cascade(contrast_of(loss, window), upsampling=upsampling), augment, sample)
        self.build_for_domains(domains)

    def wants(self) -> Wants:
        """A batch of stage 2 has an image less, in whose place comes the shot."""
        wants = super().wants()
        return replace(wants, batch_size=(wants.batch_size or 1) - (self.stage == "stage2"))

    def radius(self, image: Tensor) -> int:
        """Return the radius of the discs in pixels of images `(B, C, H, W)`."""
        return max(1, int(self.hparams["radius"] * max(image.shape[-2:])))

    def build(self, domains: Domains) -> None:
        """Make the networks of this stage, one for each domain."""
        h = self.hparams
        vgg = {"in_channels": 1, "widths": h["vgg_widths"], "depths": h["vgg_depths"], "norm": h["vgg_norm"]}
        if self.stage == "stage2":
            voter = partial(VotingUNet, decoder_widths=(*h["decoder_widths"], h["finest_width"]), **vgg)
            self.network = Voters(voter(landmarks=len(names)) for names in domains.values())
            return
        matcher = partial(EmbeddingUNet, decoder_widths=h["decoder_widths"], embedding=h["embedding"], **vgg)
        self.network, self.patch_network = matchers(len(domains), h["loss"], matcher)

    @property
    def _voters(self) -> Voters:
        """The network of stage 2."""
        assert isinstance(self.network, Voters)
        return self.network

    def start(self) -> None:
        """Take the VGG's weights to start from."""
        for network in (self.network, self.patch_network):
            if isinstance(network, SideBySide):
                start_from(self.hparams["vgg_weights"], network.load_vgg)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam with a rate that falls in steps, or AdamW with warm-up and cosine decay."""
        if self.hparams["schedule"] == "cosine":
            return adamw(self, self.stage_hparam("lr"))
        return adam_in_steps(self, self.stage_hparam("lr"), self.stage_hparam("decay"))

    def detection_loss(self, batch: Batch, domain: int) -> Tensor:
        """Return the loss of the votes of a batch and a shot."""
        image, points = self.view(*self.with_shot(batch, domain))
        assert points is not None
        h = self.hparams
        heat, offset_x, offset_y = self._voters(standardise(image), domain)
        return voting_loss(heat, offset_x, offset_y, points, self.radius(image), h["heat_weight"], h["target"])

    def with_shot(self, batch: Batch, domain: int) -> tuple[Tensor, Tensor]:
        """Put one shot, drawn where there are several, before the pseudo-labelled images of a batch.

        Annotated images of the batch itself are left out, so that each batch holds exactly one.

        Returns:
            Images `(B, 1, H, W)` and landmarks `(B, K, 2)` in their pixels.
        """
        assert self.labels is not None
        shots = self.shots[domain]
        drawn = torch.randint(len(shots["image"]), (1,))
        original, _ = self.labels.look_up(self.names[domain], batch["id"])
        points = to_network(original.to(batch["affine"]), batch["affine"])
        annotated = self.data.shot_ids[domain]
        others = torch.tensor([name not in annotated for name in batch["id"]], device=points.device)
        image = torch.cat([shots["image"][drawn].to(batch["image"]), batch["image"][others]])
        return image, torch.cat([shots["points"][drawn].to(points), points[others]])

    def detect(self, image: Tensor, domain: int) -> Found:
        """Find landmarks by votes; the score is the share of votes."""
        heat, offset_x, offset_y = self._voters(standardise(image), domain)
        return Found(*vote(heat, offset_x, offset_y, self.radius(image)), heat)
