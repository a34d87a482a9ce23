"""`medzoo convert`: the command line."""

from __future__ import annotations

from pathlib import Path

from medzoo.core.cli.streams import say, show
from medzoo.core.cli.words import words_and_values
from medzoo.core.errors import ConfigError, check_choice
from medzoo.core.io import spacing_fault

HELP = """usage: medzoo convert A --to labelme|coco|cvat|slicer|csv -o B [options]

Brings landmarks from the files of one program to those of another. A is a table of landmarks, a COCO keypoints file,
labelme files, CVAT's XML, .mrk.json files of 3D Slicer, a folder with one of these, or the folder or predictions.json
of medzoo predict. B is a folder for labelme and slicer (a file an image), else a file. Nothing is overwritten.
  --to NAME       the format
  -o, --out B     where to write
  --images DIR    folder of the images; otherwise they are looked for beside the labels, or where they were predicted
  --spacing MM    millimetres per pixel, where the files do not say; 3D Slicer's places are in millimetres
"""
_OPTIONS = ("--to", "--out", "--images", "--spacing")


def run(args: list[str]) -> None:
    """Convert landmarks.

    Raises:
        ConfigError: The arguments are wrong, or something would be overwritten.
        DataError: The landmarks cannot be read.
    """
    if not args or {"--help", "-h"} & set(args):
        show(HELP)
        if not args:
            raise ConfigError("medzoo convert needs A, --to and -o B")
        return
    words, values = words_and_values(args, _OPTIONS)
    if len(words) != 1 or "--out" not in values:
        raise ConfigError(f"medzoo convert needs one A, and -o B; got {' '.join(words) or 'no A'}")
    from medzoo.core.convert.read import read
    from medzoo.core.convert.write import WRITERS

    kind = values.get("--to", "none")
    check_choice("to", kind, tuple(WRITERS))
    writer, ending = WRITERS[kind]
    out = Path(values["--out"])
    if ending and out.suffix.lower() != ending:
        raise ConfigError(f"-o {out}: expected a file that ends in {ending}")
    if (ending and out.exists()) or (out.exists() and not out.is_dir()):
        raise ConfigError(f"-o {out}: exists; name another")
    images = Path(values["--images"]) if "--images" in values else None
    found = read(Path(words[0]), images, _spacing(values.get("--spacing")))
    count = writer(found, out)
    say(f"{len(found.table.landmarks)} landmarks of {count} images, from {found.form} to {kind}: {out}")
    if kind == "slicer":
        unknown = [name for name in found.table.points if found.scale(name) == (1.0, 1.0)]
        say("coordinates are LPS millimetres" + (f", 1 mm a pixel for {len(unknown)} images" if unknown else ""))


def _spacing(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0 or spacing_fault([value, value]):
        raise ConfigError(f"--spacing {text}: expected a number of millimetres per pixel above 0")
    return value, value
