"""Digital Hand Atlas radiographs with the 37 landmarks of Payer et al. (MedIA 2019)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from medzoo.core.data.files import existing_root, first_folder, some_images
from medzoo.core.data.options import Unpack
from medzoo.core.data.splits import Split, check_fractions, split_by_fraction
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io.listing import stem
from medzoo.core.io.types import check_plain
from medzoo.core.tasks.landmark_types import Domain
from medzoo.landmark.data.labels import point_table
from medzoo.landmark.data.module import FolderDataModule, FolderOptions
from medzoo.landmark.data.shots import named, resolve
from medzoo.landmark.data.sources import FileImages, LandmarkSource, Points, Size

NAMES = (
    *(f"wrist {i}" for i in range(5)),
    *(f"carpal {i}" for i in range(5, 13)),
    *(f"{finger} metacarpal base" for finger in ("little", "ring", "middle", "index", "thumb")),
    *(f"{finger} {i}" for finger in ("thumb",) for i in (1, 2)),
    "thumb tip",
    *(f"{f} {part}" for f in ("index", "middle", "ring", "little") for part in (1, 2, 3, "tip")),
)
WRIST_MM = 50.0
"""Width that every wrist is taken to have: the files have no spacing."""
LAYOUT = "jpg/*.jpg (or images/) and all.csv (no header: id,x0,y0,…,x36,y36 in pixels)"
_TRAIN = 609
_USUAL_SHOT = "3188"  # UOD


class HandAtlasSource(LandmarkSource):
    """Images of a folder with one row each of `all.csv`.

    Args:
        domain: The domain.
        images: The images.
        split: The split.
        table: The CSV file.
        lines: Line of each image in it.
        wrist: The two landmarks (from 0) whose distance is 50 mm.
    """

    def __init__(
        self,
        domain: Domain,
        images: FileImages,
        split: Split,
        table: Path,
        lines: dict[str, int],
        wrist: tuple[int, int],
    ) -> None:
        super().__init__(domain, images, split, (_USUAL_SHOT,))
        self._table, self._lines, self._wrist = table, lines, wrist

    @cached_property
    def _points(self) -> dict[str, Points]:
        rows = point_table(self._table, len(NAMES), missing=True)
        return {stem(name): points for name, points in rows.items()}

    def faults(self) -> Iterable[DataError]:
        """Return what is wrong with the table as a whole."""
        try:
            _ = self._points
        except DataError as error:
            return [error]
        return []

    def label_path(self, name: str) -> str:
        """Return the CSV file, with the line of the image where it has one."""
        return f"{self._table}:{self._lines[name]}" if name in self._lines else str(self._table)

    def labelled(self, name: str) -> bool:
        """Return whether the image has a row with numbers in it."""
        return name in self._lines

    def points(self, name: str, size: Size) -> Points:
        """Return the 37 points of the image's row."""
        del size
        if name not in self._lines:
            raise DataError(self._table, f"has no row for image {name}", "add it")
        points = self._points[name]
        gaps = np.flatnonzero(~np.isfinite(points).all(axis=1))
        if len(gaps):
            problem = (
                f"has {len(NAMES) - len(gaps)} landmarks, expected {len(NAMES)}: number {gaps[0]} (from 0) is empty"
            )
            raise DataError(f"{self.label_path(name)}:{2 * gaps[0] + 2}", problem, "fill it in")
        return points

    def row(self, name: str, index: int) -> int | None:
        """Return nothing: the label's path already names the line."""
        del name, index
        return None

    def scale(self, name: str, points: Points, size: Size) -> tuple[float, float]:
        """Return mm per original pixel from the true width of the wrist."""
        del size
        width = float(np.linalg.norm(points[self._wrist[0]] - points[self._wrist[1]]))
        if not width > 0:
            raise DataError(
                self.label_path(name), f"landmarks {self._wrist} of the wrist are the same point", "correct them"
            )
        return WRIST_MM / width, WRIST_MM / width


class HandAtlas(FolderDataModule):
    """Hand: 909 radiographs of the Digital Hand Atlas with 37 landmarks, errors in mm of a wrist 50 mm wide; 609 + 300.

    Training takes the first 609 images of the sorted list of those that `all.csv` names, the test the others (UOD,
    CC2D). With fewer than 610 images both take fractions.

    Args:
        wrist: The two landmarks (from 0) that are 50 mm apart: [0, 4] in the one-shot papers, [1, 5] in Payer's, under
            which the same error in pixels is 8 % more mm.
        test_fraction: Part of the images for the test where there are fewer than 610.
    """

    layout_name = "hand"

    def __init__(
        self, root: str, wrist: tuple[int, int] = (0, 4), test_fraction: float = 0.33, **common: Unpack[FolderOptions]
    ) -> None:
        super().__init__(root, **common)
        if tuple(wrist) not in ((0, 4), (1, 5)):
            raise ConfigError(f"--data.wrist: expected [0, 4] or [1, 5], got {list(wrist)}")
        check_fractions(test_fraction=test_fraction, val_fraction=self._val_fraction)
        self._wrist, self._test_fraction = (wrist[0], wrist[1]), test_fraction

    def make_sources(self) -> Sequence[LandmarkSource]:
        """Intersect the images with the rows of the table."""
        root = existing_root(self._root, LAYOUT)
        paths = some_images(first_folder(root, ("jpg", "images", "hand/jpg"), LAYOUT), LAYOUT)
        table = next(
            (file for file in (root / "all.csv", root / "hand" / "all.csv") if file.is_file()), root / "all.csv"
        )
        lines, named_rows = _lines(table)
        listed = tuple(name for name in sorted(paths) if name in named_rows)
        # A table without the rows of unlabelled images must not change the split.
        names = listed if len(listed) > _TRAIN else tuple(sorted(paths))
        note = f"wrist {self._wrist[0]}-{self._wrist[1]} taken as {WRIST_MM:g} mm"
        domain = Domain(self.domain_name, NAMES, "mm", (2.0, 4.0, 10.0), note=note)
        images = FileImages({name: paths[name] for name in names})
        return [HandAtlasSource(domain, images, self._split(names), table, lines, self._wrist)]

    def _split(self, names: tuple[str, ...]) -> Split:
        keep = {resolve(name, names) or name for name in named(self._shots) or (_USUAL_SHOT,)}
        if self._all_test:
            return Split(test=names)
        if len(names) <= _TRAIN:
            return split_by_fraction(names, {}, self._test_fraction, self._val_fraction, self.seed, keep)
        inner = split_by_fraction(names[:_TRAIN], {}, 0.0, self._val_fraction, self.seed, keep)
        return Split(inner.train, inner.val, names[_TRAIN:])


def _lines(path: Path) -> tuple[dict[str, int], set[str]]:
    """Return the line of each image whose row holds a number, and the images of all rows, without reading coordinates.

    Raises:
        DataError: The table is missing or no text.
    """
    lines: dict[str, int] = {}
    names: set[str] = set()
    check_plain(path)
    try:
        with open(path, encoding="utf-8-sig") as file:
            for line, text in enumerate(file, 1):
                first, _, rest = text.strip().replace(";", ",").partition(",")
                if first.strip():
                    name = stem(first.strip().strip('"'))
                    names.add(name)
                    if any(character.isdigit() for character in rest):
                        lines[name] = line
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", f"expected {LAYOUT}") from error
    except UnicodeDecodeError as error:
        raise DataError(path, "is no UTF-8 text", "save the table as CSV in UTF-8") from error
    return lines, names
