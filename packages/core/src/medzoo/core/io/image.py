"""`read_image` and `read_header`: one door for every image format; whatever goes wrong behind it is a `DataError`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
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
    """What a file tells about its image without its pixels being decoded.

    Attributes:
        size: Extent along x, y[, z] in pixels, after the camera's orientation tag.
        channels: 1 for grey images, 3 for colour (alpha is not counted), the length of the fourth axis of a volume.
        spacing: Millimetres per pixel along x, y[, z]; NaN where the file does not tell.
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
        spacing: Millimetres per pixel along x, y[, z]; NaN where the file does not tell.
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


def read_image(path: str | os.PathLike[str], channels: Channels = "grey") -> Image:
    """Read a PNG, JPEG, BMP, TIFF, NIfTI or DICOM file.

    Colour becomes 8-bit luminance (ITU-R 601, exact for grey stored as RGB) unless `channels` asks otherwise; alpha is
    dropped; palettes and CMYK are turned into RGB first; the camera's orientation tag is applied. `channels` has no
    effect on NIfTI.

    Args:
        path: The file; its ending must be one of `EXTENSIONS`.
        channels: "grey" → `(H, W)`; "rgb" → `(3, H, W)`, grey repeated; "native" → whichever of the two the file holds.

    Raises:
        DataError: The file is missing, of an unknown kind, damaged, cut short, too large, or holds NaN or infinity.
    """
    if channels not in ("grey", "rgb", "native"):
        raise ValueError(f"channels must be 'grey', 'rgb' or 'native', got {channels!r}")
    name, kind = _admit(path)
    with reading(name):
        if kind == "raster":
            from medzoo.core.io.raster import read_raster

            return read_raster(name, channels)
        if kind == "nifti":
            from medzoo.core.io.nifti import read_nifti

            return read_nifti(name)
        from medzoo.core.io.dicom import read_dicom

        return read_dicom(name, channels)


def read_header(path: str | os.PathLike[str]) -> Header:
    """Read size, channels and spacing without decoding pixels, and find every fault that shows without doing so.

    Raises:
        DataError: As `read_image`; damage inside the compressed pixels is not seen.
    """
    name, kind = _admit(path)
    with reading(name):
        if kind == "raster":
            from medzoo.core.io.raster import header_of_raster

            return header_of_raster(name)
        if kind == "nifti":
            from medzoo.core.io.nifti import header_of_nifti

            return header_of_nifti(name)
        from medzoo.core.io.dicom import header_of_dicom

        return header_of_dicom(name)


def is_image(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is an image by its ending or, as scanners name them without one, DICOM by its first bytes."""
    name = os.path.basename(os.fspath(path))
    if name.lower().endswith(EXTENSIONS):
        return True
    if name.upper() == "DICOMDIR" or name.startswith("."):
        return False  # the index of a disk, no image
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


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


def _admit(path: str | os.PathLike[str]) -> tuple[str, Literal["raster", "nifti", "dicom"]]:
    """Return the path as text and the family of its ending; refuse what is no plain, non-empty file of a known kind."""
    name = os.fspath(path)
    if "\0" in name:
        raise DataError(name.replace("\0", "\\0"), "is no path (it holds a null character)", "correct it")
    lower = os.path.basename(name).lower()
    if not is_image(name):
        raise DataError(name, "is of an unknown kind", f"use a file that ends in {', '.join(EXTENSIONS)}")
    try:
        if not Path(name).is_file():
            if os.path.exists(name):
                raise DataError(name, "is not a file", "give the path of one image")
            raise DataError(name, "does not exist", "check the path")
        if os.path.getsize(name) == 0:
            raise DataError(name, "is empty (0 bytes)", "copy or export it again")
    except OSError as error:
        raise DataError(name, f"cannot be opened ({error.strerror})", "check the path") from error
    return name, "nifti" if lower.endswith(NIFTI) else "raster" if lower.endswith(RASTER) else "dicom"
