"""What reading an image gives, the limits of what is read, and how a failure becomes a `DataError`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medzoo.core.errors import DataError

Channels = Literal["grey", "rgb", "native"]
"""What to do with colour: one luminance channel, always three channels, or as many (1 or 3) as the file has."""

RASTER = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
NIFTI = (".nii", ".nii.gz")
DICOM = (".dcm", ".dicom")
EXTENSIONS = RASTER + NIFTI + DICOM
"""Endings of the files that `read_image` accepts; without one of them it takes DICOM alone, by its first bytes."""

MAX_PIXELS = 2**26
"""Most pixels of a two-dimensional image, 8192 × 8192: beyond all radiographs, and no more than 256 MB as float32."""
MAX_VOXELS = 2**30
"""Most values of a volume: 4 GB as float32, more than a whole-body CT of 512 × 512 × 2000."""
DAMAGED = "it may be damaged: copy or export it again"


@dataclass(frozen=True)
class Header:
    """What a file says about its image without its pixels being decoded.

    Attributes:
        size: Extent along x, y[, z] in pixels, after the camera's orientation tag.
        channels: 1 for grey images, 3 for colour (alpha is not counted), the length of the fourth axis of a volume.
        spacing: Millimetres per pixel along x, y[, z]; NaN where the file does not say.
        affine: As that of `Image`.
    """

    size: tuple[int, ...]
    channels: int
    spacing: tuple[float, ...]
    affine: NDArray[np.float64] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Image:
    """An image in memory.

    Attributes:
        array: float32, finite, C-contiguous: `(H, W)`, `(3, H, W)`, `(D, H, W)` or, where a volume has a fourth axis,
            `(C, D, H, W)`. Unsigned integer photographs and radiographs are divided by the largest value of their bit
            depth, which puts them in [0, 1]; float and signed TIFF, NIfTI, and DICOM of the modalities CT, MR, PT and
            NM keep their (rescaled) values. Volumes are turned so that z goes up, y to the back and x to the patient's
            left, whichever way they are stored.
        spacing: Millimetres per pixel along x, y[, z]; NaN where the file does not say.
        path: The file.
        affine: `(4, 4)` float64 from voxel `(x, y, z)` of `array` to patient millimetres (right, anterior, superior) of
            NIfTI; None for other formats.
    """

    array: NDArray[np.float32]
    spacing: tuple[float, ...]
    path: str
    affine: NDArray[np.float64] | None = None

    @property
    def size(self) -> tuple[int, ...]:
        """Extent along x, y[, z]."""
        return tuple(reversed(self.array.shape[-len(self.spacing) :]))


def check_plain(path: str | os.PathLike[str]) -> None:
    """Refuse what is there and is no plain file: reading a pipe or a device may never end.

    Raises:
        DataError: It is a folder, a pipe or a device.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise DataError(path, "is not a file", "give the path of a file")


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn whatever a decoder raises into a `DataError` that names the file."""
    try:
        with np.errstate(all="ignore"):  # damaged floats overflow on the way to the check that refuses them
            yield
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(path, "does not fit in memory", "use a smaller image") from error
    except PermissionError as error:
        raise DataError(path, "may not be read", "give read permission on it") from error
    except Exception as error:
        # Decoders raise anything from EOFError to SyntaxError, and most of them do not name the file.
        lines = str(error).replace(path, "file").splitlines() or [""]
        reason = f"{type(error).__name__}: {lines[0][:160]}" if lines[0] else type(error).__name__
        raise DataError(path, f"cannot be read ({reason})", DAMAGED) from error


def finite(path: str, array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a C-contiguous `array`, refusing NaN and infinity."""
    # A sum is finite exactly when all terms are, short of overflow: one pass without a temporary.
    if not np.isfinite(array.sum(dtype=np.float64)):
        bad = int(array.size - np.isfinite(array).sum())
        raise DataError(path, f"has {bad} values that are NaN or infinite", "replace them by finite values")
    return np.ascontiguousarray(array)
