"""Long-leg radiographs that were released with the code of CC2D (BMPLE)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from medzoo.core.data.files import existing_root
from medzoo.core.data.options import Unpack
from medzoo.core.data.splits import Split, check_fractions, split_by_fraction
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.geometry import apply, resize_affine
from medzoo.core.io import read_json
from medzoo.core.io.listing import image_files
from medzoo.core.tasks.landmark_types import Domain
from medzoo.landmark.data.module import FolderDataModule, FolderOptions
from medzoo.landmark.data.shots import named, resolve
from medzoo.landmark.data.sources import FileImages, LandmarkSource, Points, Size

KEPT = (*range(10), *range(13, 23))
"""Points of a label that are landmarks: the public code drops those from 10 to 12 and from 23 on."""
NAMES = tuple(f"leg {i}" for i in KEPT)
LAYOUT = "train/ID_384.png with train/ID_meta.json (gt, original_shape, spacing), and test/, test1/ or test2/ alike"
Part = Literal["test", "test1", "test2"]
_SUFFIX = "_384"
_USUAL_SHOT = "118"


@lru_cache(maxsize=1024)
def read_meta(path: str) -> tuple[Points, Size, tuple[float, float]]:
    """Read a label: 20 points in pixels of the original radiograph, its width and height, mm per pixel along x and y.

    The file gives shape and spacing along y first, as the public code reads them.

    Raises:
        DataError: The file is missing, no JSON, or lacks a part.
    """
    content = read_json(path)
    content = content if isinstance(content, dict) else {}
    shape, spacing = (_pair(path, content, key) for key in ("original_shape", "spacing"))
    given = content.get("gt")
    if not isinstance(given, list) or len(given) <= KEPT[-1]:
        got = len(given) if isinstance(given, list) else "none"
        raise DataError(path, f"gt: expected at least {KEPT[-1] + 1} points, got {got}", "copy the label again")
    points = np.array([_point(path, index, given[index]) for index in KEPT], np.float64)
    return points, (round(shape[1]), round(shape[0])), (spacing[1], spacing[0])


def _pair(path: str, content: dict[str, object], key: str) -> tuple[float, float]:
    value = content.get(key)
    if not isinstance(value, list) or len(value) < 2 or not all(_is_number(v) and v > 0 for v in value[:2]):
        raise DataError(path, f"{key}: expected two positive numbers, along y and x, got {value!r}", "correct it")
    return float(value[0]), float(value[1])


def _point(path: str, index: int, value: object) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) < 2 or not all(map(_is_number, value[:2])):
        raise DataError(f"{path}: gt[{index}]", f"{value!r} is no point [x, y]", "correct it")
    return float(value[0]), float(value[1])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


class LegImages(FileImages):
    """Reduced copies of the radiographs, whose spacing follows from that of the original.

    Args:
        paths: File of each image.
        metas: Label file of each image, which has the original's size and spacing besides the points.
    """

    def __init__(self, paths: dict[str, str], metas: dict[str, str]) -> None:
        super().__init__(paths)
        self._metas = metas

    def spacing(self, name: str, size: Size, stated: tuple[float, ...]) -> tuple[float, float]:
        """Return mm per pixel of the copy; NaN without a label file."""
        if not Path(self._metas[name]).is_file():
            return super().spacing(name, size, stated)
        _, original, (sx, sy) = read_meta(self._metas[name])
        return sx * original[0] / size[0], sy * original[1] / size[1]


class LegSource(LandmarkSource):
    """Images with a JSON file each.

    Args:
        domain: The domain.
        images: The images.
        split: The split.
        metas: Label file of each image.
    """

    def __init__(self, domain: Domain, images: LegImages, split: Split, metas: dict[str, str]) -> None:
        super().__init__(domain, images, split, (_USUAL_SHOT,))
        self._metas, self._images = metas, images

    def label_path(self, name: str) -> str:
        """Return the JSON file of the image."""
        return self._metas[name]

    def labelled(self, name: str) -> bool:
        """Return whether the JSON file exists."""
        return Path(self._metas[name]).is_file()

    def points(self, name: str, size: Size) -> Points:
        """Return the 20 points in pixels of the reduced copy."""
        points, original, _ = read_meta(self._metas[name])
        moved: Points = apply(resize_affine(original, size), points)
        return moved

    def row(self, name: str, index: int) -> int | None:
        """Return nothing: a JSON file has no fixed lines."""
        del name, index
        return None

    def scale(self, name: str, points: Points, size: Size) -> tuple[float, float]:
        """Return mm per pixel of the reduced copy."""
        del points
        return self._images.spacing(name, size, (np.nan, np.nan))


class Bmple(FolderDataModule):
    """Leg: long-leg radiographs of the CC2D authors with 20 landmarks, errors in mm; 120 images for training.

    Images are copies 384 pixels wide, and predictions are in their pixels. All folders number their images alike: a
    training image is called `001` to `120`, a test image by folder and number, such as `test1-7`. Which images of its
    folder a test set has stands in `test.json`, `test1.json` or `test2.json`; without that list it has all.

    Args:
        test_set: "test" (as CC2D), "test1" or "test2".
    """

    layout_name = "leg"

    def __init__(self, root: str, test_set: Part = "test", **common: Unpack[FolderOptions]) -> None:
        super().__init__(root, **common)
        if test_set not in ("test", "test1", "test2"):
            raise ConfigError(f"--data.test_set: expected test, test1 or test2, got {test_set}")
        check_fractions(val_fraction=self._val_fraction)
        self._test_set = test_set

    def make_sources(self) -> Sequence[LandmarkSource]:
        """List the folders and the list of the test set."""
        root = existing_root(self._root, LAYOUT)
        files = {part: _images_of(root / part) for part in ("train", self._test_set)}
        if not any(files.values()):
            raise DataError(root, f"holds no image in train/ or {self._test_set}/", f"expected {LAYOUT}")
        listed = _listed(root / f"{self._test_set}.json")
        known = files[self._test_set]
        if listed is not None:
            missing = [name for name in listed if name not in known]
            if missing:
                where = root / self._test_set / f"{missing[0]}{_SUFFIX}.png"
                raise DataError(where, f"is missing, and {self._test_set}.json names it", "add it, or correct the list")
            files[self._test_set] = {name: known[name] for name in listed}
        paths = {name.zfill(3): path for name, path in files["train"].items()}
        paths |= {f"{self._test_set}-{name}": path for name, path in files[self._test_set].items()}
        metas = {name: path.removesuffix(f"{_SUFFIX}.png") + "_meta.json" for name, path in paths.items()}
        domain = Domain(self.domain_name, NAMES, "mm", (2.0, 4.0, 6.0, 8.0), note="pixels of the copies 384 wide")
        return [LegSource(domain, LegImages(paths, metas), self._split(tuple(paths)), metas)]

    def _split(self, names: tuple[str, ...]) -> Split:
        if self._all_test:
            return Split(test=names)
        test = tuple(name for name in names if name.startswith(f"{self._test_set}-"))
        train = tuple(name for name in names if name not in test)
        keep = {resolve(name, train) or name for name in named(self._shots) or (_USUAL_SHOT,)}
        inner = split_by_fraction(train, {}, 0.0, self._val_fraction, self.seed, keep)
        return Split(inner.train, inner.val, test)


def _images_of(folder: Path) -> dict[str, str]:
    """Return the images of a folder by number, in the order of the numbers; none where there is no folder."""
    found = image_files(folder) if folder.is_dir() else {}
    ours = {name: path for name, path in found.items() if path.endswith(f"{_SUFFIX}.png")}
    return {name.removesuffix(_SUFFIX): ours[name] for name in sorted(ours, key=lambda name: (len(name), name))}


def _listed(path: Path) -> list[str] | None:
    """Return the names in a list of a test set; None where there is no such file."""
    if not path.is_file():
        return None
    content = read_json(path)
    if not isinstance(content, list) or not all(isinstance(name, str | int) for name in content):
        raise DataError(path, "expected a list of image numbers", "copy the list again")
    return [str(name) for name in content]
