"""How much information a pixel's neighbourhood holds, and how much two neighbourhoods share, in bits."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Indicator = Literal["joint", "counts"]
"""Mutual information of aligned pixels, or what the public code computes: of two histograms' counts by grey level."""

_BINS = 16
_NEIGHBOURS = 2**24


def entropy_map(image: Tensor, radius: int = 10, stride: int = 3, levels: int = 256) -> Tensor:
    r"""Entropy of the grey levels around each pixel, $H(p) = -\sum_b \pi_b \log_2 \pi_b$.

    The paper's patches are squares of about 10 pixels, the public code's discs of radius 10, as here. Pixels outside
    the image are in no histogram.

    Args:
        image: `(B, 1, H, W)` in [0, 1].
        radius: Radius of the discs in pixels.
        stride: Entropy is computed at every so manyth pixel of both axes and interpolated in between; odd.
        levels: Number of grey levels.

    Returns:
        `(B, H, W)` in bits, at most the logarithm of the disc's number of pixels.
    """
    h, w = image.shape[-2:]
    reach = torch.arange(-radius, radius + 1, device=image.device)
    disc = (reach[:, None] ** 2 + reach**2 <= radius**2).flatten()
    grey = (image[:, :1] * (levels - 1)).round().clamp(0, levels - 1)
    rows, columns = math.ceil(h / stride), math.ceil(w / stride)
    first = radius - stride // 2  # the middle of the first cell is the first to be looked at
    after = (first + columns * stride - w, first + rows * stride - h)
    padded = F.pad(grey, (first, max(after[0], radius), first, max(after[1], radius)), value=float(levels))
    # Some rows of one image at a time: the neighbourhoods of a batch, or of a whole radiograph, would take gigabytes.
    band = max(1, _NEIGHBOURS // (columns * (2 * radius + 1) ** 2))
    maps = []
    for one in padded:
        parts = []
        for top in range(0, rows, band):
            bottom = min(top + band, rows)
            seen = one[:, top * stride : (bottom - 1) * stride + 2 * radius + 1]
            around = F.unfold(seen[None], 2 * radius + 1, stride=stride)[0]
            around = around.unflatten(1, (bottom - top, _count(one, 2, radius, stride)))
            around = around[disc, :, :columns].flatten(1).long()  # (pixels of the disc, cells)
            counts = torch.zeros(levels + 1, around.shape[1], device=image.device)
            counts = counts.scatter_add_(0, around, torch.ones_like(around, dtype=counts.dtype))[:levels]
            parts.append(torch.special.entr(counts / counts.sum(dim=0)).sum(dim=0) / math.log(2))
        maps.append(torch.cat(parts).view(rows, columns))
    fine = F.interpolate(torch.stack(maps)[:, None], scale_factor=stride, mode="bilinear", align_corners=False)
    return fine[:, 0, :h, :w]


def _count(image: Tensor, axis: int, radius: int, stride: int) -> int:
    """Number of neighbourhoods along an axis."""
    return int((image.shape[axis] - 2 * radius - 1) // stride + 1)


def mutual_information(a: Tensor, b: Tensor, indicator: Indicator = "joint") -> Tensor:
    """Mutual information of pairs of patches.

    Args:
        a: `(N, P)`, the pixels of N patches, in [0, 1].
        b: `(N, P)`, the patches they are compared with, pixel by pixel.
        indicator: `"joint"`: of the grey levels of pixels at the same place, from a joint histogram of 16 × 16 bins.
            `"counts"`: the public code's, which takes the counts of 256 grey levels as a sequence of labels in each
            patch; it does not change where the counts are renamed, nor where pixels are shuffled.

    Returns:
        `(N,)` in bits, ≥ 0.
    """
    if indicator == "joint":
        x, y = ((p * _BINS).long().clamp(0, _BINS - 1) for p in (a, b))
        joint = _histogram(x * _BINS + y, _BINS**2).unflatten(1, (_BINS, _BINS)) / a.shape[1]
        parts = joint.sum(dim=2), joint.sum(dim=1), joint.flatten(1)
        of_a, of_b, of_both = (torch.special.entr(p).sum(dim=1) for p in parts)
        information: Tensor = (of_a + of_b - of_both) / math.log(2)
        return information.clamp(min=0)
    x, y = (_histogram((p * 255).round().long().clamp(0, 255), 256).long() for p in (a, b))
    return (_label_entropy(x) + _label_entropy(y) - _label_entropy(x * (a.shape[1] + 1) + y)).clamp(min=0)


def _histogram(values: Tensor, bins: int) -> Tensor:
    """Counts `(N, bins)` of whole numbers `(N, P)`."""
    counts = torch.zeros(len(values), bins, device=values.device)
    return counts.scatter_add_(1, values, torch.ones_like(values, dtype=counts.dtype))


def _label_entropy(labels: Tensor) -> Tensor:
    """Entropy in bits of the labels `(N, L)` of each row."""
    ordered = labels.sort(dim=1).values
    new = F.pad((ordered[:, 1:] != ordered[:, :-1]).long(), (1, 0)).cumsum(dim=1)  # index of the run of equal labels
    share = _histogram(new, labels.shape[1]) / labels.shape[1]
    entropy: Tensor = torch.special.entr(share).sum(dim=1) / math.log(2)
    return entropy
