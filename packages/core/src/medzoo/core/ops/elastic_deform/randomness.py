"""Random control grids: drawn on the CPU, so that a seed gives the same deformation on every device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from medzoo.core.ops.elastic_deform import checks
from medzoo.core.ops.elastic_deform.spline import KINDS, along_axes

SAFE = 0.4
"""Coefficients below this share of the knot spacing cannot fold (Choi & Lee 2000: 1/2.046 in 2-D, 1/2.479 in 3-D)."""
VARIANCE = 0.4796
"""Variance of a cubic B-spline field per unit variance of its coefficients, per axis, mean over a knot cell."""


def knot_spacing(grid: Sequence[int], size: Sequence[int], spline: str = "interpolate") -> list[float]:
    """Return the distance of neighbouring knots in voxels, along each axis."""
    if checks.check_kind(spline) == KINDS["interpolate"]:
        return [(n - 1) / (g - 1) for g, n in zip(grid, size, strict=True)]
    return [n / (g - 3) for g, n in zip(grid, size, strict=True)]


def grid_from_sigma(sigma: float, size: Sequence[int]) -> list[int]:
    """Return the control grid whose random field looks like noise smoothed by a Gaussian of `sigma` voxels.

    Knots √3·σ apart give the same autocorrelation to within 0.021, without the dense noise and its convolution.
    """
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, got {sigma}")
    return [max(4, round((n - 1) / (3**0.5 * sigma)) + 1) for n in size]


def rms_from_alpha(alpha: float, sigma: float, nd: int) -> float:
    """Return the rms displacement (per axis, voxels) of the classic field `α · G_σ * U[-1, 1]` (Simard 2003)."""
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, got {sigma}")
    return float(alpha * (1 / 3) ** 0.5 * (2 * torch.pi**0.5 * sigma) ** (-nd / 2))


def random_control(
    batch: int,
    grid: Sequence[int] | None,
    size: Sequence[int],
    *,
    spline: str = "interpolate",
    max_displacement: float | Sequence[float] | None = None,
    rms: float | Sequence[float] | None = None,
    sigma: float | None = None,
    spacing: Sequence[float] | None = None,
    locked_borders: int = 0,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw control vectors `(batch, nd, *grid)`: uniform, independent B-spline COEFFICIENTS of bounded size.

    The bound holds for the coefficients, hence for the displacement everywhere. By default it is 0.4 knot spacings:
    such a deformation cannot fold.

    Args:
        batch: Number of fields.
        grid: Control points along each axis, at least 4; `None` with `sigma`.
        size: Size of the frame in voxels, axes in tensor order.
        spline: What the result is for, as in `elastic_deform`.
        max_displacement: Largest displacement, one value or one an axis.
        rms: Instead of it, the root mean square displacement along each axis; the largest is about four (2-D) to five
            times that.
        sigma: Instead of `grid`, the smoothness as the σ in voxels of an equivalent Gaussian (`grid_from_sigma`).
        spacing: Voxel size in mm along each axis, in tensor order; displacements are then in mm, otherwise in voxels.
        locked_borders: Outer layers of coefficients that stay zero; 2 keep the border of the image in place
            (3 with `coefficients`).
        generator: CPU generator; the default one if `None`.
        dtype: Of the result; drawing is done in float32.
        device: Of the result.

    Raises:
        ValueError: If an option does not fit; the message names it.
    """
    nd = len(size)
    full = checks.check_size(size, nd, "size")
    if (grid is None) == (sigma is None):
        raise ValueError("give either grid or sigma, not both and not none")
    shape = checks.check_size(grid, nd, "grid", least=4) if grid is not None else grid_from_sigma(sigma or 0.0, full)
    if max_displacement is not None and rms is not None:
        raise ValueError("give either max_displacement or rms, not both")
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    if locked_borders < 0:
        raise ValueError(f"locked_borders must be 0 or more, got {locked_borders}")
    if generator is not None and generator.device.type != "cpu":
        raise ValueError(
            f"generator must be a CPU generator, so that seeds mean the same everywhere, got one on {generator.device}"
        )
    if rms is not None:
        bound = [3**0.5 * VARIANCE ** (-nd / 2) * r for r in _in_voxels(rms, nd, spacing, "rms")]
    elif max_displacement is not None:
        bound = _in_voxels(max_displacement, nd, spacing, "max_displacement")
    else:
        bound = [SAFE * h for h in knot_spacing(shape, full, spline)]
    coef = torch.rand(batch, nd, *shape, generator=generator) * 2 - 1
    coef *= torch.tensor(bound).reshape(1, nd, *[1] * nd)
    for axis in range(nd):
        layers = min(locked_borders, shape[axis])
        if layers:
            coef.narrow(2 + axis, 0, layers).zero_()
            coef.narrow(2 + axis, shape[axis] - layers, layers).zero_()
    if checks.check_kind(spline) == KINDS["interpolate"]:  # control vectors are the values of that spline at its knots
        coef = along_axes(coef, [_knot_values(n) for n in shape])
    return coef.to(device=device, dtype=dtype)


def _in_voxels(value: float | Sequence[float], nd: int, spacing: Sequence[float] | None, name: str) -> list[float]:
    values = [float(value)] * nd if isinstance(value, int | float) else [float(v) for v in value]
    if len(values) != nd or not all(0 <= v < float("inf") for v in values):
        raise ValueError(f"{name} must be one number or {nd}, finite and not negative, got {value!r}")
    if spacing is None:
        return values
    if len(spacing) != nd or not all(0 < s < float("inf") for s in spacing):
        raise ValueError(f"spacing must hold {nd} positive numbers, got {spacing!r}")
    return [v / s for v, s in zip(values, spacing, strict=True)]


@lru_cache(maxsize=64)
def _knot_values(n: int) -> Tensor:
    """Return A: values at the knots of `n` coefficients with mirror ends, the inverse of the prefilter."""
    a = torch.eye(n) * 4 + torch.diag(torch.ones(n - 1), 1) + torch.diag(torch.ones(n - 1), -1)
    a[0, 1] = a[-1, -2] = 2
    return a / 6
