"""Images that are read when they are needed, by category."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medzoo.core.errors import DataError
from medzoo.core.geometry import resample, resize_affine
from medzoo.core.io import read_image


@dataclass(frozen=True)
class Item:
    """An image that is read when it is needed.

    Attributes:
        id: Name, unique in the data set.
        load: Reads it, `(3, H, W)` in [0, 1].
        label: 1 where abnormal.
        mask: Reads where, `(H, W)` bool; None where that is not known. A normal image needs none.
        patient: Whose image it is; figures with an interval draw patients.
        kind: What is wrong with it, as far as known.
        path: Its file; empty for a phantom.
        mask_path: File of the mask; empty where there is none.
    """

    id: str
    load: Callable[[], NDArray[np.float32]]
    label: int = 0
    mask: Callable[[], NDArray[np.bool_]] | None = None
    patient: str = ""
    kind: str = ""
    path: str = ""
    mask_path: str = ""


@dataclass(frozen=True)
class Category:
    """Images of one kind of thing: normal ones to learn from, normal and abnormal ones to test on.

    Attributes:
        name: What it is called.
        train: Normal images.
        test: Normal and abnormal images.
        number: Lets the draws of supports of several categories without files differ.
    """

    name: str
    train: tuple[Item, ...]
    test: tuple[Item, ...]
    number: int = 0


def empty_mask(item: Item) -> DataError:
    """Return the error for an abnormal image without a mark."""
    return DataError(item.mask_path or item.id, "marks nothing on an abnormal image", "correct it")


def read_colours(path: str | Path) -> NDArray[np.float32]:
    """Read an image as `(3, H, W)` in [0, 1].

    Values outside, such as the raw counts of DICOM files, are stretched from the least to the largest of the image.

    Raises:
        DataError: It cannot be read, or is a volume.
    """
    image = read_image(path, "rgb")
    if len(image.spacing) != 2:
        raise DataError(path, "is a volume, expected one image", "give a two-dimensional image")
    low, high = float(image.array.min()), float(image.array.max())
    if low >= 0 and high <= 1:
        return image.array
    return np.asarray((image.array - low) / max(high - low, 1e-12), dtype=np.float32)


def resized(array: NDArray[np.float32], size: tuple[int, int]) -> Tensor:
    """Resize `(3, H, W)` to a height and width, smoothed where it shrinks."""
    height, width = array.shape[-2:]
    if (height, width) == size:
        return torch.from_numpy(np.ascontiguousarray(array))
    affine = resize_affine((width, height), size[::-1])
    return torch.from_numpy(np.ascontiguousarray(resample(array, affine, size[::-1])))
