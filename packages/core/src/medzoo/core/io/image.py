"""`read_image` and `read_header`: one door for every image format; whatever goes wrong behind it is a `DataError`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from medzoo.core.errors import DataError
from medzoo.core.io.kinds import is_image, slice_files
from medzoo.core.io.types import EXTENSIONS, NIFTI, RASTER, Channels, Header, Image, reading


def read_image(path: str | os.PathLike[str], channels: Channels = "grey") -> Image:
    """Read a PNG, JPEG, BMP, TIFF, NIfTI or DICOM file, or a folder with the DICOM slices of one series as a volume.

    Colour becomes 8-bit luminance (ITU-R 601, exact for grey stored as RGB) unless `channels` asks otherwise; alpha is
    dropped; palettes and CMYK are turned into RGB first; the camera's orientation tag is applied. `channels` has no
    effect on volumes.

    Args:
        path: The file, whose ending must be one of `EXTENSIONS`, or the folder.
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
        if kind == "series":
            from medzoo.core.io.series import read_series

            return read_series(name)
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
        if kind == "series":
            from medzoo.core.io.series import layout_of_series

            return layout_of_series(name).header
        from medzoo.core.io.dicom import header_of_dicom

        return header_of_dicom(name)


def _admit(path: str | os.PathLike[str]) -> tuple[str, Literal["raster", "nifti", "series", "dicom"]]:
    """Return the path as text and the family of its ending; refuse what is no plain, non-empty file of a known kind."""
    name = os.fspath(path)
    if "\0" in name:
        raise DataError(name.replace("\0", "\\0"), "is no path (it holds a null character)", "correct it")
    lower = os.path.basename(name).lower()
    if os.path.isdir(name) and slice_files(name):
        return name, "series"
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
