"""What the task of finding landmarks is about: domains, the outputs of a model, images for figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Domain:
    """One anatomy in one kind of image, with the rules by which errors in it are reported.

    Args:
        name: Name in results and on the command line.
        landmarks: Names of the K landmarks, in the order of the label files; empty where nobody knows them (images
            without labels).
        unit: Unit of errors.
        thresholds: Radii of the success detection rate, in `unit`.
        frame: Width and height of the frame in whose pixels errors are counted; `None` with `unit="px"` means pixels
            of the original image.
        note: What a report must say of the labels, such as whose they are.
    """

    name: str
    landmarks: tuple[str, ...]
    unit: Literal["mm", "px"]
    thresholds: tuple[float, ...]
    frame: tuple[int, int] | None = None
    note: str = ""


@dataclass
class LandmarkOutputs:
    """What a model gives for a batch of one domain.

    Attributes:
        points: `(B, K, 2)` (x, y) in pixels of the network's image, NaN where there is none.
        scores: `(B, K)`, higher where the model is surer.
        maps: `(B, K, h, w)` that points are read from, with gradients to the images: a decoder that takes the highest
            pixel passes none to `points`.
        landmarks: Names of the K landmarks.
    """

    points: Tensor
    scores: Tensor
    maps: Tensor
    landmarks: tuple[str, ...]


Picture = Callable[[str, str], tuple[NDArray[np.float32], NDArray[np.float64]]]
"""Returns an image of a domain by name for a figure, in its own shape: `(H, W)` in [0, 1], and the `(2, 3)` map from
original pixels to those of the picture."""


@dataclass(frozen=True)
class Seen:
    """What a figure needs of a tested image, all in original pixels."""

    id: str
    points: NDArray[np.float64]
    truth: NDArray[np.float64]
    known: NDArray[np.bool_]
    error: float
