"""Augmented patches with exactly known correspondences, drawn for a whole batch at once on its device.

A patch is read through a grid of sampling positions (window, rotation, scale, smooth deformation). A point of the patch
lies in the image where the grid says, so that correspondences need no warped marker images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Warp:
    """Ranges of a random warp.

    Attributes:
        rotation: Largest rotation in degrees, either way.
        scale: Smallest and largest factor on sizes; 1.1 shows things 10 % larger.
        anisotropy: Largest relative difference between the scales of the two axes.
        elastic: Standard deviation of the smooth deformation, as a fraction of the image's side.
        elastic_cells: Knots of the smooth deformation along a side.
        shift: Largest shift, as a fraction of the image's side.
    """

    rotation: float = 20.0
    scale: tuple[float, float] = (1.0, 1.0)
    anisotropy: float = 0.0
    elastic: float = 0.0
    elastic_cells: int = 4
    shift: float = 0.0


@dataclass(frozen=True)
class Jitter:
    """Ranges of random changes of intensity, in [0, 1) each.

    Attributes:
        brightness: Factor in 1 ± brightness.
        contrast: Factor in 1 ± contrast on the distance from the image's mean.
        gamma: Exponent e^±gamma.
        noise: Largest standard deviation of white noise.
    """

    brightness: float = 0.15
    contrast: float = 0.25
    gamma: float = 0.0
    noise: float = 0.0


def uniform(shape: tuple[int, ...], low: float, high: float, like: Tensor) -> Tensor:
    """Random numbers in [low, high) on the device of `like`."""
    return torch.rand(shape, device=like.device) * (high - low) + low


def warp_grid(image: Tensor, size: tuple[int, int], warp: Warp, centre: Tensor) -> Tensor:
    """Positions in the image of the pixels of randomly warped windows.

    Args:
        image: `(B, C, H, W)`; only its extent and device are read.
        size: `(h, w)` of the windows.
        warp: Ranges of the warp.
        centre: `(B, 2)` (x, y), where the centres of the windows lie in the image.

    Returns:
        `(B, h, w, 2)` (x, y) in pixels of the image.
    """
    b, (h, w) = len(image), size
    angle = uniform((b,), -warp.rotation, warp.rotation, image) * (math.pi / 180)
    log_scale = uniform((b,), math.log(warp.scale[0]), math.log(warp.scale[1]), image)
    stretch = uniform((b,), -warp.anisotropy / 2, warp.anisotropy / 2, image)
    # The grid walks through the image, so that content scaled up means steps scaled down.
    step_x, step_y = torch.exp(-log_scale - stretch), torch.exp(-log_scale + stretch)
    xs = torch.arange(w, device=image.device) - (w - 1) / 2
    ys = torch.arange(h, device=image.device) - (h - 1) / 2
    dx = step_x[:, None, None] * xs
    dy = step_y[:, None, None] * ys[:, None]
    cos, sin = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    grid = torch.stack([cos * dx - sin * dy, sin * dx + cos * dy], dim=-1) + centre[:, None, None]
    if warp.elastic:
        side = max(image.shape[-2:])
        knots = torch.randn(b, 2, warp.elastic_cells + 3, warp.elastic_cells + 3, device=image.device)
        field = F.interpolate(knots * (warp.elastic * side), size=(h, w), mode="bicubic", align_corners=True)
        grid = grid + field.permute(0, 2, 3, 1)
    return grid


def read(image: Tensor, grid: Tensor, padding: str = "zeros") -> Tensor:
    """Read images `(B, C, H, W)` bilinearly at positions `(B, h, w, 2)` in pixels; outside is 0 or the border value."""
    h, w = image.shape[-2:]
    relative = (2 * grid + 1) / grid.new_tensor([w, h]) - 1
    return F.grid_sample(image, relative.to(image.dtype), padding_mode=padding, align_corners=False)


def follow(grid: Tensor, points: Tensor) -> Tensor:
    """Positions in the image of points `(B, P, 2)` of the patch that was read through `grid` `(B, h, w, 2)`."""
    h, w = grid.shape[1:3]
    relative = (2 * points + 1) / points.new_tensor([w, h]) - 1
    out = F.grid_sample(grid.permute(0, 3, 1, 2), relative[:, None], padding_mode="border", align_corners=False)
    return out[:, :, 0].transpose(1, 2)


def jitter(image: Tensor, ranges: Jitter) -> Tensor:
    """Change brightness, contrast, gamma and noise of each image of a batch `(B, C, H, W)`; values stay in [0, 1]."""
    shape = (len(image), 1, 1, 1)
    if ranges.brightness:
        image = change_brightness(image, uniform(shape, 1 - ranges.brightness, 1 + ranges.brightness, image))
    if ranges.contrast:
        image = change_contrast(image, uniform(shape, 1 - ranges.contrast, 1 + ranges.contrast, image))
    if ranges.gamma:
        image = image ** torch.exp(uniform(shape, -ranges.gamma, ranges.gamma, image))
    if ranges.noise:
        image = (image + uniform(shape, 0, ranges.noise, image) * torch.randn_like(image[:, :1])).clamp(0, 1)
    return image


def change_brightness(image: Tensor, factor: Tensor) -> Tensor:
    """Multiply images `(B, C, H, W)` by factors `(B, 1, 1, 1)`; values stay in [0, 1]."""
    return (image * factor).clamp(0, 1)


def change_contrast(image: Tensor, factor: Tensor) -> Tensor:
    """Multiply the distance of images `(B, C, H, W)` from their means by factors `(B, 1, 1, 1)`, within [0, 1]."""
    mean = image.mean(dim=(1, 2, 3), keepdim=True)
    return (mean + (image - mean) * factor).clamp(0, 1)


@dataclass(frozen=True)
class Patches:
    """Patches of a batch and points that correspond.

    Attributes:
        image: `(B, C, p, p)`.
        points: `(B, P, 2)` in pixels of the patch.
        targets: `(B, P, 2)`, the same points in pixels of the image.
        valid: `(B, P)` bool, false for points that lie outside the image.
    """

    image: Tensor
    points: Tensor
    targets: Tensor
    valid: Tensor


def window_around(image: Tensor, first: Tensor, size: int, warp: Warp) -> tuple[Tensor, Tensor]:
    """Place a window uniformly among those in the image that hold a point, and warp it.

    Args:
        image: `(B, C, H, W)`; only its extent and device are read.
        first: `(B, 2)`, a whole pixel of each image.
        size: Side of the windows, at most that of the image.
        warp: Ranges of the warp.

    Returns:
        The grid `(B, size, size, 2)` of the window, see `warp_grid`, and its pixel `(B, 1, 2)` where the point is.
    """
    extent = _extent(image, size)
    low, high = (first - size + 1).clamp(min=0), torch.minimum(first, extent - size)
    corner = (low + torch.rand(len(image), 2, device=image.device) * (high - low + 1)).floor()
    grid = warp_grid(image, (size, size), warp, corner + (size - 1) / 2)
    nearest = (grid - first[:, None, None]).square().sum(-1).flatten(1).argmin(dim=1)  # (B,)
    return grid, torch.stack([nearest % size, nearest // size], dim=-1)[:, None].float()


def correspond(image: Tensor, patch: Tensor, grid: Tensor, points: Tensor) -> Patches:
    """Return patches `(B, C, p, p)`, read through `grid`, with where their points `(B, P, 2)` are in the image."""
    targets = follow(grid, points)
    extent = targets.new_tensor([image.shape[-1], image.shape[-2]])
    return Patches(patch, points, targets, ((targets > -0.5) & (targets < extent - 0.5)).all(dim=-1))


def sample_patches(
    image: Tensor, size: int, count: int, warp: Warp, ranges: Jitter, margin: float = 0.05, inner: float | None = None
) -> Patches:
    """Cut one augmented patch from each image and draw points in it.

    A first point is uniform in the image without its margin, and the window uniform among those that hold it, as in the
    public code of UOD; this point is the only one where `count` is 1. Further points are uniform in the patch.

    Args:
        image: `(B, C, H, W)` in [0, 1].
        size: Side of the patches, at most that of the image.
        count: Points per patch.
        warp: Geometric augmentation of the patch.
        ranges: Augmentation of its intensities.
        margin: Share of the image's side along each border in which the first point does not fall.
        inner: Place windows uniformly instead, and all points uniformly in this central share of the patch, as the
            public code of CC2D does with 0.8.

    Returns:
        The patches. Points lie on whole pixels of the patch.
    """
    b, extent = len(image), _extent(image, size)
    if inner is None:
        first = ((margin + torch.rand(b, 2, device=image.device) * (1 - 2 * margin)) * extent).floor()
        grid, points = window_around(image, first, size, warp)
        border = 0
    else:
        corner = (torch.rand(b, 2, device=image.device) * (extent - size + 1)).floor()
        grid = warp_grid(image, (size, size), warp, corner + (size - 1) / 2)
        points, border = grid.new_empty(b, 0, 2), round(size * (1 - inner) / 2)
    patch = jitter(read(image, grid), ranges)
    if count > points.shape[1]:
        more = torch.randint(border, size - border, (b, count - points.shape[1], 2), device=image.device)
        points = torch.cat([points, more.float()], dim=1)
    return correspond(image, patch, grid, points)


def _extent(image: Tensor, size: int) -> Tensor:
    """Width and height of the images, which hold a window of this size."""
    height, width = image.shape[-2:]
    if size > min(height, width):
        raise ValueError(f"size: expected at most the image's side {min(height, width)}, got {size}")
    return torch.tensor([width, height], device=image.device, dtype=torch.float32)
