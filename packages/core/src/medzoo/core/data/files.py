"""Finding the files of a layout, with errors that name the layout that was expected."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from medzoo.core.errors import DataError
from medzoo.core.io.listing import image_files, no_image


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


def some_images(folder: Path, layout: str) -> dict[str, str]:
    """Return the images of a folder, at least one.

    Raises:
        DataError: There is none, or two have one name.
    """
    found = image_files(folder)
    if not found:
        raise no_image(folder, f"expected {layout}")
    return found
