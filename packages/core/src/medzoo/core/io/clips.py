"""Moving pictures: folders of pictures, AVI and MP4 files, and DICOM with several frames, as grey bytes."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medzoo.core.errors import DataError
from medzoo.core.io.image import read_header, read_image
from medzoo.core.io.listing import files_in
from medzoo.core.io.types import DICOM, check_plain, reading

VIDEO = (".avi", ".mp4", ".m4v", ".mov")
CLIP_FILES = VIDEO + DICOM
"""Endings of the files that are clips."""
PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
"""Endings of the pictures that a folder may hold as frames."""
FEWEST, MOST = 2, 4096
"""Frames of a clip."""
MOST_PIXELS = 2**28
"""Pixels of all frames together, a byte each in memory."""


@dataclass(frozen=True)
class ClipHeader:
    """What a file says of its clip without a pixel being decoded.

    Attributes:
        size: Width and height of a frame in pixels.
        frames: Their number.
        rate: Frames a second, NaN where the file does not say.
        spacing: mm per pixel along x, y; NaN where the file does not say.
    """

    size: tuple[int, int]
    frames: int
    rate: float
    spacing: tuple[float, float]


def clip_header(path: str | Path) -> ClipHeader:
    """Read what a clip says of itself, and check that it may be decoded.

    Args:
        path: A folder of pictures, which follow each other in the order of their names (`f2` before `f10`), or a file.

    Raises:
        DataError: It is no clip, has less than 2 frames or more than 4096, more than 2²⁸ pixels in all, or is cut
            short as far as its header shows.
    """
    name = os.fspath(path)
    if os.path.isdir(name):
        header = _header_of_pictures(Path(name))
    else:
        check_plain(name)
        with reading(name):
            header = _file_header(name)
    if not FEWEST <= header.frames <= MOST:
        raise DataError(name, f"has {header.frames} frames, expected {FEWEST} to {MOST}", "give a cycle or a few")
    width, height = header.size
    if header.frames * width * height > MOST_PIXELS:
        problem = f"has {header.frames} frames of {width} × {height}, more than {MOST_PIXELS} pixels in all"
        raise DataError(name, problem, "cut it to a few cycles, or shrink its frames")
    return header


def read_clip(path: str | Path) -> tuple[ClipHeader, NDArray[np.uint8]]:
    """Decode a clip; colour becomes its luminance.

    Args:
        path: See `clip_header`.

    Returns:
        Its header, and `(T, H, W)` from black (0) to white (255).

    Raises:
        DataError: See `clip_header`; or a frame cannot be decoded, or has another size than its header says.
    """
    header, name = clip_header(path), os.fspath(path)
    out = np.empty((header.frames, *header.size[::-1]), np.uint8)
    if os.path.isdir(name):
        for place, picture in zip(out, _pictures(Path(name)), strict=True):
            place[:] = np.round(255 * read_image(picture).array)
        return header, out
    with reading(name):
        if name.lower().endswith(VIDEO):
            from medzoo.core.io.video import decode_video

            decode_video(name, out)
        else:
            from medzoo.core.io.dicom_clip import decode_dicom_clip

            decode_dicom_clip(name, out)
    return header, out


def _file_header(name: str) -> ClipHeader:
    if name.lower().endswith(VIDEO):
        from medzoo.core.io.video import header_of_video

        return ClipHeader(*header_of_video(name), (math.nan, math.nan))
    if name.lower().endswith(DICOM):
        from medzoo.core.io.dicom_clip import header_of_dicom_clip

        return ClipHeader(*header_of_dicom_clip(name))
    raise DataError(name, "is no clip", f"give a folder of pictures or a file that ends in {', '.join(CLIP_FILES)}")


def _pictures(folder: Path) -> list[Path]:
    """Return the frames; programs that number them without leading zeros would have the tenth behind the first."""
    return sorted(files_in(folder, PICTURES), key=lambda path: _numbered(path.name))


def _numbered(name: str) -> list[tuple[str, int]]:
    """Return the texts of a name, each with the number behind it."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", name)]


def _header_of_pictures(folder: Path) -> ClipHeader:
    paths = _pictures(folder)
    headers = [read_header(path) for path in paths[: MOST + 1]]
    if not headers:
        raise DataError(folder, f"has 0 pictures, expected {FEWEST} to {MOST}", "give a folder with the clip's frames")
    size = headers[0].size
    odd = next((i for i, header in enumerate(headers) if header.size != size), None)
    if odd is not None:
        got, first = headers[odd].size, paths[0].name
        raise DataError(paths[odd], f"has {got[0]} × {got[1]} pixels, {first} has {size[0]} × {size[1]}")
    return ClipHeader((size[0], size[1]), len(paths), math.nan, (headers[0].spacing[0], headers[0].spacing[1]))
