"""The 22 versions of each support image that the reference distribution is estimated from."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

ANGLES = tuple(sign * math.pi / d for d in (4, 16 / 3, 8, 16) for sign in (-1, 1))
SHIFTS = tuple((x * step, y * step) for step in (0.2, 0.1) for x in (-1, 1) for y in (-1, 1))
_LUMA = (0.299, 0.587, 0.114)
VERSIONS = 1 + len(ANGLES) + len(SHIFTS) + 1 + 1 + 3


def augmented(images: Tensor) -> Tensor:
    """Return `(22·K, 3, H, W)` from `(K, 3, H, W)`.

    The images as they are, turned by ±π/16, ±π/8, ±3π/16 and ±π/4, shifted by (±0.2, ±0.2) and (±0.1, ±0.1) of half
    their size, mirrored, as their luma, and turned by right angles (RegAD's released code).
    """
    versions = [images]
    for angle in ANGLES:
        c, s = math.cos(angle), math.sin(angle)
        versions.append(_moved(images, ((c, -s, 0.0), (s, c, 0.0))))
    versions += [_moved(images, ((1.0, 0.0, x), (0.0, 1.0, y))) for x, y in SHIFTS]
    versions.append(images.flip(-1))
    grey = torch.einsum("kchw,c->khw", images, images.new_tensor(_LUMA))
    versions.append(grey[:, None].expand_as(images))
    versions += [_quarter(images, turns) for turns in (1, 2, 3)]
    return torch.cat(versions)


def _moved(images: Tensor, rows: tuple[tuple[float, ...], tuple[float, ...]]) -> Tensor:
    theta = images.new_tensor(rows).expand(len(images), 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _quarter(images: Tensor, turns: int) -> Tensor:
    turned = images.rot90(turns, (-2, -1))
    # Images that are not square are stretched back to their shape.
    size = images.shape[-2:]
    return turned if turned.shape[-2:] == size else F.interpolate(turned, size, mode="bilinear", align_corners=False)
