"""Files beside images that look like labels, in a form or a place that is not read."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from medzoo.core.errors import DataError
from medzoo.core.io.listing import files_in, folders_in

_OWN = (".fcsv", ".mrk.json", ".mrk", ".pts", ".tps", ".nii.landmarks")
"""Endings that only files of points have."""
_FORMS = (".json", ".csv", ".tsv", ".xlsx", ".xls", ".ods", ".xml", ".txt", ".mat", ".yaml", ".yml", ".npy", ".pkl")
"""Endings that files of points may have; they count where the name is that of an image or says so."""
_WORDS = ("landmark", "label", "annotation", "point", "fiducial", "marker", "coco")
_READ = (".csv", ".json")
_CURE = "write the points into landmarks.csv with the header id,landmark,x,y (see docs/own_data.md)"


def unread_labels(root: Path, folder: Path, names: Collection[str]) -> list[DataError]:
    """Return an error that names the files which look like labels, for a data set in which no label was found.

    Args:
        root: The folder of the data set.
        folder: The folder of its images.
        names: The images.
    """
    found: list[tuple[Path, Path]] = []
    for place in dict.fromkeys((root, folder)):
        found += [(place, file) for file in _labels_in(place, names)]
        for inner in folders_in(place):
            if inner != folder:
                found += [(inner, file) for file in _labels_in(inner, names)]
    if not found:
        return []
    place, first = found[0]
    low = first.name.lower()
    misplaced = place not in (root, folder) and low.endswith(_READ) and not low.endswith(_OWN)
    cure = f"move such files into {root}, if they have a form of docs/own_data.md" if misplaced else _CURE
    if len(found) == 1:
        return [DataError(first, "looks like labels and is not read", cure)]
    problem = f"{len(found)} files that look like labels are not read, such as {first.relative_to(root)}"
    return [DataError(root, problem, cure)]


def _labels_in(folder: Path, names: Collection[str]) -> list[Path]:
    return [file for file in files_in(folder, (*_OWN, *_FORMS)) if file.name != "metadata.csv" and _tells(file, names)]


def _tells(file: Path, names: Collection[str]) -> bool:
    """Return whether a file is one of points by its ending, or by a name that is an image's or speaks of points."""
    low = file.name.lower()
    if low.endswith(_OWN):
        return True
    return file.stem in names or any(word in low for word in _WORDS)
