"""Predicted landmarks and maps in the files of other programs, beside `predictions.json`."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medzoo.core.convert.read import read
from medzoo.core.convert.write import WRITERS, path_of
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io import read_image
from medzoo.core.io.kinds import page_of

ALWAYS = ("json", "csv")
NIFTI = "nifti"
LANDMARKS = "landmark detection"
_FLAT = (".npy", ".png")
"""Endings of maps and masks of images; those of volumes are NIfTI files."""
OF_READERS = ("wfdb",)
"""Those that the reader of a task writes, see `Predictor.forms`."""


def formats(text: str) -> tuple[str, ...]:
    """Return the formats that a comma-separated text asks for, without those that are always written.

    Raises:
        ConfigError: One is unknown.
    """
    asked = dict.fromkeys(name.strip() for name in text.split(",") if name.strip())
    known = dict.fromkeys((*ALWAYS, NIFTI, *WRITERS, *OF_READERS))
    unknown = next((name for name in asked if name not in known), None)
    if unknown is not None:
        raise ConfigError(f"--format {unknown}: expected {', '.join(known)}, several with commas")
    return tuple(name for name in asked if name not in ALWAYS)


def check_forms(forms: tuple[str, ...], task: str, maps: bool, own: Container[str]) -> None:
    """Check that the answers of a task can have the formats that are asked for.

    Args:
        forms: See `formats`.
        task: Of the model.
        maps: Whether its answers have maps or masks.
        own: Formats that the reader of the task writes.

    Raises:
        ConfigError: A format is of other answers.
    """
    points = [form for form in forms if form in WRITERS]
    if points and task != LANDMARKS:
        raise ConfigError(f"--format {', '.join(points)}: is of landmarks; {task} has its own files")
    if NIFTI in forms and not maps:
        raise ConfigError(f"--format {NIFTI}: is of maps and masks, which {task} has none of")
    for form in forms:
        if form in OF_READERS and form not in own:
            raise ConfigError(f"--format {form}: is of signals; {task} has its own files")


def write_maps(records: Iterable[Mapping[str, object]]) -> dict[str, str]:
    """Write map or mask of each image as NIfTI beside it, where it is not there already and the image still is.

    Returns:
        What is wrong with images that do not say where they lie as they should, by path.
    """
    from medzoo.core.io.nifti_out import write_plane

    failed: dict[str, str] = {}
    for record in records:
        source, path = record.get("map", record.get("mask")), str(record["path"])
        if not isinstance(source, str) or not source.endswith(_FLAT) or not os.path.isfile(page_of(path)[0]):
            continue
        target = Path(source).with_suffix(".nii.gz")
        if not target.exists() or target.stat().st_mtime_ns < os.stat(source).st_mtime_ns:
            try:
                found = np.load(source, allow_pickle=False) if source.endswith(".npy") else _mask(source)
                write_plane(target, found, path)
            except DataError as error:
                failed[path] = str(error)
    return failed


def _mask(path: str) -> NDArray[np.bool_]:
    return read_image(path, "grey").array > 0


def write_forms(folder: Path, forms: tuple[str, ...]) -> list[tuple[str, Path]]:
    """Write the points of `predictions.json` as `labelme/`, `slicer/`, `coco.json` and `cvat.xml`.

    A file of an image that is there stays, for somebody may have corrected it; the others are those of all answers.

    Args:
        folder: Of the predictions.
        forms: See `formats`.

    Returns:
        Id and file of the images whose files stayed.
    """
    kept: list[tuple[str, Path]] = []
    for form in (form for form in forms if form in WRITERS):
        writer, ending = WRITERS[form]
        target = folder / f"{form}{ending}"
        found = read(folder)
        if not ending:
            there = [(name, path_of(form, target, name)) for name in found.table.points]
            there = [(name, path) for name, path in there if path.exists()]
            for name, _ in there:
                del found.table.points[name]
            kept += there
        writer(found, target)
    return kept
