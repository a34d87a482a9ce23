"""Which files are images, by their names and, of DICOM without an ending, their first bytes."""

from __future__ import annotations

import os

from medzoo.core.io.types import DICOM, EXTENSIONS


def is_image(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is an image by its ending or, for lack of one, DICOM by its first bytes."""
    name = os.path.basename(os.fspath(path))
    if name.lower().endswith(EXTENSIONS):
        return True
    if name.upper() == "DICOMDIR" or name.startswith("."):
        return False  # the index of a disk, no image
    if not os.path.isfile(path):
        return False  # reading a pipe may never end
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def slice_files(folder: str | os.PathLike[str]) -> list[str]:
    """Return the DICOM files of a folder, not those of folders below, in the order of names."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries)
    found = (name for name in names if name.lower().endswith(DICOM) or not name.lower().endswith(EXTENSIONS))
    return [path for name in found if is_image(path := os.path.join(os.fspath(folder), name)) and os.path.isfile(path)]
