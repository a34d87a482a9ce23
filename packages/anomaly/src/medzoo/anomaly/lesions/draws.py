"""Random numbers and smoothing that the operators share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

Range = tuple[float, float]
_REACH = 4.0  # standard deviations after which a Gaussian is cut


def uniform(low_high: Range, generator: Generator) -> float:
    """Draw one number between the ends of a range."""
    low, high = low_high
    return low + (high - low) * float(torch.rand((), generator=generator, device=generator.device))


def integer(low_high: tuple[int, int], generator: Generator) -> int:
    """Draw one integer, both ends included."""
    low, high = low_high
    return int(torch.randint(low, high + 1, (), generator=generator, device=generator.device))


def choice(weights: Sequence[float], generator: Generator) -> int:
    """Draw an index with probability in proportion to its weight."""
    values = torch.tensor(weights, dtype=torch.float64, device=generator.device)
    return int(torch.multinomial(values, 1, generator=generator))


def gaussian(field: Tensor, sigma: Sequence[float]) -> Tensor:
    """Smooth `(*S)` with a Gaussian of standard deviation `sigma` voxels along each axis.

    Borders are mirrored, the voxel at the border included, as by `scipy.ndimage.gaussian_filter`.
    """
    for axis, width in enumerate(sigma):
        if width <= 0:
            continue
        radius = max(1, int(_REACH * width + 0.5))
        offsets = torch.arange(-radius, radius + 1, device=field.device, dtype=field.dtype)
        kernel = torch.exp(-0.5 * (offsets / width) ** 2)
        lines = field.movedim(axis, -1)
        shape = lines.shape
        # F.pad's "reflect" leaves the border voxel out and ends where the reach is longer than the axis.
        place = torch.arange(-radius, shape[-1] + radius, device=field.device) % (2 * shape[-1])
        flat = lines.reshape(-1, 1, shape[-1])[..., torch.minimum(place, 2 * shape[-1] - 1 - place)]
        field = F.conv1d(flat, (kernel / kernel.sum())[None, None]).reshape(shape).movedim(-1, axis)
    return field
