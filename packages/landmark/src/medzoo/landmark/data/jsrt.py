"""JSRT chest radiographs (Shiraishi et al., AJR 2000) with points of the SCR contours (van Ginneken et al., 2006)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medzoo.core.data.files import existing_root, first_folder, some_images
from medzoo.core.data.options import Unpack
from medzoo.core.data.splits import Split, check_fractions, split_by_fraction
from medzoo.core.errors import DataError
from medzoo.core.io.listing import files_in
from medzoo.core.io.types import check_plain
from medzoo.core.tasks.landmark_types import Domain
from medzoo.landmark.data.chest import NAMES, RatioSource
from medzoo.landmark.data.module import FolderDataModule, FolderOptions
from medzoo.landmark.data.shots import named, resolve
from medzoo.landmark.data.sources import FileImages, LandmarkSource, Points, Size

SPACING, SIDE = 0.175, 2048
"""mm per pixel of the scanned film, and its side in pixels."""
CONTOUR_SIDE = 1024
"""Side of the image in whose pixels SCR contours are given."""
CONTOURS = {"right lung": (44, (0, 21, 29)), "left lung": (50, (0, 21, 27))}
"""Points of each contour, and which of them are the landmarks (UOD)."""
LAYOUT = "imgs/JPCLN001.png … JPCNN093.png and labels/ID.pfs (SCR contours) or labels/ID.txt (as `chest`)"
_LABELS = (
    "labels",
    "landmarks",
    "scratch/fold1/landmarks",
    "scratch/fold2/landmarks",
    "fold1/landmarks",
    "fold2/landmarks",
)
_TEST = {"JPCNN": 18, "JPCLN": 32}
"""Images at the end of each sorted list that the test takes (UOD)."""
_PAIR = re.compile(r"^[\s{]*([^\s{},]+)\s*,\s*([^\s{},]+)[\s},]*$")


class JsrtImages(FileImages):
    """Images whose spacing follows from their width, because the film has one size."""

    def spacing(self, name: str, size: Size, stated: tuple[float, ...]) -> tuple[float, float]:
        """Return 0.175 mm for 2048 pixels and more for a smaller copy."""
        del name, stated
        return SPACING * SIDE / size[0], SPACING * SIDE / size[1]


class ContourSource(LandmarkSource):
    """Images with an SCR file each, whose lung contours hold the landmarks.

    Args:
        domain: The domain.
        images: The images.
        split: The split.
        files: Contour file of each image that has one.
        folder: Where a missing one is looked for.
    """

    def __init__(self, domain: Domain, images: FileImages, split: Split, files: dict[str, str], folder: Path) -> None:
        super().__init__(domain, images, split, ("JPCLN035",))
        self._files, self._folder = files, folder

    def label_path(self, name: str) -> str:
        """Return the contour file of the image."""
        return self._files.get(name, str(self._folder / f"{name}.pfs"))

    def labelled(self, name: str) -> bool:
        """Return whether the contour file exists."""
        return name in self._files and Path(self._files[name]).is_file()

    def points(self, name: str, size: Size) -> Points:
        """Pick the landmarks from the contours and scale them from 1024 pixels to the image's (times 2 for 2048)."""
        contours = read_contours(self.label_path(name))
        picked = [contours[lung][index] for lung, (_, indices) in CONTOURS.items() for index in indices]
        return np.array(picked, np.float64) * np.array(size, np.float64) / CONTOUR_SIDE

    def row(self, name: str, index: int) -> int | None:
        """Return nothing: contours have no fixed line."""
        del name, index
        return None

    def scale(self, name: str, points: Points, size: Size) -> tuple[float, float]:
        """Return mm per pixel from the size of the film."""
        del name, points
        return SPACING * SIDE / size[0], SPACING * SIDE / size[1]


class JsrtRatioSource(RatioSource):
    """Images with a text file of ratios each, errors in mm."""

    def scale(self, name: str, points: Points, size: Size) -> tuple[float, float]:
        """Return mm per pixel from the size of the film."""
        del name, points
        return SPACING * SIDE / size[0], SPACING * SIDE / size[1]


def read_contours(path: str) -> dict[str, list[tuple[float, float]]]:
    """Read the lung contours of an SCR file: after a line with the name of a contour, lines `{ x , y },`.

    Raises:
        DataError: The file is missing or no text, a lung is missing, or it has another number of points than all have.
    """
    check_plain(path)
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="strict").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = "is no text" if isinstance(error, UnicodeDecodeError) else f"cannot be read ({error.strerror})"
        raise DataError(path, reason, "copy the SCR landmark file again") from error
    found: dict[str, list[tuple[float, float]]] = {}
    current: list[tuple[float, float]] | None = None
    for number, line in enumerate(lines, 1):
        if (
            re.search(r"[a-df-z]{3}", line.lower()) and "nan" not in line.lower()
        ):  # a name, not a number with an exponent
            lung = next((lung for lung in CONTOURS if lung in line.lower()), None)
            current = found.setdefault(lung, []) if lung else None
        elif current is not None and (pair := _PAIR.match(line)):
            current.append(_pair(pair, f"{path}:{number}"))
    for lung, (count, _) in CONTOURS.items():
        if len(found.get(lung, [])) != count:
            problem = f"has {len(found.get(lung, []))} points of the {lung}, expected {count}"
            raise DataError(path, problem, "copy the SCR landmark file again")
    return found


def _pair(match: re.Match[str], place: str) -> tuple[float, float]:
    try:
        x, y = (float(text) for text in match.groups())
    except ValueError:
        raise DataError(place, f"{match[0].strip()!r} is no point", "copy the SCR landmark file again") from None
    if not np.isfinite(x + y):
        raise DataError(place, f"the point ({x}, {y}) is not finite", "copy the SCR landmark file again")
    return x, y


class Jsrt(FolderDataModule):
    """Chest: the 247 radiographs of JSRT (as PNG) with 6 landmarks, errors in mm; 197 for training, 50 for test.

    Labels are SCR contour files (`.pfs`), from which the landmarks are picked as UOD does, or text files as of
    `chest`. With the names of JSRT the test takes the last 18 `JPCNN` and the last 32 `JPCLN` images; other sets take
    fractions.

    Args:
        test_fraction: Part of the images for the test where the names or numbers are not those of JSRT.
    """

    layout_name = "jsrt"

    def __init__(self, root: str, test_fraction: float = 0.2, **common: Unpack[FolderOptions]) -> None:
        super().__init__(root, **common)
        check_fractions(test_fraction=test_fraction, val_fraction=self._val_fraction)
        self._test_fraction = test_fraction

    def make_sources(self) -> Sequence[LandmarkSource]:
        """List the images and find out which kind of labels there is."""
        root = existing_root(self._root, LAYOUT)
        paths = some_images(first_folder(root, ("imgs", "images", "pngs"), LAYOUT), LAYOUT)
        domain = Domain(self.domain_name, NAMES, "mm", (2.0, 4.0, 10.0))
        images, split = JsrtImages(paths), self._split(tuple(paths))
        folders = [root / folder for folder in _LABELS if (root / folder).is_dir()]
        contours = {file.stem: str(file) for folder in folders for file in files_in(folder, (".pfs",))}
        if contours or not folders or not files_in(folders[0], (".txt",)):
            return [ContourSource(domain, images, split, contours, folders[0] if folders else root / "labels")]
        return [JsrtRatioSource(domain, images, split, folders[0], ("JPCLN035",))]

    def _split(self, names: tuple[str, ...]) -> Split:
        if self._all_test:
            return Split(test=names)
        keep = {resolve(name, names) or name for name in named(self._shots) or ("JPCLN035",)}
        lists = {prefix: [name for name in names if name.startswith(prefix)] for prefix in _TEST}
        if sum(map(len, lists.values())) < len(names) or any(len(lists[p]) <= count for p, count in _TEST.items()):
            return split_by_fraction(names, {}, self._test_fraction, self._val_fraction, self.seed, keep)
        test = {name for prefix, count in _TEST.items() for name in lists[prefix][-count:]}
        train = [name for name in names if name not in test]
        inner = split_by_fraction(train, {}, 0.0, self._val_fraction, self.seed, keep)
        return Split(inner.train, inner.val, tuple(sorted(test)))
