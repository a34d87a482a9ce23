"""Simulated tumours: a rippled ellipsoid, a bent and blurred piece of another volume, blended into a healthy one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from medzoo.anomaly.lesions.draws import Range, gaussian, integer, uniform

_POINTS, _LOCKED, _BEND_MM = 7, 2, 7.5  # control points along an axis, those at each border that stay, most movement
_BLUR_MM: Range = (0.0, 2.0)
_RIPPLE, _OCTAVES, _WAVES = 0.5, (4, 7), 4
_LEAST = 1e-6


@dataclass(frozen=True)
class Layers:
    """A volume and what it was made of, each `(D, H, W)`.

    Attributes:
        image: What the network sees.
        normal: The healthy volume.
        tumour: The image inside of the mask, 0 elsewhere.
        mask: Bool.
    """

    image: Tensor
    normal: Tensor
    tumour: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Simulation:
    """Ranges that a tumour is drawn from.

    Attributes:
        volume: mm³.
        contrast: κ, mean of the tumour divided by the mean of the healthy organ.
        blend: w, share of the tumour in what is seen.
        even: Draw the volume evenly, as the public code does; otherwise its logarithm.
        none: Share of volumes that get no tumour.
        bent: Bend and blur the texture; off only to measure what that is good for.
    """

    volume: Range
    contrast: Range
    blend: Range = (0.2, 0.8)
    even: bool = True
    none: float = 0.0
    bent: bool = True

    def __call__(
        self, normal: Tensor, organ: Tensor, texture: Tensor, spacing: Sequence[float], generator: Generator
    ) -> Layers:
        """Put one tumour into a healthy volume, or none.

        Args:
            normal: `(D, H, W)` in [0, 1], 0 outside of the organ.
            organ: Bool.
            texture: Another volume of the same shape, without zeros that are no tissue.
            spacing: Millimetres per voxel along z, y, x.
            generator: Of what is random.
        """
        places = organ.nonzero()
        if not len(places) or uniform((0, 1), generator) < self.none:
            return Layers(normal, normal, torch.zeros_like(normal), torch.zeros_like(organ))
        centre = places[integer((0, len(places) - 1), generator)].tolist()
        low, high = self.volume
        drawn = uniform((low, high), generator)
        if not self.even:
            drawn = math.exp(uniform((math.log(low), math.log(high)), generator))
        mask = outline(normal.shape, centre, drawn, spacing, generator) & organ
        matter = bent(texture, spacing, generator) if self.bent else texture
        matter = rescaled(matter, normal, mask, uniform(self.contrast, generator))
        image = blended(normal, matter, mask, uniform(self.blend, generator))
        return Layers(image, normal, image * mask, mask)


def outline(
    size: Sequence[int], centre: Sequence[int], volume: float, spacing: Sequence[float], generator: Generator
) -> Tensor:
    """Draw the outline of a tumour: an ellipsoid, turned at random, whose surface is rippled by fractal noise.

    Semi-axes are `r`, `r/ρ` and `rρ` with `ρ ~ U(0.8, 1)`, so that the ellipsoid has the volume that is asked for. The
    public code ripples a mesh by simplex noise; here the noise is a sum of plane waves over the direction, and no mesh
    is needed.

    Args:
        size: `(D, H, W)`.
        centre: Voxel.
        volume: mm³.
        spacing: Millimetres per voxel along z, y, x.
        generator: Of what is random.
    """
    device = generator.device
    radius = (3 * volume / (4 * math.pi)) ** (1 / 3)
    squeeze = uniform((0.8, 1.0), generator)
    radii = torch.tensor([radius * squeeze, radius / squeeze, radius], device=device)
    axes = [(torch.arange(n, device=device) - c) * float(s) for n, c, s in zip(size, centre, spacing, strict=True)]
    # The orthogonal factor of a Gaussian matrix is a uniformly distributed rotation, up to mirrors.
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator, device=device))[0]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1) @ rotation / radii  # (D, H, W, 3)
    distance = points.norm(dim=-1)
    near = distance <= 1 + _RIPPLE
    surface = torch.zeros_like(distance)
    surface[near] = 1 + _RIPPLE * _fractal(points[near] / distance[near][:, None].clamp_min(_LEAST), generator)
    inside: Tensor = distance <= surface
    return inside


def _fractal(direction: Tensor, generator: Generator) -> Tensor:
    """Return noise `(N,)` within [−1, 1] over directions `(N, 3)`: each octave twice as fine and half as strong."""
    total, weight = torch.zeros_like(direction[:, 0]), 0.0
    for octave in range(integer(_OCTAVES, generator)):
        waves = torch.randn(3, _WAVES, generator=generator, device=direction.device) * math.pi * 2**octave
        phase = torch.rand(_WAVES, generator=generator, device=direction.device) * 2 * math.pi
        total = total + 0.5**octave * torch.cos(direction @ waves + phase).mean(1)
        weight += 0.5**octave
    return total / weight


def bent(texture: Tensor, spacing: Sequence[float], generator: Generator) -> Tensor:
    """Bend `(D, H, W)` by up to 7.5 mm at 7 × 7 × 7 control points, the outer two at each border still, and blur it."""
    device, size = texture.device, texture.shape
    moves = torch.rand(1, 3, *(_POINTS,) * 3, generator=generator, device=device) * 2 - 1
    free = torch.zeros_like(moves)
    inner = slice(_LOCKED, -_LOCKED)
    free[..., inner, inner, inner] = 1
    field = F.interpolate(moves * free * _BEND_MM, size, mode="trilinear", align_corners=True)[0]  # (3, D, H, W) mm
    axes = [torch.linspace(-1, 1, n, device=device) for n in size]
    still = torch.meshgrid(*axes, indexing="ij")
    moved = [p + f / s * 2 / max(1, n - 1) for p, f, s, n in zip(still, field, spacing, size, strict=True)]
    grid = torch.stack(moved[::-1], dim=-1)[None]  # grid_sample wants x first
    warped = F.grid_sample(texture[None, None], grid, padding_mode="border", align_corners=True)[0, 0]
    width = uniform(_BLUR_MM, generator)
    return gaussian(warped, [width / s for s in spacing])


def rescaled(texture: Tensor, normal: Tensor, mask: Tensor, contrast: float) -> Tensor:
    """Scale a texture so that its mean inside of the mask is κ times the mean of the healthy volume over non-zeros."""
    tissue = normal[normal != 0]
    if not mask.any() or not tissue.numel():
        return texture
    factor: Tensor = contrast * tissue.mean() / texture[mask].mean().clamp_min(_LEAST)
    return texture * factor


def blended(normal: Tensor, texture: Tensor, mask: Tensor, share: float) -> Tensor:
    """Return `w·t + (1 − w)·A` inside of the mask, at most 1, which is where a window ends, and `A` elsewhere."""
    return torch.where(mask, (share * texture + (1 - share) * normal).clamp(max=1), normal)
