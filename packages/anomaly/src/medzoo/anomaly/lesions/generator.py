"""Putting synthetic lesions into healthy organs; realism is not the aim, variety is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from medzoo.anomaly.lesions.draws import Range, choice, gaussian, integer, uniform
from medzoo.anomaly.lesions.shapes import ShapeRange, lesion_shape
from medzoo.anomaly.lesions.textures import TextureRange, texture

_NOTHING = 1e-3  # share of a lesion's matter below which a voxel is left exactly as it was


@dataclass(frozen=True)
class Lesions:
    """A volume with lesions.

    Attributes:
        image: `(D, H, W)` in [0, 1].
        mask: `(D, H, W)` bool, the outlines of the lesions, never outside of the organ.
        contribution: `(D, H, W)`, what was added to the image (negative where taken away), before clipping.
    """

    image: Tensor
    mask: Tensor
    contribution: Tensor


@dataclass(frozen=True)
class LesionGenerator:
    """Inserts lesions: `x' = clip(x ± G̃·B·δ, 0, 1)` inside the organ, with shape G, its soft border G̃ and texture B.

    The operators and most ranges follow the published code of NormNet's descendants, since NormNet's own is not public;
    the ranges of texture are widened so that consolidation and reticulation occur. All lengths are millimetres, so
    anisotropic volumes get isotropic lesions.

    Attributes:
        sizes: Size classes.
        weights: Probability of each class, then of a mix of all of them.
        textures: Ranges of the texture.
        border: Range of the softness of the border.
        strength: Range of the mean of B·δ within the outlines, from which δ follows (ours: with δ itself drawn, sparse
            textures end up invisible).
        sign: +1 adds (lung, FLAIR), −1 takes away (liver).
        inset: Least distance in plane of a lesion's centre to the organ's border, in mm along rows and columns.
        none: Share of volumes that get no lesion.
        deform: Operator S bends its ellipsoids.
        salted: Operator N is applied.
        smoothed: Operator F is applied.
    """

    sizes: tuple[ShapeRange, ...] = (
        ShapeRange(4, (0.5, 1), (3, 10)),
        ShapeRange(8, (1, 2), (3, 10)),
        ShapeRange(16, (3, 6), (2, 5)),
        ShapeRange(32, (5, 10), (1, 3)),
    )
    weights: tuple[float, ...] = (0.2, 0.2, 0.2, 0.2, 0.2)
    textures: TextureRange = field(default_factory=TextureRange)
    border: Range = (1.0, 2.0)
    strength: Range = (0.1, 0.95)
    sign: int = 1
    inset: float = 2.0
    none: float = 0.1
    deform: bool = True
    salted: bool = True
    smoothed: bool = True

    def __call__(self, image: Tensor, organ: Tensor, spacing: Sequence[float], generator: Generator) -> Lesions:
        """Insert lesions into one volume.

        Args:
            image: `(D, H, W)` in [0, 1].
            organ: `(D, H, W)` bool.
            spacing: Millimetres per voxel along z, y, x.
            generator: Source of randomness, on the device of `image`.

        Raises:
            ValueError: Shapes differ or the spacing is not positive.
        """
        if image.ndim != 3 or image.shape != organ.shape:
            raise ValueError(f"image and organ must be one (D, H, W), got {tuple(image.shape)}, {tuple(organ.shape)}")
        if len(spacing) != 3 or not all(s > 0 for s in spacing):
            raise ValueError(f"spacing must be three positive numbers, got {tuple(spacing)}")
        mask = self.outlines(organ, spacing, generator)
        if not mask.any():
            return Lesions(image, mask, torch.zeros_like(image))
        soft = gaussian(mask.float(), [uniform(self.border, generator) / s for s in spacing])
        soft = torch.where(soft > _NOTHING, soft, 0.0) * organ
        matter = texture(image.shape, self.textures, spacing, generator, self.salted, self.smoothed)
        mean = matter[mask].mean().clamp_min(_NOTHING)
        contribution = (self.sign * uniform(self.strength, generator) / mean) * soft * matter
        changed = (image + contribution).clamp(0, 1)
        return Lesions(torch.where(contribution != 0, changed, image), mask, contribution)

    def outlines(self, organ: Tensor, spacing: Sequence[float], generator: Generator) -> Tensor:
        """Draw the outlines of all lesions of a volume, cut at the organ's border; none in a share of the volumes."""
        mask = torch.zeros_like(organ, dtype=torch.bool)
        if uniform((0, 1), generator) < self.none:
            return mask
        places = self.centres(organ, spacing).nonzero()
        if not len(places):
            return mask
        drawn = choice(self.weights, generator)
        mixed = drawn == len(self.sizes)
        total = integer((5, 10), generator) if mixed else integer(self.sizes[drawn].count, generator)
        for _ in range(total):
            kind = self.sizes[choice([1.0] * len(self.sizes), generator) if mixed else drawn]
            centre = places[integer((0, len(places) - 1), generator)].tolist()
            _paste(mask, lesion_shape(kind, spacing, generator, self.deform), centre)
        return mask & organ.bool()

    def centres(self, organ: Tensor, spacing: Sequence[float]) -> Tensor:
        """Return where lesions may be centred: the organ eroded by a rectangle in plane, or all of it if none is left.

        The border of the volume is none of the organ's, since patches are cut from it.
        """
        reach = [int(self.inset / s + 1e-3) for s in spacing[1:]]
        if not any(reach):
            return organ.bool()
        outside = (organ == 0).float()[:, None]  # (D, 1, H, W)
        near = F.max_pool2d(outside, [2 * r + 1 for r in reach], 1, padding=reach)[:, 0] > 0
        eroded = organ.bool() & ~near
        return eroded if eroded.any() else organ.bool()


def _paste(mask: Tensor, shape: Tensor, centre: Sequence[int]) -> None:
    """Unite `mask` with `shape` centred at a voxel, as far as it lies within the volume."""
    into, of = [], []
    for middle, extent, limit in zip(centre, shape.shape, mask.shape, strict=True):
        start = middle - extent // 2
        low, high = max(0, start), min(limit, start + extent)
        into.append(slice(low, high))
        of.append(slice(low - start, high - start))
    mask[tuple(into)] |= shape[tuple(of)]


PRESETS: dict[str, LesionGenerator] = {
    "lung": LesionGenerator(),
    "liver": LesionGenerator(
        textures=TextureRange(power=(1.0, 1.0), blur=(3.0, 8.0), level=(0.5, 0.55)), strength=(0.15, 0.35), sign=-1
    ),
    "brain-flair": LesionGenerator(
        textures=TextureRange(power=(1.0, 2.0), blur=(2.0, 6.0), level=(0.3, 0.9)), strength=(0.15, 0.7)
    ),
}
"""Generators by organ, for images stretched to [0, 1] by the organ's window."""
