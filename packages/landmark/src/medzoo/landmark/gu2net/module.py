"""GU2Net as a Lightning module: supervised training on the annotated images of several domains at once."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from medzoo.core.errors import ConfigError
from medzoo.core.optim.schedules import adamw
from medzoo.core.sample import Batch
from medzoo.landmark.found import Found
from medzoo.landmark.gu2net.losses import patch_loss
from medzoo.landmark.gu2net.network import GU2NetNetwork
from medzoo.landmark.gu2net.nudge import Nudge
from medzoo.landmark.method import LandmarkMethod
from medzoo.landmark.networks.decode import DecoderName
from medzoo.landmark.networks.heatmaps import Target, find_points, heatmap_loss
from medzoo.landmark.shots import Domains, standardise
from medzoo.landmark.views import View, annotated


class GU2Net(LandmarkMethod):
    """Universal landmark detection by a local and a global network (MICCAI 2021), trained on annotated images.

    Args:
        domains: Landmark names by domain; empty: those of the data.
        size: Height and width of the images, one number for a square; the paper has [512, 416] for heads, [512, 368]
            for hands and 512² for chests, and here all domains share one.
        width: Channels of the local network at full resolution.
        global_width: Channels of the global networks.
        target: Heat maps are to become `patch` (paper: Gaussian patches at rounded landmarks, summed cross-entropy),
            `gaussian` (centres between pixels, mean cross-entropy) or a distribution over pixels, `softmax`.
        sigma: Width of the target in pixels of the network's image.
        decoder: How points are read from heat maps: argmax (paper), local_mean (best with `softmax`), median, quarter,
            parabola, soft_argmax, dark or component_mean.
        augment: Strength of smooth deformation, rotation, zoom, shift and changes of intensity of the images; 0
            leaves the nudges of the paper.
        nudge: The paper's rare rotation of 2° and shift of 10 px: `symmetric` (drawn up to that, either way), `fixed`
            (the public code's) or `none`. They apply where `augment` is 0.
        rehearsal: Share of the epochs that first train on drawn radiographs with their exact landmarks, for domains
            that are read from files and have the landmarks of a built-in phantom; the paper has 0.
        lr: Learning rate; with the paper's schedule its lower end, from which it rises a hundredfold.
        schedule: `paper` (Adam; triangular cycles of 4000 steps, each half as high as the one before) or `cosine`
            (AdamW, warm-up and cosine decay).
        epochs: Epochs.
        steps: Steps instead of epochs.
        batch: Images a batch, all of one domain.
    """

    supervised: ClassVar[bool] = True
    trains_in_parts: ClassVar[bool] = True

    def __init__(
        self,
        domains: dict[str, list[str]] | None = None,
        size: int | list[int] = [512, 512],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        width: int = 64,
        global_width: int = 128,
        target: Literal["patch", "gaussian", "softmax"] = "patch",
        sigma: float = 3.0,
        decoder: DecoderName = "argmax",
        augment: float = 0.0,
        nudge: Literal["symmetric", "fixed", "none"] = "symmetric",
        rehearsal: float = 0.0,
        lr: float = 1e-4,
        schedule: Literal["paper", "cosine"] = "paper",
        epochs: int = 100,
        steps: int | None = None,
        batch: int = 4,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if width < 1 or global_width < 2:
            raise ConfigError(f"width and global_width: expected at least 1 and 2, got {width} and {global_width}")
        self.network: nn.Module | None = None
        rate = 0.0 if nudge == "none" else 0.1
        self.view = View(augment) if augment else Nudge(rate=rate, fixed=nudge == "fixed")
        self.build_for_domains(domains)

    def build(self, domains: Domains) -> None:
        """Make the network."""
        counts = [len(names) for names in domains.values()]
        network = GU2NetNetwork(counts, 1, self.hparams["width"], self.hparams["global_width"])
        # Pointwise convolutions are matrix products in this layout, on CPUs and GPUs.
        self.network = network.to(memory_format=torch.channels_last)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam with the paper's cycles, or AdamW with warm-up and cosine decay."""
        if self.hparams["schedule"] == "cosine":
            return adamw(self, self.stage_hparam("lr"))
        lr = self.hparams["lr"]
        optimizer = torch.optim.Adam(self.parameters(), lr, weight_decay=1e-4)
        cycle = torch.optim.lr_scheduler.CyclicLR(
            optimizer, lr, 100 * lr, 2000, mode="triangular2", cycle_momentum=False
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}

    def logits(self, image: Tensor, domain: int) -> Tensor:
        """Return the logits `(B, K, H, W)` of the heat maps of images in [0, 1]."""
        assert self.network is not None
        out: Tensor = self.network(standardise(image), domain)
        return out

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Take one batch of one domain."""
        image, points = self.rehearsals.draw(batch) or annotated(batch, self.view)
        logits = self.logits(image, int(batch["domain"][0]))
        target, sigma = self.hparams["target"], self.hparams["sigma"]
        loss = patch_loss(logits, points, sigma) if target == "patch" else heatmap_loss(logits, points, sigma, target)
        self.log("train/loss", loss)
        return loss

    def forward(self, image: Tensor, domain: int) -> Found:
        """Find the landmarks of a domain; the score is read from the product of both heat maps (`find_points`)."""
        h = self.hparams
        target: Target = "gaussian" if h["target"] == "patch" else h["target"]
        return find_points(self.logits(image, domain), target, h["decoder"], h["sigma"])
