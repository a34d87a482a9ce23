"""Listing folders: the one rule of which files are data, which are leftovers of a system, and what a name is."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from medzoo.core.errors import DataError
from medzoo.core.io.kinds import is_image, page_of
from medzoo.core.io.types import EXTENSIONS

_LEFTOVERS = frozenset(
    ("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information")
)
"""What macOS, Windows and network disks put beside data under names that are not hidden."""

_RESULTS = tuple(
    map(
        frozenset,
        (("config.yaml", "environment.json"), ("about.json", "predictions.jsonl"), ("about.json", "predictions.json")),
    )
)
"""What every run folder of this product holds, and every folder of `medzoo predict CKPT PATH`."""


def holds_results(files: Iterable[str]) -> bool:
    """Return whether a folder with these files was written by medzoo, so that its pictures are no data."""
    there = set(files)
    return any(there >= signs for signs in _RESULTS)


def leftover(path: Path) -> bool:
    """Return whether a file or folder is not the user's: hidden (`.x`, `._x`, `.ipynb_checkpoints`) or a system's."""
    return path.name.startswith(".") or path.name.casefold() in _LEFTOVERS


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without leftovers."""
    return [path for path in _entries(folder) if path.is_dir()]


def files_in(folder: Path, endings: tuple[str, ...] = EXTENSIONS) -> list[Path]:
    """Return the files of a folder that end in one of `endings` (in any case), sorted, without leftovers.

    Where DICOM files are asked for, those without an ending count too, as scanners and discs write them.
    """
    return [p for p in _entries(folder) if not p.is_dir() and (_ends(p.name, endings) or _nameless(p, endings))]


def _nameless(path: Path, endings: tuple[str, ...]) -> bool:
    return ".dcm" in endings and not _ends(path.name, EXTENSIONS) and is_image(path)


def _ends(name: str, endings: tuple[str, ...]) -> bool:
    return name.lower().endswith(endings)


def image_files(folder: Path, endings: tuple[str, ...] = EXTENSIONS) -> dict[str, str]:
    """Return the images of a folder by name without ending, sorted, without leftovers.

    Raises:
        DataError: Two images have one name.
    """
    found: dict[str, str] = {}
    for file in files_in(folder, endings):
        name = stem(file)
        if name in found:
            raise DataError(file, f"has the same name as {Path(found[name]).name}", "rename or remove one of the two")
        found[name] = str(file)
    return found


def image_below(folder: Path, endings: tuple[str, ...] = EXTENSIONS) -> Path | None:
    """Return the first image in a folder or below it; None where there is none.

    Links to folders are not followed; folders of runs and of answers are passed over, for their pictures are results.
    """
    for base, names, files in os.walk(folder):
        if holds_results(files):
            names.clear()
            continue
        names[:] = sorted(name for name in names if not leftover(Path(name)))
        for name in sorted(files):
            if _ends(name, endings) and not leftover(Path(name)):
                return Path(base, name)
    return None


def unread_images(folder: Path, endings: tuple[str, ...] = EXTENSIONS, names: Iterable[str] = ()) -> list[DataError]:
    """Return an error for the folders of images in a folder of images, which would not be read.

    Args:
        folder: The folder.
        endings: Those of images.
        names: Names of its images; a folder whose images are called alike holds companions, such as masks.
    """
    faults, known = [], tuple(names)
    for inner in folders_in(folder):
        image = image_below(inner, endings)
        if image is not None and not (known and stem(image).startswith(known)):
            problem = f"holds images one level down that are not read, such as {image.relative_to(folder)}"
            faults.append(DataError(inner, problem, f"move them into {folder}, or take the folder out"))
    return faults


def no_image(folder: Path, cure: str) -> DataError:
    """Return the error for a folder without an image, which names what may have been meant.

    Args:
        folder: The folder.
        cure: What to do where there is nothing of the kind.
    """
    below = next((inner for inner in folders_in(folder) if image_below(inner)), None)
    if below is not None:
        problem = f"holds no image itself; there are some one level down, such as {image_below(below)}"
        return DataError(folder, problem, f"move them up, or give the folder that holds them; {cure}")
    return DataError(folder, "holds no image", cure)


def stem(file: str | Path) -> str:
    """Return a file's name without folders and without the ending of an image (`.nii.gz` is one); `a.tif#3` is `a#3`.

    Other dots belong to the name, as in DICOM's `1.2.840.1`. Folders may be those of Windows. Letters are composed: a
    disk of a Mac stores `ä` in two characters, and label files have one.
    """
    name, page = page_of(re.split(r"[\\/]", str(file))[-1])
    endings = sorted(EXTENSIONS, key=len, reverse=True)
    ending = next((ending for ending in endings if name.lower().endswith(ending)), "")
    return unicodedata.normalize("NFC", name[: len(name) - len(ending)]) + (f"#{page}" if page else "")


def content_hash(path: str | os.PathLike[str]) -> bytes:
    """Return a hash of the bytes of a file, which does not depend on its name.

    Raises:
        DataError: It cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "check the path") from error


def same_content(known: Iterable[str], tested: Iterable[str]) -> list[DataError]:
    """Return an error for each tested file that is, byte for byte, also one of the known (training) files.

    Only files of equal size are read. What cannot be looked at is passed over, for a check reports it elsewhere.
    """
    sizes: dict[int, list[str]] = {}
    for path in known:
        sizes.setdefault(_size(path), []).append(path)
    hashes: dict[int, dict[bytes, str]] = {}
    faults = []
    for path in tested:
        size = _size(path)
        if size <= 0 or size not in sizes:
            continue
        try:
            if size not in hashes:
                hashes[size] = _by_content(sizes[size])
            twin = hashes[size].get(content_hash(path))
        except DataError:
            continue
        if twin is not None:
            problem = f"is, byte for byte, the training image {twin}"
            faults.append(DataError(path, problem, "remove one of the two: a test on known images shows nothing"))
    return faults


def _by_content(paths: Sequence[str]) -> dict[bytes, str]:
    found: dict[bytes, str] = {}
    for path in paths:
        found.setdefault(content_hash(path), path)
    return found


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return -1


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not leftover(path))
    except OSError as error:
        raise DataError(folder, f"cannot be listed ({error.strerror})", "check the path and its permissions") from error
