"""Bringing images of any size to the network's inside a graph: two products with matrices of triangle filters."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Fit(nn.Module):
    """Resizes images as `medzoo.core.geometry.resample` does along the map that a data module takes.

    Two matrices instead of a resize of the runtime: runtimes differ in how they shrink, and none pads on the way.

    Args:
        size: Height and width that the network sees.
        pad: Keep the shape and fill the rest with 0, instead of filling the whole.
    """

    def __init__(self, size: tuple[int, int], pad: bool = False) -> None:
        super().__init__()
        self.size, self.pad = size, pad

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the images at network size, and the map `x' = x · scale + shift` from original to network pixels.

        Args:
            image: `(B, C, H, W)` float32.

        Returns:
            `(B, C, h, w)` float32, and scale and shift along x, y, `(2,)` float64 each.
        """
        extents = torch.stack([extent_of(image, -2), extent_of(image, -1)])
        wanted = torch.tensor(self.size, dtype=torch.float64, device=image.device)
        scale = wanted / extents
        if self.pad:
            scale = scale.min().expand(2)
        shift = scale / 2 - 0.5 + (wanted - extents * scale) / 2
        rows, columns = (
            weights(image.shape[axis - 2], self.size[axis], scale[axis], shift[axis]).to(image) for axis in (0, 1)
        )
        return rows @ image @ columns.mT, scale.flip(0), shift.flip(0)


def enlarge(maps: Tensor, like: Tensor) -> Tensor:
    """Bring maps `(B, h, w)` to the height and width of `like`, as `medzoo.core.tasks.anomaly.enlarged` does."""
    matrices = []
    for axis in (-2, -1):
        scale = extent_of(like, axis) / maps.shape[axis]
        matrices.append(weights(maps.shape[axis], like.shape[axis], scale, scale / 2 - 0.5, smooth=False).to(maps))
    return matrices[0] @ maps @ matrices[1].mT


def extent_of(image: Tensor, axis: int) -> Tensor:
    """Return the length of an axis as a float64 tensor, which a graph computes for images of any size."""
    line = image[0, 0, :, 0] if axis == -2 else image[0, 0, 0]
    return torch.ones_like(line, dtype=torch.float64).sum()


def weights(old: int, new: int, scale: Tensor, shift: Tensor, smooth: bool = True) -> Tensor:
    """Return the `(new, old)` float64 matrix that resamples one axis.

    Each row is a triangle about the place of its new pixel with sum 1, continued at the edges; a row whose pixel lies
    outside of the old image is 0. In float64: places in images of thousands of pixels lose digits in float32.

    Args:
        old: Old pixels.
        new: New pixels.
        scale: `()`, new pixels per old pixel.
        shift: `()`, place of the first old pixel among the new ones.
        smooth: Make the triangles as wide as the new pixels where these are larger than the old ones.
    """
    places = torch.arange(new, dtype=torch.float64, device=scale.device)
    taps = torch.arange(old, dtype=torch.float64, device=scale.device)
    centres = (places - shift) / scale
    last = taps[-1]
    inside = (centres >= -0.5 - 1e-6) & (centres <= last + 0.5 + 1e-6)
    radius = (1 / scale).clamp_min(1) if smooth else torch.ones_like(scale)
    # Half a pixel from the edge at most, as resample has it; a plain interpolation continues the edge from its centre.
    margin = 0.5 if smooth else 0.0
    centres = torch.minimum(centres.clamp_min(-margin), last + margin)
    rows = (1 - (taps - centres[:, None]).abs() / radius).clamp_min(0)
    return rows / rows.sum(1, keepdim=True) * inside[:, None]
