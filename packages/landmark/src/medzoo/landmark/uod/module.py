"""UOD as a Lightning module: stage 1 learns to match, stage 2 to detect with the labels that stage 1 hands over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from medzoo.core.backbones.pretrained import start_from
from medzoo.core.errors import ConfigError
from medzoo.core.geometry.points import to_network
from medzoo.core.optim.schedules import adamw
from medzoo.core.sample import Batch
from medzoo.landmark.found import Found
from medzoo.landmark.matching import search
from medzoo.landmark.matching.cascade import Cascade, patch_sampler
from medzoo.landmark.networks.decode import DecoderName
from medzoo.landmark.networks.heatmaps import Target, find_points, heatmap_loss
from medzoo.landmark.networks.vgg import Norm
from medzoo.landmark.shots import Domains, standardise
from medzoo.landmark.uod.network import DATR, UVGG
from medzoo.landmark.uod.self_training import SelfTraining
from medzoo.landmark.uod.swin import AttentionMode, MLPMode, Residual, load_swin
from medzoo.landmark.uod.training import detector, matchers, paper_optimizers


class UOD(SelfTraining):
    """Universal one-shot detection of anatomical landmarks (MICCAI 2023): one annotated image for each domain.

    Args:
        stage: `stage1` (matching), `stage2` (detection) or `all` (both, on the command line).
        domains: Landmark names by domain; empty: those of the data.
        pseudo_labels: File of labels that stage 1 wrote, for stage 2.
        match_size: Height and width of the images in stage 1, one number for a square; multiples of 32.
        patch: Side of the augmented patches that must be found in the image.
        points: Points matched for each patch; the paper takes one.
        vgg_widths: Channels of the VGG stages.
        vgg_depths: Convolutions of the VGG stages.
        vgg_norm: Normalisation in the VGG: none (paper), batch or group.
        decoder_widths: Channels of the universal decoder.
        embedding: Channels of the embeddings.
        shared_network: Embed patch and image with one network; the paper trains one for each.
        window: Half width in cells of the window around the true cell in the loss.
        temperature: Factor on the cosines in the loss.
        margin: Added cosine for each cell of distance from the true one.
        clamp: Clamp cosines to [0, 1] in the loss, as in the paper.
        fuse: `product` of the cosines of all strides (public code) or `softmax_product` (figure of the paper).
        upsampling: How coarse strides reach the finest: `nearest` (public code) or `bilinear`, which refines maxima.
        vgg_weights: Initial weights of the VGGs: a file, or `vgg19` where a cache has it; empty: random ones.
        match_lr: Learning rate of stage 1.
        match_epochs: Epochs of stage 1.
        match_steps: Steps of stage 1 instead of epochs.
        match_batch: Images a batch in stage 1.
        size: Height and width of the images in stage 2, one number for a square.
        embed: Channels of the first transformer stage.
        depths: Blocks of the transformer's stages.
        heads: Attention heads of the transformer's stages.
        attention_window: Side of the attention windows in tokens.
        drop_path: Largest rate of stochastic depth.
        layer_scale: Initial value of the domain-specific scales.
        attention: `query`: the query projection is per domain (paper); `origin`: none is.
        mlp: `domain`: an MLP for each domain (public code); `shared`: one for all.
        residual: `outer`: x + scale·MLP(x); `inner`: scale·(x + MLP(x)), as the public code computes.
        swin_weights: Initial weights of the transformer: a file, or `swin_base` (`swin_small`, `swin_tiny`) where a
            cache has it; empty: random ones.
        checkpointing: Recompute the blocks in the backward pass to save memory.
        target: Heat maps are to become `alpha_power` (paper), `gaussian`, or a distribution over pixels, `softmax`.
        decoder: How points are read from heat maps: component_mean (paper), local_mean (best with `softmax`), median,
            argmax, quarter, parabola, soft_argmax or dark.
        sigma: Width of the target in pixels of the network's image.
        detect_lr: Learning rate of stage 2.
        detect_epochs: Epochs of stage 2.
        detect_steps: Steps of stage 2 instead of epochs.
        detect_batch: Images a batch in stage 2.
        schedule: `paper` (Adam; steps in stage 1, a cycle in stage 2) or `cosine` (AdamW, warm-up and cosine decay).
        self_training: Share of stage 2's epochs after which its own predictions replace the labels of stage 1, anew
            for each epoch; the paper has 0.5, and 1 never does.
        rehearsal: Share of stage 2's epochs that first train on drawn radiographs with their exact landmarks; then the
            model's own predictions replace the labels of stage 1. Only for domains that are read from files and have
            the landmarks of a built-in phantom; the paper has 0.
        augment: Strength of the deformation and intensity changes of whole images in both stages; the paper has 0.
    """

    def __init__(
        self,
        stage: str = "stage1",
        domains: dict[str, list[str]] | None = None,
        pseudo_labels: str | None = None,
        match_size: int | list[int] = 384,
        patch: int = 256,
        points: int = 1,
        vgg_widths: tuple[int, ...] = (64, 128, 256, 512, 512),
        vgg_depths: tuple[int, ...] = (2, 2, 4, 4, 4),
        vgg_norm: Norm = "none",
        decoder_widths: tuple[int, ...] = (256, 128, 64, 128),
        embedding: int = 16,
        shared_network: bool = False,
        window: int = 6,
        temperature: float = 1.0,
        margin: float = 0.0,
        clamp: bool = True,
        fuse: search.Fuse = "product",
        upsampling: search.Upsampling = "nearest",
        vgg_weights: str | None = "vgg19",
        match_lr: float = 1e-5,
        match_epochs: int = 1500,
        match_steps: int | None = None,
        match_batch: int = 6,
        size: int | list[int] = 576,
        embed: int = 128,
        depths: tuple[int, ...] = (2, 2, 18, 2),
        heads: tuple[int, ...] = (4, 8, 16, 32),
        attention_window: int = 7,
        drop_path: float = 0.5,
        layer_scale: float = 1e-4,
        attention: AttentionMode = "query",
        mlp: MLPMode = "domain",
        residual: Residual = "outer",
        swin_weights: str | None = "swin_base",
        checkpointing: bool = False,
        target: Target = "alpha_power",
        decoder: DecoderName = "component_mean",
        sigma: float = 10.0,
        detect_lr: float = 1e-4,
        detect_epochs: int = 300,
        detect_steps: int | None = None,
        detect_batch: int = 4,
        schedule: Literal["paper", "cosine"] = "paper",
        self_training: float = 0.5,
        rehearsal: float = 0.0,
        augment: float = 0.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        channels = tuple(embed * 2**i for i in range(len(depths)))
        if len(heads) != len(depths) or any(n < 1 or width % n for width, n in zip(channels, heads, strict=True)):
            raise ConfigError(f"--model.heads: expected divisors of {channels} channels, got {heads}")
        contrast = search.Contrast(window, temperature, margin, clamp=clamp)
        sample = patch_sampler(patch, points, augment)
        self.begin(stage, Cascade(contrast, fuse, upsampling), augment, sample)
        self.build_for_domains(domains)

    def build(self, domains: Domains) -> None:
        """Make the networks of this stage."""
        if self.stage == "stage2":
            self.network = detector(self, domains)
        else:
            self.network, self.patch_network = matchers(self, domains)

    @property
    def _detector(self) -> DATR:
        """The network of stage 2."""
        assert isinstance(self.network, DATR)
        return self.network

    def start(self) -> None:
        """Take the weights to start from, and the radiographs to rehearse."""
        if self.stage == "stage2":
            start_from(self.hparams["swin_weights"], lambda weights: load_swin(self._detector.encoder, weights))
            self.rehearsals.prepare()
        else:
            start_from(self.hparams["vgg_weights"], self._fill_matchers)

    def _fill_matchers(self, weights: Mapping[str, Tensor]) -> None:
        for network in (self.network, self.patch_network):
            if isinstance(network, UVGG):
                network.load_vgg(weights)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam with the paper's schedule, or AdamW with warm-up and cosine decay."""
        if self.hparams["schedule"] == "cosine":
            return adamw(self, self.stage_hparam("lr"))
        return paper_optimizers(self, self.stage_hparam("lr"))

    def detection_loss(self, batch: Batch, domain: int) -> Tensor:
        """Return the loss of the heat maps of a batch, drawn radiographs while the training rehearses."""
        assert self.labels is not None
        drawn = self.rehearsals.draw(batch)
        if drawn is not None:
            image, points = drawn
        else:
            original, _ = self.labels.look_up(self.names[domain], batch["id"])
            image, moved = self.view(batch["image"], to_network(original.to(batch["affine"]), batch["affine"]))
            assert moved is not None
            points = moved
        logits = self._detector(standardise(image), domain)
        return heatmap_loss(logits, points, self.hparams["sigma"], self.hparams["target"])

    def detect(self, image: Tensor, domain: int) -> Found:
        """Find landmarks by heat maps; the score is that of `find_points`."""
        h = self.hparams
        return find_points(self._detector(standardise(image), domain), h["target"], h["decoder"], h["sigma"])
