"""What a data set of landmarks is made of: a domain, images without labels, and labels that are read when asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from medzoo.core.data.splits import Split
from medzoo.core.errors import DataError
from medzoo.core.io import Header, Image, read_header, read_image
from medzoo.core.tasks.landmark_types import Domain

Points = NDArray[np.float64]
"""`(K, 2)` x, y in original pixels, NaN where a point is missing."""
Size = tuple[int, int]
"""Width and height of an image in pixels."""
NO_SPACING = (float("nan"), float("nan"))


class Images(ABC):
    """Images by name, and nothing else: this is all that training gets of a source.

    It holds no label and no path to one, so whatever trains on it cannot look behind the label firewall.
    """

    @abstractmethod
    def read(self, name: str) -> Image:
        """Return the image as `(H, W)` float32 in [0, 1] with its spacing; raises `DataError`."""

    @abstractmethod
    def header(self, name: str) -> Header:
        """Return size, channels and spacing without decoding pixels; raises `DataError`."""

    def path(self, name: str) -> str:
        """Return the file of the image; empty where there is none."""
        del name
        return ""

    def thumbnail(self, name: str) -> Image:
        """Return the image in any convenient size, to compare appearances."""
        return self.read(name)


class FileImages(Images):
    """Images in files.

    Args:
        paths: File of each image.
        spacing: mm per pixel along x and y where the layout knows it, of all images or by name; it takes the place of
            what the files say.
    """

    def __init__(
        self, paths: Mapping[str, str], spacing: tuple[float, float] | Mapping[str, tuple[float, float]] | None = None
    ) -> None:
        self._paths, self._spacing = dict(paths), spacing

    def path(self, name: str) -> str:
        """Return the file of the image."""
        return self._paths[name]

    def spacing(self, name: str, size: Size, stated: tuple[float, ...]) -> tuple[float, float]:
        """Return mm per pixel along x and y, NaN where nobody knows.

        Args:
            name: The image.
            size: Its width and height.
            stated: What the file says.
        """
        del size
        if isinstance(self._spacing, tuple):
            return self._spacing
        return (self._spacing or {}).get(name, (stated[0], stated[1]))

    def header(self, name: str) -> Header:
        """Return what the file says without decoding its pixels."""
        return read_header(self._paths[name])

    def read(self, name: str) -> Image:
        """Decode the file as grey and bring raw values into [0, 1]."""
        image = read_image(self._paths[name])
        if image.array.ndim != 2:
            shape = " × ".join(map(str, image.array.shape))
            raise DataError(image.path, f"is a volume of {shape}", "give a two-dimensional image")
        if (image.array == image.array.flat[0]).all():
            raise DataError(image.path, f"is {image.array.flat[0]:g} in every pixel", "export it again or remove it")
        height, width = image.array.shape
        return Image(stretch(image.array), self.spacing(name, (width, height), image.spacing), image.path)


def stretch(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Stretch values that leave [0, 1] (raw counts) or never reach 0.1 (12 bits stored in 16) from minimum to maximum.

    A network would otherwise see noise or black. All other images are returned as they are.
    """
    low, high = float(array.min()), float(array.max())
    if low >= 0 and 0.1 <= high <= 1:
        return array
    return np.asarray((array - low) / max(high - low, 1e-12), dtype=np.float32)


class LandmarkSource(ABC):
    """One layout of one anatomy: a domain, its images, its split, and its labels.

    Args:
        domain: The domain.
        images: The images of all parts of the split.
        split: What is trained on, validated and tested.
        usual_shots: Images that the paper line annotates, taken as shots by default where they are at hand.
    """

    on_disk = True
    """Whether there are files that can be at fault."""

    def __init__(self, domain: Domain, images: Images, split: Split, usual_shots: tuple[str, ...] = ()) -> None:
        self.domain, self.images, self.split, self.usual_shots = domain, images, split, usual_shots
        self.predict: tuple[str, ...] = split.test

    @property
    def names(self) -> tuple[str, ...]:
        """All images: for training, validation and test."""
        return (*self.split.train, *self.split.val, *self.split.test)

    @abstractmethod
    def labelled(self, name: str) -> bool:
        """Return whether an image has a label, without reading it."""

    @abstractmethod
    def label_path(self, name: str) -> str:
        """Return where the label of an image is, or would be."""

    @abstractmethod
    def points(self, name: str, size: Size) -> Points:
        """Read the landmarks of an image of the given size; this is the only door to labels.

        Raises:
            DataError: There is no label, or it cannot be read as K points.
        """

    def row(self, name: str, index: int) -> int | None:
        """Return the line (from 1) of the label file on which a landmark of an image stands, where that is known."""
        del name
        return index + 1

    def scale(self, name: str, points: Points, size: Size) -> tuple[float, float]:
        """Return the size of one original pixel in the domain's unit of error, along x and y.

        Args:
            name: The image.
            points: Its true landmarks; some layouts know their scale only through them.
            size: Its width and height.
        """
        del name, points
        if self.domain.frame is None:
            return 1.0, 1.0
        return self.domain.frame[0] / size[0], self.domain.frame[1] / size[1]

    def spacing_place(self, name: str) -> str:
        """Return where the spacing of an image stands: its file, unless a layout knows better."""
        return self.images.path(name)

    def observers(self, name: str, size: Size) -> tuple[Points, Points] | None:
        """Return the landmarks as two annotators placed them; None where fewer than two are known."""
        del name, size
        return None

    def faults(self) -> Iterable[DataError]:
        """Return what is wrong with the labels as a whole, beyond single images."""
        return ()
