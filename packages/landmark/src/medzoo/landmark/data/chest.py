"""Frontal chest radiographs with six points of the lungs, in the layout in which the Shenzhen labels are published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medzoo.core.data.files import existing_root, first_folder, some_images
from medzoo.core.data.options import Unpack
from medzoo.core.data.splits import Split, check_fractions, patients_of, split_by_fraction
from medzoo.core.errors import DataError
from medzoo.core.tasks.landmark_types import Domain
from medzoo.landmark.data.labels import point_rows, read_count
from medzoo.landmark.data.module import FolderDataModule, FolderOptions
from medzoo.landmark.data.shots import named, resolve
from medzoo.landmark.data.sources import FileImages, Images, LandmarkSource, Points, Size

NAMES = (
    *("right apex", "right costophrenic angle", "right cardiophrenic angle"),
    *("left apex", "left costophrenic angle", "left cardiophrenic angle"),
)
"""The patient's right lung, which is at the image's left, then the left one."""
FRAME = (512, 512)
LAYOUT = "pngs/ID.png and labels/ID.txt (a line with 6, then six lines `x y` as parts of width and height)"
_SHENZHEN = 279
"""Normal images of Shenzhen that have labels; the paper line tests on the last 50 of their sorted list."""
_SHENZHEN_TEST = 50


class RatioSource(LandmarkSource):
    """Images with one text file each: the number of points, then a line `x y` of ratios in [0, 1] for each.

    Args:
        domain: The domain.
        images: The images.
        split: The split.
        labels: Folder of the text files.
        usual_shots: Shots of the papers.
    """

    def __init__(
        self, domain: Domain, images: Images, split: Split, labels: Path, usual_shots: tuple[str, ...] = ()
    ) -> None:
        super().__init__(domain, images, split, usual_shots)
        self._labels = labels

    def label_path(self, name: str) -> str:
        """Return the text file of the image."""
        return str(self._labels / f"{name}.txt")

    def labelled(self, name: str) -> bool:
        """Return whether the text file exists."""
        return Path(self.label_path(name)).is_file()

    def points(self, name: str, size: Size) -> Points:
        """Read the ratios and multiply them by width and height."""
        file, count = self.label_path(name), len(self.domain.landmarks)
        if read_count(file) != count:
            raise DataError(
                f"{file}:1", f"lists {read_count(file)} landmarks, expected {count}", "annotate all of them"
            )
        ratios = point_rows(file, count, skip=1)
        for index, pair in enumerate(ratios):
            if not ((pair >= 0) & (pair <= 1)).all():
                problem = (
                    f"({pair[0]:g}, {pair[1]:g}) is not within [0, 1]: landmark {index + 1} lies outside the image"
                )
                raise DataError(
                    f"{file}:{index + 2}", problem, "divide x by the width and y by the height of the image"
                )
        return ratios * np.array(size, np.float64)

    def row(self, name: str, index: int) -> int | None:
        """Return the line of the landmark, after that of the count."""
        del name
        return index + 2


class Chest(FolderDataModule):
    """Chest: frontal radiographs in the Shenzhen layout (`pngs/`, `labels/`), 6 landmarks, errors in px of 512 × 512.

    The 279 labelled images of Shenzhen are split as in the papers (the last 50 for test). Every other set takes
    fractions, drawn from names alone and by patient where `metadata.csv` has the columns `name` and `patient`.

    Args:
        test_fraction: Part of the images for the test.
        allow_unlabelled: Take images without a label file for training only (otherwise one in the test set is a
            fault). The full Shenzhen set has 662 images, 279 of them with labels.
    """

    layout_name = "chest"

    def __init__(
        self, root: str, test_fraction: float = 0.2, allow_unlabelled: bool = False, **common: Unpack[FolderOptions]
    ) -> None:
        super().__init__(root, **common)
        check_fractions(test_fraction=test_fraction, val_fraction=self._val_fraction)
        self._test_fraction, self._allow_unlabelled = test_fraction, allow_unlabelled

    def make_sources(self) -> Sequence[LandmarkSource]:
        """List `pngs/`."""
        root = existing_root(self._root, LAYOUT)
        paths = some_images(first_folder(root, ("pngs", "images"), LAYOUT), LAYOUT)
        domain = Domain(self.domain_name, NAMES, "px", (3.0, 6.0, 9.0), FRAME, "pixels of a 512 × 512 frame")
        split = self._split(root, tuple(paths), root / "labels")
        return [RatioSource(domain, FileImages(paths), split, root / "labels")]

    def _split(self, root: Path, names: tuple[str, ...], labels: Path) -> Split:
        extra: tuple[str, ...] = ()
        if self._allow_unlabelled:
            extra = tuple(name for name in names if not (labels / f"{name}.txt").is_file())
            names = tuple(name for name in names if name not in set(extra))
        if self._all_test:
            return Split(test=names)
        keep = {resolve(name, names) or name for name in named(self._shots)}
        if len(names) == _SHENZHEN and all(name.startswith("CHNCXR") for name in names):
            train, test = names[:-_SHENZHEN_TEST], names[-_SHENZHEN_TEST:]
            inner = split_by_fraction(train, {}, 0.0, self._val_fraction, self.seed, keep)
            return Split((*inner.train, *extra), inner.val, test)
        patients = patients_of(root, (*names, *extra))
        drawn = split_by_fraction(names, patients, self._test_fraction, self._val_fraction, self.seed, keep)
        # A patient with a labelled test image must not be trained on, not even without labels.
        held = {patients[name] for name in (*drawn.val, *drawn.test) if name in patients}
        more = (name for name in extra if patients.get(name) not in held)
        return Split((*drawn.train, *more), drawn.val, drawn.test)
