"""Lateral cephalograms of the ISBI 2015 challenge (Wang et al., TMI 2015; Lindner et al., Sci. Rep. 2016)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from medzoo.core.data.files import existing_root
from medzoo.core.data.options import Unpack
from medzoo.core.data.splits import Split, check_fractions, split_by_fraction
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io.listing import image_files
from medzoo.core.phantoms.head import NAMES
from medzoo.core.tasks.landmark_types import Domain
from medzoo.landmark.data.labels import point_rows, point_table
from medzoo.landmark.data.module import FolderDataModule, FolderOptions
from medzoo.landmark.data.shots import named, resolve
from medzoo.landmark.data.sources import FileImages, LandmarkSource, Points, Size

SPACING = 0.1
"""mm per pixel of the challenge's 1935 × 2400 images, along both axes."""
LAYOUT = (
    "RawImage/{TrainingData,Test1Data,Test2Data}/001.bmp … 400.bmp (or these folders, or raw/, in the root) and "
    "AnnotationsByMD/{400_junior,400_senior}/001.txt … (or these folders in the root, or gt/)"
)
Truth = Literal["mean", "junior", "senior", "challenge"]
Part = Literal["pooled", "test1", "test2"]
_BASES = ("", "origin", "RawImage", "RawImage/origin")
_IMAGES = ("TrainingData", "Test1Data", "Test2Data", "raw", "validate", "")
_LABELS = {
    "junior": ("AnnotationsByMD/400_junior", "400_junior", "RawImage/400_junior", "raw/400_junior", "junior"),
    "senior": ("AnnotationsByMD/400_senior", "400_senior", "RawImage/400_senior", "raw/400_senior", "senior"),
    "challenge": ("AnnotationsByMD/challenge", "challenge"),
    "merged": ("gt", "origin/gt", "RawImage/gt", "RawImage/origin/gt"),
}


class CephalometricSource(LandmarkSource):
    """Images and labels of one copy of the data set.

    Args:
        domain: The domain.
        images: The images.
        split: The split.
        labels: Folders of text files, or CSV files in mm, whose points are averaged.
        usual_shots: Shots of the papers.
        doctors: Labels of the junior and of the senior doctor, where both are there.
    """

    def __init__(
        self,
        domain: Domain,
        images: FileImages,
        split: Split,
        labels: Sequence[Path],
        usual_shots: tuple[str, ...],
        doctors: Sequence[Path] = (),
    ) -> None:
        super().__init__(domain, images, split, usual_shots)
        self._labels, self._doctors = tuple(labels), tuple(doctors)
        self._tables: dict[Path, dict[str, Points]] = {}

    def _file(self, labels: Path, name: str) -> Path:
        return labels / f"{name}.txt" if labels.suffix != ".csv" else labels

    def label_path(self, name: str) -> str:
        """Return the first label file that the image lacks, else the first."""
        files = [self._file(labels, name) for labels in self._labels]
        return str(next((file for file in files if not file.is_file()), files[0]))

    def labelled(self, name: str) -> bool:
        """Return whether all label files of the image exist."""
        return all(self._file(labels, name).is_file() for labels in self._labels)

    def points(self, name: str, size: Size) -> Points:
        """Read 19 points from each label file and average them, unrounded."""
        del size
        points: Points = np.stack([self._read(labels, name) for labels in self._labels]).mean(axis=0)
        return points

    def observers(self, name: str, size: Size) -> tuple[Points, Points] | None:
        """Return the landmarks of the junior and of the senior doctor."""
        del size
        if len(self._doctors) != 2 or not all(self._file(labels, name).is_file() for labels in self._doctors):
            return None
        junior, senior = (self._read(labels, name) for labels in self._doctors)
        return junior, senior

    def _read(self, labels: Path, name: str) -> Points:
        if labels.suffix == ".csv":
            return self._from_table(labels, name)
        file = labels / f"{name}.txt"
        points = point_rows(file, len(NAMES))
        # What follows is a row of spacing or a number of types; a further point means another set of landmarks.
        lines = file.read_text(encoding="utf-8-sig").split("\n")
        following = [line for line in lines if line.strip()][len(NAMES) :][:1]
        cells = following[0].replace(",", " ").split() if following else []
        if len(cells) == 2 and min(map(_magnitude, cells)) > 10:
            raise DataError(
                f"{file}:{len(NAMES) + 1}", f"has more than {len(NAMES)} landmarks", "use the ISBI 2015 labels"
            )
        return points

    def faults(self) -> Iterable[DataError]:
        """Return what is wrong with CSV files of labels as a whole."""
        errors = []
        for path in (labels for labels in self._labels if labels.suffix == ".csv"):
            try:
                self._table(path)
            except DataError as error:
                errors.append(error)
        return errors

    def _from_table(self, path: Path, name: str) -> Points:
        points = self._table(path)
        if name not in points:
            raise DataError(path, f"has no row for image {name}", "add it")
        return points[name]

    def _table(self, path: Path) -> dict[str, Points]:
        """Read rows `id, x0, y0, …` in mm, the form in which Payer et al. publish the three sets of labels."""
        if path not in self._tables:
            rows = point_table(path, len(NAMES))
            self._tables[path] = {name.zfill(3): points / SPACING for name, points in rows.items()}
        return self._tables[path]

    def row(self, name: str, index: int) -> int | None:
        """Return the line of a landmark in the text file; unknown in a CSV file."""
        del name
        return None if self._labels[0].suffix == ".csv" else index + 1

    def scale(self, name: str, points: Points, size: Size) -> tuple[float, float]:
        """Return 0.1 mm for both axes."""
        del name, points, size
        return SPACING, SPACING


class Cephalometric(FolderDataModule):
    """Head: 400 lateral cephalograms of ISBI 2015 with 19 landmarks, errors in mm; 150 for training, 250 for test.

    All layouts in which the data are passed around are taken: `RawImage/{TrainingData,Test1Data,Test2Data}` with
    `AnnotationsByMD/{400_junior,400_senior}`, these folders side by side, all images in `raw/`, or `origin/` with one
    merged label file an image in `gt/`. Images belong to the training set up to 150, to test 1 up to 300 and to test 2
    up to 400.

    Args:
        gt: Whose labels: "mean" of the junior and the senior doctor as in the one-shot papers, either of the two, or
            those of the "challenge" (a folder `challenge/` of text files, or `challenge.csv` in mm); figures under
            different labels do not compare.
        test_set: "pooled" (250 images), "test1" (150) or "test2" (100).
    """

    layout_name = "head"

    def __init__(
        self, root: str, gt: Truth = "mean", test_set: Part = "pooled", **common: Unpack[FolderOptions]
    ) -> None:
        super().__init__(root, **common)
        if gt not in ("mean", "junior", "senior", "challenge"):
            raise ConfigError(f"--data.gt: expected mean, junior, senior or challenge, got {gt}")
        if test_set not in ("pooled", "test1", "test2"):
            raise ConfigError(f"--data.test_set: expected pooled, test1 or test2, got {test_set}")
        check_fractions(val_fraction=self._val_fraction)
        self._gt, self._test_set = gt, test_set

    def make_sources(self) -> Sequence[LandmarkSource]:
        """Probe the root for images and labels."""
        root = existing_root(self._root, LAYOUT)
        paths = find_images(root)
        labels, note = find_labels(root, self._gt)
        domain = Domain(self.domain_name, NAMES, "mm", (2.0, 2.5, 3.0, 4.0), note=note)
        images = FileImages(paths, (SPACING, SPACING))
        doctors = [found for kind in ("junior", "senior") if (found := _labels_of(root, kind)) is not None]
        split = self._split(paths)
        return [CephalometricSource(domain, images, split, labels, ("126",), doctors)]  # 126: UOD; CC2D took 125

    def _split(self, paths: dict[str, str]) -> Split:
        if self._all_test:
            return Split(test=tuple(paths))
        first, last = {"pooled": (151, 400), "test1": (151, 300), "test2": (301, 400)}[self._test_set]
        test = tuple(name for name in paths if first <= int(name) <= last)
        train = tuple(name for name in paths if int(name) <= 150)
        keep = {resolve(name, train) or name for name in named(self._shots) or ("126",)}
        inner = split_by_fraction(train, {}, 0.0, self._val_fraction, self.seed, keep)
        return Split(inner.train, inner.val, test)


def find_images(root: Path) -> dict[str, str]:
    """Return the images by number (`001` … `400`) wherever known layouts put them; the first place of each counts.

    Raises:
        DataError: There is none, or two images of one folder have one number.
    """
    found: dict[str, str] = {}
    for folder in (root / base / part for base in _BASES for part in _IMAGES):
        if folder.is_dir():
            for name, path in image_files(folder).items():
                if name.isdigit() and 1 <= int(name) <= 400:
                    found.setdefault(name.zfill(3), path)
    if not found:
        raise DataError(root, "holds no image of the ISBI 2015 layout", f"expected {LAYOUT}")
    return dict(sorted(found.items()))


def find_labels(root: Path, truth: Truth) -> tuple[list[Path], str]:
    """Return the folders (or CSV files) of the labels that are averaged, and what a report says of them.

    Raises:
        DataError: The root does not hold the labels that were asked for.
    """
    note = f"ground truth: {'mean of junior and senior' if truth == 'mean' else truth}"
    wanted = ("junior", "senior") if truth == "mean" else (truth,)
    found = [_labels_of(root, kind) for kind in wanted]
    if all(found):
        return [labels for labels in found if labels is not None], note
    merged = _labels_of(root, "merged")
    if truth == "mean" and merged is not None:
        return [merged], "ground truth: as merged in gt/"
    missing = next(kind for kind, labels in zip(wanted, found, strict=True) if labels is None)
    have = [kind for kind in ("junior", "senior", "challenge") if _labels_of(root, kind) is not None]
    cure = f"expected {LAYOUT}" + (f", or choose --data.gt {' or '.join(have)}" if have else "")
    raise DataError(root, f"has no labels of {missing!r} (--data.gt {truth})", cure)


def _labels_of(root: Path, kind: str) -> Path | None:
    folder = next((root / path for path in _LABELS[kind] if (root / path).is_dir()), None)
    tables = (root / f"{kind}.csv", root / "setup" / f"{kind}.csv")
    return folder or next((table for table in tables if table.is_file()), None)


def _magnitude(text: str) -> float:
    try:
        return abs(float(text))
    except ValueError:
        return 0.0
