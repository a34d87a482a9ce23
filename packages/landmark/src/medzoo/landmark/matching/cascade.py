"""Self-supervised matching by cascade comparing (CC2D stage 1, UOD stage 1): training on patches, finding by shots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from medzoo.core.errors import ConfigError
from medzoo.landmark.found import Found
from medzoo.landmark.matching import search
from medzoo.landmark.matching.embedder import Embedder
from medzoo.landmark.matching.patches import Jitter, Patches, Warp, sample_patches
from medzoo.landmark.shots import Shots, standardise

Sampler = Callable[[Tensor], Patches]
"""Cuts one augmented patch from each image of `(B, C, H, W)` in [0, 1] and returns corresponding points."""


@dataclass(frozen=True)
class Cascade:
    """How a matcher is trained and how it finds landmarks.

    Attributes:
        contrast: Form of the loss.
        fuse: How the similarities of all strides are combined.
        upsampling: How coarse strides reach the finest; `bilinear` also reads templates between cells.
    """

    contrast: search.Contrast = field(default_factory=search.Contrast)
    fuse: search.Fuse = "product"
    upsampling: search.Upsampling = "nearest"

    def loss(
        self, network: Embedder, patch_network: Embedder | None, image: Tensor, domain: int, sample: Sampler
    ) -> list[Tensor]:
        """Loss of each stride: points of augmented patches must be found in the whole images (CC2D, equation 2).

        Args:
            network: Embeds the whole images.
            patch_network: Embeds the patches; None: the same network.
            image: `(B, C, H, W)` in [0, 1].
            domain: Index of the domain.
            sample: Cuts the patches.
        """
        patches = sample(image)
        features = network(standardise(image), domain)
        crops = (patch_network or network)(standardise(patches.image), domain)
        strides = network.strides
        templates = search.take_templates(crops, patches.points, strides, self.upsampling == "bilinear")
        return search.contrastive_loss(features, templates, patches.targets, strides, self.contrast, patches.valid)

    def templates(self, network: Embedder, shots: Shots, domain: int, device: torch.device) -> list[Tensor]:
        """Read the embeddings at the landmarks of the shots, encoded as whole images: `(S, K, L)` for each stride."""
        shown = network(standardise(shots["image"].to(device)), domain)
        points = shots["points"].to(device)
        return search.take_templates(shown, points, network.strides, self.upsampling == "bilinear")

    def find(self, network: Embedder, shots: Shots, image: Tensor, domain: int) -> Found:
        """Find the landmarks of the shots in images.

        Args:
            network: Embeds whole images.
            shots: The annotated images of the domain.
            image: `(B, C, H, W)` in [0, 1].
            domain: Index of the domain.

        Returns:
            Points in pixels of `image`, similarities, and the maps of similarities.
        """
        templates = self.templates(network, shots, domain, image.device)
        features = network(standardise(image), domain)
        return search.find(features, templates, network.strides, self.fuse, self.upsampling)


def patch_sampler(size: int, points: int, augment: float, inner: float | None = None) -> Sampler:
    """Return a sampler of patches with the papers' rotations and colours, and with more where `augment` asks for it.

    Args:
        size: Side of the patches.
        points: Points a patch; the papers take one.
        augment: 0 for the papers' rotation of 20° and changes of brightness and contrast; above, also scale,
            stretch, smooth deformation, gamma and noise in proportion.
        inner: How windows and points are placed, see `sample_patches`.
    """
    if size < 1 or points < 1 or augment < 0:
        raise ConfigError(f"patch, points and augment: expected positive numbers, got {size}, {points} and {augment}")
    warp, changes = patch_warp(augment), Jitter(gamma=0.3 * augment, noise=0.03 * augment)
    return lambda image: sample_patches(image, size, points, warp, changes, inner=inner)


def patch_warp(augment: float) -> Warp:
    """Return the papers' rotation of 20°, and scale, stretch and smooth deformation in proportion to `augment`."""
    return Warp(20.0, (1 / (1 + 0.2 * augment), 1 + 0.2 * augment), 0.15 * augment, 0.02 * augment)
