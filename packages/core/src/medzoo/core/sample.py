"""The sample contract: the keys that readers fill, networks read and writers give back, for every package.

Coordinates are `(x, y[, z])` in pixels of the ORIGINAL image, float, with the origin at the centre of the first pixel.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

import torch
from torch import Tensor
from torch.utils.data import default_collate


class Sample(TypedDict):
    """What a data set yields for one image."""

    image: Tensor
    """`(C, *S)` float32, in `[0, 1]` for photographs and radiographs, Hounsfield units for CT."""
    spacing: Tensor
    """`(nd,)` float32, mm per original pixel along x, y[, z]; NaN where the file does not tell."""
    affine: Tensor
    """`(nd, nd + 1)` float64, maps original pixel coordinates to those of `image`."""
    original_size: Tensor
    """`(nd,)` int64, extent of the original image along x, y[, z]."""
    id: str
    """Name of the image, unique in its domain."""
    path: str
    """File it was read from; empty for a phantom."""
    domain: int
    """Index of the data set or anatomy in the data module's `domains`."""


class LandmarkSample(Sample):
    """A sample with points; training samples of one-shot methods do NOT carry these keys (the label firewall)."""

    landmarks: NotRequired[Tensor]
    """`(K, nd)` float32, original pixels, NaN where missing."""
    visible: NotRequired[Tensor]
    """`(K,)` bool, true where the point was annotated."""
    scale: NotRequired[Tensor]
    """`(nd,)` float32, one original pixel in the domain's unit of error (mm, or pixels of a reference frame)."""


class MaskSample(Sample):
    """A sample of a segmentation or anomaly task."""

    mask: NotRequired[Tensor]
    """`(*S)` int64 labels or bool, in the geometry of the original image."""
    label: NotRequired[Tensor]
    """`()` int64 class of the whole image."""
    world: NotRequired[Tensor]
    """`(4, 4)` float64, maps original voxels `(x, y, z)` to the scanner's millimetres."""
    stored: NotRequired[Tensor]
    """`(4, 4)` float64, maps original voxels `(x, y, z)` to those of the file, whose axes may be others."""


Batch = dict[str, Any]
"""Samples of equal image size collated: tensors stacked along a new first axis; strings, and masks of several sizes, in
lists."""


def collate(samples: list[dict[str, Any]]) -> Batch:
    """Stack samples into a batch; what is not a tensor or number becomes a list, and so do masks of several sizes."""
    batch: Batch = {}
    for key, first in samples[0].items():
        values = [sample[key] for sample in samples]
        if key == "mask" and len({value.shape for value in values}) > 1:
            batch[key] = values
        elif isinstance(first, Tensor):
            batch[key] = torch.stack(values)
        else:
            batch[key] = default_collate(values) if isinstance(first, int | float | bool) else values
    return batch
