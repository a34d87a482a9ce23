"""Data sets of a landmark data module: images alone for training, images with landmarks for evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from medzoo.core.data.cache import ImageCache, Key, Prepared
from medzoo.core.errors import DataError
from medzoo.core.geometry import fit_affine, resample, resize_affine
from medzoo.core.sample import ImageSample, LandmarkSample
from medzoo.landmark.data.checks import misplaced
from medzoo.landmark.data.sources import Images, LandmarkSource, Points, Size

Resize = Literal["stretch", "pad"]


@dataclass(frozen=True)
class Geometry:
    """How an image of any size becomes one of the network's.

    Args:
        size: Height and width that the network sees.
        resize: "stretch" fills it whatever the shape of the image, "pad" keeps the shape and fills the rest with 0.
    """

    size: tuple[int, int]
    resize: Resize = "stretch"

    def affine(self, original: Size) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        """Return the `(2, 3)` map from original to network pixels for an image of that width and height."""
        make = resize_affine if self.resize == "stretch" else fit_affine
        return make(original, (self.size[1], self.size[0]))


class UnlabelledImages(Dataset[ImageSample]):
    """Images without labels; an index is a number or `(number, epoch)`.

    It holds `Images`, which know no labels, so nothing that trains on it can read one.

    Args:
        images: The images of each domain.
        keys: Domain index and name of each sample.
        geometry: How images reach the network's size.
        cache: Memory for decoded images, shared with other data sets of the run.
        sources: Names of the domains.
    """

    def __init__(
        self,
        images: Sequence[Images],
        keys: Sequence[Key],
        geometry: Geometry,
        cache: ImageCache,
        sources: Sequence[str] = (),
    ) -> None:
        self.images, self.keys, self.geometry, self.cache = list(images), list(keys), geometry, cache
        self.sources = list(sources) or [""] * len(self.images)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def groups(self) -> list[int]:
        """Domain index of each sample."""
        return [domain for domain, _ in self.keys]

    def __getitem__(self, index: int | tuple[int, int]) -> ImageSample:
        number = index if isinstance(index, int) else index[0]
        domain, name = self.keys[number]
        image, size, spacing = self._prepared(domain, name)
        return {
            "image": torch.from_numpy(image.astype(np.float32))[None],  # (1, H, W)
            "spacing": torch.tensor(spacing, dtype=torch.float32),
            "affine": torch.from_numpy(self.geometry.affine(size)),
            "original_size": torch.tensor(size, dtype=torch.int64),
            "id": name,
            "path": self.images[domain].path(name),
            "source": self.sources[domain],
            "domain": domain,
        }

    def _prepared(self, domain: int, name: str) -> Prepared:
        known = self.cache.get((domain, name))
        if known is not None:
            return known
        image = self.images[domain].read(name)
        height, width = image.array.shape
        small = resample(image.array, self.geometry.affine((width, height)), self.geometry.size[::-1])
        # Rounded whether it is kept or not, so that the size of the cache never changes a result.
        prepared = Prepared(small.astype(np.float16), (width, height), (image.spacing[0], image.spacing[1]))
        self.cache.put((domain, name), prepared)
        return prepared


class LabelledImages(Dataset[LandmarkSample]):
    """Images with their landmarks, for shots, validation and test; an index is a number or `(number, epoch)`.

    Args:
        images: The images.
        sources: Where the labels of each domain come from.
        keep: Keep labels once read, for images that come again each epoch.
    """

    def __init__(self, images: UnlabelledImages, sources: Sequence[LandmarkSource], keep: bool = False) -> None:
        self.images, self.sources = images, list(sources)
        self._labels: dict[Key, tuple[Points, tuple[float, float]]] | None = {} if keep else None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def groups(self) -> list[int]:
        """Domain index of each sample."""
        return self.images.groups

    def __getitem__(self, index: int | tuple[int, int]) -> LandmarkSample:
        sample = self.images[index]
        width, height = sample["original_size"].tolist()
        points, scale = self._label((sample["domain"], sample["id"]), (width, height))
        labelled: LandmarkSample = {
            **sample,
            "landmarks": torch.from_numpy(points.astype(np.float32)),
            "visible": torch.from_numpy(np.isfinite(points).all(axis=1)),
            "scale": torch.tensor(scale, dtype=torch.float32),
        }
        return labelled

    def _label(self, key: Key, size: Size) -> tuple[Points, tuple[float, float]]:
        """Return the landmarks of an image and the size of its pixels in the unit of error."""
        known = self._labels.get(key) if self._labels is not None else None
        if known is None:
            source = self.sources[key[0]]
            points = read_points(source, key[1], size)
            known = points, source.scale(key[1], points, size)
            if self._labels is not None:
                self._labels[key] = known
        return known


def read_points(source: LandmarkSource, name: str, size: Size) -> Points:
    """Read the landmarks of an image and refuse those outside of it.

    Raises:
        DataError: The label is missing, malformed, or has points outside the image.
    """
    points = source.points(name, size)
    faults: list[DataError] = misplaced(source, name, points, size)
    if faults:
        raise faults[0]
    return points
