"""Heat-map targets, computed from the coordinates for whole batches; no loop over landmarks or pixels."""

from __future__ import annotations

import torch
from torch import Tensor


def profiles(points: Tensor, size: tuple[int, int], sigma: float) -> tuple[Tensor, Tensor]:
    """The factors of `gaussian` along y and x, `(..., H)` and `(..., W)`; 0 for points that are NaN."""
    ys = torch.arange(size[0], device=points.device, dtype=points.dtype)
    xs = torch.arange(size[1], device=points.device, dtype=points.dtype)
    known = torch.where(points.isnan().any(dim=-1, keepdim=True), torch.inf, points)
    rows = torch.exp(-((ys - known[..., 1:2]) ** 2) / (2 * sigma**2))
    columns = torch.exp(-((xs - known[..., 0:1]) ** 2) / (2 * sigma**2))
    return rows, columns


def gaussian(points: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    r"""Gaussians $e^{-\lVert u-p\rVert^2 / 2\sigma^2}$ with peak 1.

    Args:
        points: `(..., 2)` (x, y) in pixels of the heat map; maps of points that are NaN are 0.
        size: `(H, W)` of the heat map.
        sigma: Standard deviation in pixels.

    Returns:
        `(..., H, W)` in [0, 1].
    """
    rows, columns = profiles(points, size, sigma)
    return rows[..., :, None] * columns[..., None, :]


def alpha_power(
    points: Tensor, size: tuple[int, int], sigma: float, alpha: float = 10.0, floor: float = 1.05
) -> Tensor:
    r"""UOD's target $\alpha^{\exp(-\lVert u-p\rVert^2/2\sigma^2)}$, with values up to `floor` set to 0.

    Its peak is α at the point, the support a disc of radius $\sigma\sqrt{-2\ln\log_\alpha 1.05}\approx 2.776\,\sigma$.

    Args:
        points: `(..., 2)` (x, y) in pixels of the heat map; maps of points that are NaN are 0.
        size: `(H, W)` of the heat map.
        sigma: Standard deviation in pixels (public code: 10 at 576).
        alpha: Base of the power.
        floor: Largest value that becomes 0.

    Returns:
        `(..., H, W)`, values 0 or in (floor, alpha].
    """
    values = torch.pow(alpha, gaussian(points, size, sigma))
    return torch.where(values > floor, values, 0.0)
