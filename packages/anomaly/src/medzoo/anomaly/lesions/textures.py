"""Operators N and F: salt noise whose density varies in space, then filtered, scaled and clipped into a texture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from medzoo.anomaly.lesions.draws import Range, gaussian, uniform


@dataclass(frozen=True)
class TextureRange:
    """Ranges that a texture is drawn from; lengths in mm.

    Attributes:
        cluster: σ_a, over which the density of salt varies.
        spread: s, its range of densities.
        floor: b, its least density.
        power: γ, exponent of the density before it is scaled: above 1 clusters become rare.
        blur: σ_b, that turns salt into cloud.
        level: u₀, the mean of what is scaled.
        cut: c, below which the filtered noise is not counted in that mean.
    """

    cluster: Range = (3.0, 15.0)
    spread: Range = (0.19, 0.21)
    floor: Range = (0.04, 0.06)
    power: Range = (1.0, 6.0)
    blur: Range = (1.0, 6.0)
    level: Range = (0.15, 0.9)
    cut: float = 0.12


def salt_probability(field: Tensor, sigma: Sequence[float], spread: float, floor: float, power: float = 1.0) -> Tensor:
    """Return the local density of salt, `a = s·u^γ + b` with `u` the smoothed field stretched to [0, 1].

    Args:
        field: `(*S)` uniform noise.
        sigma: Smoothing in voxels along each axis.
        spread: s.
        floor: b.
        power: γ.
    """
    smooth = gaussian(field, sigma)
    low, high = smooth.min(), smooth.max()
    unit = (smooth - low) / (high - low).clamp_min(1e-12)
    return spread * unit**power + floor


def salt(probability: Tensor, generator: Generator) -> Tensor:
    """Draw 1 with the local probability, else 0."""
    draw = torch.rand(probability.shape, generator=generator, device=probability.device, dtype=probability.dtype)
    return (draw < probability).to(probability.dtype)


def scaled(noise: Tensor, level: float, cut: float) -> Tensor:
    """Scale so that the mean of what exceeds `cut` becomes `level`; not clipped.

    Where nothing exceeds `cut`, the mean of all counts.
    """
    chosen = noise[noise > cut]
    mean = chosen.mean() if chosen.numel() else noise.mean()
    return noise * (level / mean.clamp_min(1e-6))


def filtered(noise: Tensor, sigma: Sequence[float], level: float, cut: float) -> Tensor:
    """Operator F: smooth, scale to a mean of `level` above `cut`, clip to [0, 1]."""
    return scaled(gaussian(noise, sigma), level, cut).clamp(0, 1)


def texture(
    size: Sequence[int],
    ranges: TextureRange,
    spacing: Sequence[float],
    generator: Generator,
    salted: bool = True,
    smoothed: bool = True,
) -> Tensor:
    """Draw a texture of a given size in [0, 1].

    Args:
        size: Voxels along each axis.
        ranges: What to draw from.
        spacing: Millimetres per voxel along the same axes.
        generator: Source of randomness.
        salted: Apply operator N; without it the texture is flat.
        smoothed: Apply operator F; without it the salt stays salt.
    """
    field = torch.rand(tuple(size), generator=generator, device=generator.device)
    cluster, blur = uniform(ranges.cluster, generator), uniform(ranges.blur, generator)
    probability = salt_probability(
        field,
        [cluster / s for s in spacing],
        uniform(ranges.spread, generator),
        uniform(ranges.floor, generator),
        uniform(ranges.power, generator),
    )
    level = uniform(ranges.level, generator)
    if not salted:
        return torch.full_like(field, level)
    noise = salt(probability, generator)
    return filtered(noise, [blur / s for s in spacing], level, ranges.cut) if smoothed else noise
