"""What DIM and TIM do to images and gradients, for any number of spatial axes and channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medzoo.adversarial.engine.draws import Source, uniform

_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}
_SIGMAS = 3.0


def resized_and_padded(images: Tensor, probability: float, shrink: float, fill: float, source: Source) -> Tensor:
    """Return images of which some, drawn one by one, are shrunk and put at a random place of an empty image.

    Args:
        images: `(B, C, *S)`.
        probability: That an image is changed.
        shrink: Least size as a share of the image's; the size is drawn between it and the whole.
        fill: Value of the empty image.
        source: Where the draws come from.
    """
    size = images.shape[2:]
    out = []
    draws = uniform(images.new_empty(len(images), 2 + len(size)), source).tolist()
    for image, (chosen, scale, *places) in zip(images.split(1), draws, strict=True):
        if chosen >= probability:
            out.append(image)
            continue
        small = [max(1, round(n * (shrink + (1 - shrink) * scale))) for n in size]
        shrunk = F.interpolate(image, small, mode=_MODES[len(size)], align_corners=False)
        pads: list[int] = []
        for n, m, place in reversed(list(zip(size, small, places, strict=True))):
            before = int(place * (n - m + 1))
            pads += [before, n - m - before]
        out.append(F.pad(shrunk, pads, value=fill))
    return torch.cat(out)


def smoothed(slopes: Tensor, width: int) -> Tensor:
    """Return gradients smoothed along each spatial axis by a Gaussian of three standard deviations on either side.

    Args:
        slopes: `(B, C, *S)`.
        width: Of the kernel in pixels, odd; 1 returns the gradients as they are.
    """
    if width == 1:
        return slopes
    kernel = torch.exp(-(torch.linspace(-_SIGMAS, _SIGMAS, width) ** 2) / 2)
    kernel = (kernel / kernel.sum()).to(slopes).reshape(1, 1, -1)
    for axis in range(2, slopes.ndim):
        moved = slopes.movedim(axis, -1)
        lines = F.conv1d(moved.reshape(-1, 1, moved.shape[-1]), kernel, padding=width // 2)
        slopes = lines.reshape(moved.shape).movedim(-1, axis)
    return slopes
