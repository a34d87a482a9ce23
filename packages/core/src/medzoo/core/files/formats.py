"""Predicted landmarks in the files of other programs, beside `predictions.json`."""

from __future__ import annotations

from pathlib import Path

from medzoo.core.convert.read import read
from medzoo.core.convert.write import WRITERS, path_of
from medzoo.core.errors import ConfigError

ALWAYS = ("json", "csv")
OF_READERS = ("wfdb",)
"""Those that the reader of a task writes, see `Predictor.forms`; the others are of landmarks."""


def formats(text: str) -> tuple[str, ...]:
    """Return the formats that a comma-separated text asks for, without those that are always written.

    Raises:
        ConfigError: One is unknown.
    """
    asked = dict.fromkeys(name.strip() for name in text.split(",") if name.strip())
    known = dict.fromkeys((*ALWAYS, *WRITERS, *OF_READERS))
    unknown = next((name for name in asked if name not in known), None)
    if unknown is not None:
        raise ConfigError(f"--format {unknown}: expected {', '.join(known)}, several with commas")
    return tuple(name for name in asked if name not in ALWAYS)


def write_forms(folder: Path, forms: tuple[str, ...]) -> None:
    """Write the points of `predictions.json` as `labelme/`, `slicer/`, `coco.json` and `cvat.xml`.

    A file of an image that is there stays, for somebody may have corrected it; the others are those of all answers.

    Args:
        folder: Of the predictions.
        forms: See `formats`.
    """
    for form in forms:
        writer, ending = WRITERS[form]
        target = folder / f"{form}{ending}"
        found = read(folder)
        if not ending:
            there = [name for name in found.table.points if path_of(form, target, name).exists()]
            for name in there:
                del found.table.points[name]
        writer(found, target)
