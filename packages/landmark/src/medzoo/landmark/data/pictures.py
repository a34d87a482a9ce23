"""Images for figures, in their own shape."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medzoo.core.geometry import resample, resize_affine
from medzoo.core.tasks.landmark_types import Picture
from medzoo.landmark.data.module import LandmarkDataModule
from medzoo.landmark.data.sources import Images

_SIDE = 768


def picture(images: Images, name: str, side: int = _SIDE) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read an image for a figure, in its own shape.

    Args:
        images: Where it is.
        name: Its name.
        side: Pixels along the longer side at most.

    Returns:
        `(H, W)` in [0, 1], and the `(2, 3)` map from original pixels to those of the picture.

    Raises:
        DataError: It cannot be read.
    """
    array = images.read(name).array
    size = (array.shape[1], array.shape[0])
    zoom = min(1.0, side / max(size))
    shown = (max(1, round(size[0] * zoom)), max(1, round(size[1] * zoom)))
    affine = resize_affine(size, shown)
    return resample(array, affine, shown), affine


def pictures(data: LandmarkDataModule) -> Picture:
    """Return what reads the images of a data module for figures."""
    images = {source.domain.name: source.images for source in data.sources}
    return lambda domain, name: picture(images[domain], name)
