"""Operator S: an ellipsoid, turned and bent until it is no ellipsoid any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from medzoo.anomaly.lesions.draws import Range, uniform


@dataclass(frozen=True)
class ShapeRange:
    """One class of lesion sizes.

    Attributes:
        radius: Mean radius in mm.
        bend: Range of the standard deviation in mm by which the control points of the bending move.
        count: Least and greatest number of lesions of the class in a volume.
    """

    radius: float
    bend: Range
    count: tuple[int, int]


def lesion_shape(kind: ShapeRange, spacing: Sequence[float], generator: Generator, deform: bool = True) -> Tensor:
    """Draw the outline of one lesion.

    Semi-axes are `U(0.75, 1.25)` times the radius; the ellipsoid is turned at random and then bent in the planes xy, yz
    and xz by displacements at 3 × 3 control points. The scheme is that of NormNet's published descendants; turning is
    ours.

    Args:
        kind: Size class.
        spacing: Millimetres per voxel along z, y, x.
        generator: Source of randomness.
        deform: Bend the ellipsoid; off only to measure what bending is good for.

    Returns:
        `(d, h, w)` bool in a box of four radii, at least 5 voxels along each axis.
    """
    device = generator.device
    steps = torch.tensor(spacing, device=device)
    size = [max(5, int(4 * kind.radius / s) + 1) for s in spacing]
    axes = [(torch.arange(n, device=device) - (n - 1) / 2) * s for n, s in zip(size, spacing, strict=True)]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)  # (d, h, w, 3) mm
    radii = kind.radius * torch.tensor([uniform((0.75, 1.25), generator) for _ in range(3)], device=device)
    # The orthogonal factor of a Gaussian matrix is a uniformly distributed rotation, up to mirrors.
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator, device=device))[0]
    inside: Tensor = ((points @ rotation / radii) ** 2).sum(-1) <= 1
    if not deform:
        return inside
    for plane in ((1, 2), (0, 1), (0, 2)):
        inside = _bent(inside, plane, uniform(kind.bend, generator), steps, generator)
    return inside


def _bent(mask: Tensor, plane: tuple[int, int], sigma: float, spacing: Tensor, generator: Generator) -> Tensor:
    """Move the voxels of all slices of a plane alike, by bicubic interpolation of 3 × 3 random displacements."""
    stack = mask.movedim(plane, (1, 2)).float()[None]  # (1, C, h, w), the third axis as channels
    height, width = stack.shape[-2:]
    moves = torch.randn(1, 2, 3, 3, generator=generator, device=mask.device) * sigma  # mm along h, w
    field = F.interpolate(moves, (height, width), mode="bicubic", align_corners=True)[0]
    rows = torch.linspace(-1, 1, height, device=mask.device)[:, None] + field[0] / spacing[plane[0]] * 2 / (height - 1)
    columns = torch.linspace(-1, 1, width, device=mask.device)[None] + field[1] / spacing[plane[1]] * 2 / (width - 1)
    grid = torch.stack([columns, rows], dim=-1)[None]  # (1, h, w, 2) as grid_sample wants it, x first
    moved = F.grid_sample(stack, grid, mode="nearest", padding_mode="zeros", align_corners=True)
    return moved[0].movedim((1, 2), plane) > 0.5
