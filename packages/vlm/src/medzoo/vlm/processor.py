"""How an image becomes what a network sees, and back: kept with the weights, for a wrong preparation shows nowhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medzoo.core.data.wants import Wants
from medzoo.core.geometry import Affine, apply, compose, fit_affine, invert, resample, resize_affine

FITS = ("stretch", "pad", "crop")


@dataclass(frozen=True)
class Processor:
    """From original to network pixels.

    Grey levels are those of `medzoo.core.io`, in [0, 1] whatever the bit depth; mean and spread are subtracted and
    divided within the network.

    Attributes:
        size: Height and width that the network sees.
        fit: `stretch` to that size; `pad`, which keeps the proportions, with black beside the shorter side; or `crop`,
            which cuts off what sticks out of the longer one.
        zoom: With `pad` or `crop`, so many times larger, and the rest is cut. The paper's images are padded to 256 and
            cropped to 224: 256/224.
    """

    size: tuple[int, int] = (64, 64)
    fit: str = "stretch"
    zoom: float = 1.0

    def affine(self, width: int, height: int) -> Affine:
        """Return the map from original to network pixels.

        Args:
            width: Of the original.
            height: Of the original.
        """
        rows, columns = self.size
        if self.fit == "stretch":
            return resize_affine((width, height), (columns, rows))
        grown = fit_affine((width, height), (columns, rows))
        middle = np.array([(columns - 1) / 2, (rows - 1) / 2])
        sides = columns / width, rows / height
        zoom = self.zoom * (max(sides) / min(sides) if self.fit == "crop" else 1.0)
        grown[:, 2] = (grown[:, 2] - middle) * zoom + middle
        grown[:, :2] *= zoom
        return grown

    def __call__(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return an image `(…, H, W)` as the network sees it, `(…, h, w)`."""
        height, width = array.shape[-2:]
        return resample(array, self.affine(width, height), self.size[::-1])

    def original(self, found: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
        """Return a map `(rows, columns)` over the network's image in the pixels of the original, `(height, width)`.

        Args:
            found: Of any size; its cells share the network's image.
            width: Of the original.
            height: Of the original.
        """
        return resample(found, self._cells(found, width, height), (width, height))

    def peak(self, found: NDArray[np.float32], width: int, height: int) -> tuple[float, float]:
        """Return the middle of the cell where a map is highest, x and y in pixels of the original.

        Of equal cells it is the first, row by row.
        """
        row, column = np.unravel_index(int(found.argmax()), found.shape)
        (point,) = apply(self._cells(found, width, height), np.array([[column, row]], dtype=np.float64))
        return float(point[0]), float(point[1])

    def _cells(self, found: NDArray[np.float32], width: int, height: int) -> Affine:
        """Return the map from the cells of a map to the pixels of the original."""
        cells = resize_affine(found.shape[::-1], self.size[::-1])
        return compose(cells, invert(self.affine(width, height)))


@dataclass(frozen=True)
class ReportWants(Wants):
    """What a method of image and text asks of its data.

    Attributes:
        processor: How images are brought to size.
        sentences: Sentences that are drawn for an image in each epoch.
    """

    processor: Processor = Processor()
    sentences: int = 1

    def affine(self, original: tuple[int, int], size: tuple[int, int]) -> Affine:
        """Return the map from the pixels of an image to those that the network sees, as the processor has it."""
        return Processor(size, self.processor.fit, self.processor.zoom).affine(*original)
