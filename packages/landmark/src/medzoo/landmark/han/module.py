"""HAN as a Lightning module: supervised training with deep supervision of three heat maps."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from medzoo.core.errors import ConfigError
from medzoo.core.optim.schedules import cosine_decay
from medzoo.core.sample import Batch
from medzoo.landmark.found import Found
from medzoo.landmark.han.losses import at_stride, deep_loss
from medzoo.landmark.han.network import HANNetwork
from medzoo.landmark.method import LandmarkMethod
from medzoo.landmark.networks.decode import DecoderName, decode
from medzoo.landmark.networks.heatmaps import find_points
from medzoo.landmark.networks.vgg import Norm
from medzoo.landmark.shots import Domains, standardise
from medzoo.landmark.views import View, annotated

_STRIDE = 32


class HAN(LandmarkMethod):
    """Hybrid attention network (arXiv 2412.06499; HYATT-Net) for landmarks at high resolution, on annotated images.

    Args:
        domains: Landmark names by domain; empty: those of the data.
        size: Height and width of the images, one number for a square; multiples of 32.
        widths: Channels of the five stages.
        attention_heads: Attention heads of the stages.
        windows: Regions along a side in the stages with routing attention, all but the last.
        topk: Regions that each region attends to in these stages; memory grows with it.
        mlp_ratios: Hidden channels of the stages' MLPs over their channels.
        neck: Channels of the neck and the heads.
        norm: Normalisation of the convolutions: `batch` (paper), or `group`, which does not mind batches of one image.
        drop_path: Largest rate of stochastic depth.
        checkpointing: Recompute the stages in the backward pass to save memory.
        target: `msra` (paper): squared distance from Gaussians about rounded landmarks, weighted 1000, 3000, 3000;
            `softmax`: each map is a distribution over pixels, all weighted alike.
        sigmas: Widths of the targets of the three maps (a quarter, a half, the full resolution), in their pixels.
        decoder: How points are read from heat maps: quarter (paper), local_mean (best with `softmax`), median,
            argmax, parabola, soft_argmax, dark or component_mean.
        heads: `mean` of the points of the three maps (paper) or only the `last`, of full resolution.
        augment: Strength of smooth deformation, rotation, zoom, shift and changes of intensity of the images.
        rehearsal: Share of the epochs that first train on drawn radiographs with their exact landmarks, for domains
            that are read from files and have the landmarks of a built-in phantom; the paper has 0.
        lr: Highest learning rate of AdamW; it rises over a quarter of the steps and falls to 0 by a cosine.
        epochs: Epochs.
        steps: Steps instead of epochs.
        batch: Images a batch, all of one domain.
    """

    supervised: ClassVar[bool] = True
    trains_in_parts: ClassVar[bool] = True

    def __init__(
        self,
        domains: dict[str, list[str]] | None = None,
        size: int | list[int] = [1216, 1024],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        widths: tuple[int, ...] = (64, 128, 320, 512, 1024),
        attention_heads: tuple[int, ...] = (2, 4, 10, 16, 8),
        windows: tuple[int, ...] = (16, 16, 16, 8),
        topk: tuple[int, ...] = (1, 4, 8, 16),
        mlp_ratios: tuple[int, ...] = (8, 8, 8, 4, 4),
        neck: int = 256,
        norm: Norm = "batch",
        drop_path: float = 0.1,
        checkpointing: bool = False,
        target: Literal["msra", "softmax"] = "msra",
        sigmas: tuple[float, float, float] = (2.0, 2.0, 4.0),
        decoder: DecoderName = "quarter",
        heads: Literal["mean", "last"] = "mean",
        augment: float = 1.0,
        rehearsal: float = 0.0,
        lr: float = 4.5e-4,
        epochs: int = 200,
        steps: int | None = None,
        batch: int = 1,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if not len(widths) == len(attention_heads) == len(mlp_ratios) == len(windows) + 1 == len(topk) + 1 == 5:
            raise ConfigError(
                "widths, attention_heads and mlp_ratios: expected five values each, windows and topk: four each"
            )
        if any(n < 1 or width % n for width, n in zip(widths, attention_heads, strict=True)):
            raise ConfigError(f"--model.attention_heads: expected divisors of {widths}, got {attention_heads}")
        self.network: HANNetwork | None = None
        self.view = View(augment)
        self.build_for_domains(domains)

    def build(self, domains: Domains) -> None:
        """Make the network."""
        h = self.hparams
        counts = [len(names) for names in domains.values()]
        names = ("widths", "attention_heads", "windows", "topk", "mlp_ratios", "drop_path", "checkpointing")
        network = HANNetwork(counts, 1, h["neck"], h["norm"], **{name: h[name] for name in names})
        if h["target"] == "msra":
            network.start_empty()
        else:
            network.start_wide()
        self.network = network.to(memory_format=torch.channels_last)

    def setup(self, stage: str) -> None:
        """Check the size of the images."""
        super().setup(stage)
        self.check_sides(_STRIDE)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with warm-up and cosine decay."""
        optimizer = torch.optim.AdamW(self.parameters(), self.hparams["lr"], weight_decay=0.01)
        return cosine_decay(self, optimizer, rise=0.25)

    def maps(self, image: Tensor, domain: int) -> list[Tensor]:
        """Return the three heat maps of images in [0, 1]."""
        assert self.network is not None
        out: list[Tensor] = self.network(standardise(image), domain)
        return out

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Take one batch of one domain."""
        image, points = self.rehearsals.draw(batch) or annotated(batch, self.view)
        softmax = self.hparams["target"] == "softmax"
        weights = (1.0, 1.0, 1.0) if softmax else (1000.0, 3000.0, 3000.0)
        size = (image.shape[-2], image.shape[-1])
        maps = self.maps(image, int(batch["domain"][0]))
        loss = deep_loss(maps, points, size, self.hparams["sigmas"], weights, softmax)
        self.log("train/loss", loss)
        return loss

    def forward(self, image: Tensor, domain: int) -> Found:
        """Find the landmarks of a domain in each of its heat maps; points and scores are means over them."""
        h = self.hparams
        maps = list(zip(self.maps(image, domain), h["sigmas"], strict=True))
        points, scores = [], []
        for heat, sigma in maps if h["heads"] == "mean" else maps[-1:]:
            if h["target"] == "softmax":
                found, score, _ = find_points(heat, "softmax", h["decoder"], sigma)
            else:
                found, score = decode(heat.float(), h["decoder"], sigma)
            points.append(at_stride(found, heat.shape[-1] / image.shape[-1]))
            scores.append(score.clamp(0, 1))
        return Found(torch.stack(points).mean(dim=0), torch.stack(scores).mean(dim=0), maps[-1][0])
