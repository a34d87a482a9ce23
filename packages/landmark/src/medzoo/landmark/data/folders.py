"""Finding the files of a layout, with errors that tell the layout that was expected."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from medzoo.core.errors import DataError
from medzoo.core.io import EXTENSIONS, is_image


def existing_root(root: Path, layout: str) -> Path:
    """Return the root of a data set.

    Args:
        root: The folder.
        layout: What it should hold, for the message.

    Raises:
        DataError: It does not exist or is no folder.
    """
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise DataError(root, problem, f"give --data.root the folder that holds {layout}")
    return root


def first_folder(root: Path, candidates: Iterable[str], layout: str) -> Path:
    """Return the first of the sub-folders that exists.

    Raises:
        DataError: None exists.
    """
    candidates = tuple(candidates)
    for candidate in candidates:
        if (root / candidate).is_dir():
            return root / candidate
    raise DataError(root, f"has no folder {' or '.join(candidates)}", f"expected {layout}")


def stem(file: str | Path) -> str:
    """Return a file's name without folders and without the ending of an image (`.nii.gz` is one).

    Other dots belong to the name, as in DICOM's `1.2.840.1`. Folders may be those of Windows. Letters are composed: a
    disk of a Mac stores `ä` in two characters, and label files have one.
    """
    name = re.split(r"[\\/]", str(file))[-1]
    endings = sorted(EXTENSIONS, key=len, reverse=True)
    ending = next((ending for ending in endings if name.lower().endswith(ending)), "")
    return unicodedata.normalize("NFC", name[: len(name) - len(ending)])


def image_files(folder: Path) -> dict[str, str]:
    """Return the images of a folder by name without ending, sorted; hidden files are passed over.

    Raises:
        DataError: Two images have one name.
    """
    found: dict[str, str] = {}
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or file.is_dir() or not is_image(file):
            continue
        name = stem(file)
        if name in found:
            raise DataError(file, f"has the same name as {Path(found[name]).name}", "rename or remove one of the two")
        found[name] = str(file)
    return found


def some_images(folder: Path, layout: str) -> dict[str, str]:
    """Return the images of a folder, at least one.

    Raises:
        DataError: There is none, or two have one name.
    """
    found = image_files(folder)
    if not found:
        raise DataError(folder, "holds no image", f"expected {layout}")
    return found
