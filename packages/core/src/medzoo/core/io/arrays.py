"""Arrays in one `.npz`, the images and labels of a part under `PART_images` and `PART_labels`, as MedMNIST has them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from medzoo.core.errors import DataError
from medzoo.core.io.types import check_plain

_SMALL, _PACKED = 2**28, 100  # bytes that a file may unpack to, or this many times its own
Labelled = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images `(N, H, W)` or `(N, H, W, 3)` and labels `(N, L)`."""


def read_labelled(path: Path, parts: Iterable[str], needed: Iterable[str]) -> dict[str, Labelled]:
    """Read images and labels of those of `parts` that the file has.

    Args:
        path: The file.
        parts: Names such as `train`, `val`, `test`.
        needed: Those that must be there.

    Raises:
        DataError: The file is missing, damaged or no `.npz`, unpacks to far more than its size, lacks an array, or one
            of them is not what it must be.
    """
    check_plain(path)
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise DataError(path, "is one array, not an archive of several", "give a MedMNIST file")
        with loaded as arrays:
            _check_sizes(path, arrays.zip)
            there = {f"{part}_images": part for part in parts if f"{part}_images" in arrays.files}
            for part in needed:
                if f"{part}_images" not in there:
                    raise DataError(path, f"has no array {part}_images", "give a MedMNIST file")
            found = {part: (arrays[name], arrays[f"{part}_labels"]) for name, part in there.items()}
    except FileNotFoundError as error:
        raise DataError(path, "does not exist", "check the path") from error
    except DataError:
        raise
    except KeyError as error:
        raise DataError(path, f"has no array {error.args[0].split()[0]}", "give a MedMNIST file") from error
    except Exception as error:  # whatever the bytes of a damaged archive lead to
        raise DataError(path, f"cannot be read ({type(error).__name__})", "download it again") from error
    return {part: _checked(path, part, *pair) for part, pair in found.items()}


def _check_sizes(path: Path, archive: ZipFile | None) -> None:
    """Refuse an archive whose arrays are far larger than images and labels that are packed can be."""
    records = archive.infolist() if archive else []
    declared, size = sum(record.file_size for record in records), path.stat().st_size
    if declared > max(_SMALL, _PACKED * size):
        problem = f"has {size} bytes that unpack to {declared}, more than {_PACKED} times as many"
        raise DataError(path, problem, "save it with np.savez")


def _checked(path: Path, part: str, images: object, labels: object) -> Labelled:
    if not isinstance(images, np.ndarray) or not isinstance(labels, np.ndarray):
        # NumPy returns the bytes of a record that is no array.
        raise DataError(path, f"has {part}_images or {part}_labels that are no array", "download it again")
    plain = images.ndim == 3 or (images.ndim == 4 and images.shape[-1] == 3)
    if not plain or images.dtype != np.uint8 or not images.size:
        problem = f"has {part}_images of {images.dtype} {images.shape}, expected uint8 (N, H, W) or (N, H, W, 3)"
        raise DataError(path, problem, "give a MedMNIST file of images")
    if labels.ndim not in (1, 2) or len(labels) != len(images) or labels.dtype.kind not in "iub" or not labels.size:
        problem = f"has {part}_labels of {labels.dtype} {labels.shape}, expected whole numbers (N,) or (N, labels)"
        raise DataError(path, problem, f"give one row for each of the {len(images)} images")
    return images, labels.reshape(len(labels), -1).astype(np.int64)
