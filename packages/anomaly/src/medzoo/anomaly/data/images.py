"""Folders of images by category: the layout of MVTec AD, and one folder a class."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medzoo.anomaly.data.categories import CategoryDataModule, CategoryOptions
from medzoo.anomaly.data.items import Category, Item, read_colours
from medzoo.core.data.options import Unpack
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io import EXTENSIONS, read_header, read_image
from medzoo.core.io.arrays import read_labelled
from medzoo.core.io.listing import files_in, folders_in, image_below, image_files, no_image, stem, unread_images
from medzoo.core.io.types import NIFTI

_KINDS = tuple(ending for ending in EXTENSIONS if ending not in NIFTI)
_NUMBER = 1078  # any constant does; under this one the measured figures were drawn
_LABEL = 0.2  # part of the marked pixels that one value between has only where it is a label of its own


class MvtecFolder(CategoryDataModule):
    """The layout of MVTec AD and MPDD: `<category>/train/good`, `<category>/test/<good or defect>`, `ground_truth`.

    Args:
        root: Folder of the categories.
        common: Options of all image data.
    """

    def __init__(self, root: str, **common: Unpack[CategoryOptions]) -> None:
        super().__init__(**common)
        self._root = Path(root)

    def make_categories(self) -> tuple[Category, ...]:
        """Look at the folders."""
        if not self._root.is_dir():
            raise DataError(self._root, "is no folder", "give the folder that holds the categories")
        folders = [p for p in folders_in(self._root) if (p / "train" / "good").is_dir()]
        if not folders:
            raise DataError(self._root, "holds no <category>/train/good", "give the folder that holds the categories")
        return tuple(self._category(folder) for folder in folders)

    def _category(self, folder: Path) -> Category:
        train = tuple(_item(self._root, p) for p in some_images(folder / "train" / "good"))
        test: list[Item] = []
        tests = folder / "test"
        if not tests.is_dir():
            raise DataError(tests, "is no folder", "unpack the category completely")
        for kind in folders_in(tests):
            for path in some_images(kind):
                mask = _mask_of(folder, kind.name, path) if kind.name != "good" else None
                bad = kind.name != "good"
                test.append(_item(self._root, path, int(bad), mask, kind.name if bad else ""))
        return Category(folder.name, train, tuple(test))

    def layout_faults(self) -> list[DataError]:
        """Name categories without `train/good`, masks without an image, and images a level too high or too low."""
        found = []
        used = {item.mask_path for category in self.categories for item in category.test}
        for folder in folders_in(self._root):
            if (folder / "train" / "good").is_dir():
                kinds = [folder / "train" / "good", *folders_in(folder / "test")]
                found += [fault for kind in kinds for fault in unread_images(kind, _KINDS)]
                found += [fault for part in ("train", "test") for fault in loose_images(folder / part)]
                found += _stray_masks(folder / "ground_truth", used)
            elif image_below(folder, _KINDS):
                cure = "put normal training images there, or take the folder out"
                found.append(DataError(folder, "has no train/good, so that this category is not read", cure))
        return found

    def faults(self, item: Item) -> list[DataError]:
        """Compare the headers of an image and its mask."""
        return file_faults(item)


class ClassFolder(CategoryDataModule):
    """One folder a class in `train/` and `test/`, such as the retinal OCT images of Kermany et al.

    The normal class of `train/` is learnt from; in `test/` every other class is abnormal. Images whose names read
    `CLASS-PATIENT-INDEX` belong to that patient, which intervals draw.

    Args:
        root: Folder that holds `train/` and `test/`.
        normal: Name of the normal class.
        split: Folder of the test images.
        common: Options of all image data.
    """

    def __init__(
        self, root: str, normal: str = "NORMAL", split: str = "test", **common: Unpack[CategoryOptions]
    ) -> None:
        super().__init__(**common)
        self._root, self._normal, self._split = Path(root), normal, split

    def make_categories(self) -> tuple[Category, ...]:
        """Look at the folders."""
        train, test = self._root / "train" / self._normal, self._root / self._split
        for folder in (train, test, test / self._normal):
            if not folder.is_dir():
                raise DataError(folder, "is no folder", "give train/<normal class> and test/<every class>")
        known = tuple(_item(self._root, p, patient=_patient(p)) for p in some_images(train))
        tested = tuple(
            _item(self._root, p, int(kind.name != self._normal), None, kind.name, _patient(p))
            for kind in folders_in(test)
            for p in some_images(kind)
        )
        shared = {i.patient for i in known if i.patient} & {i.patient for i in tested if i.patient}
        if shared:
            raise DataError(
                self._root,
                f"has {len(shared)} patients in both train and {self._split}, such as {min(shared)}",
                "move their images to one side",
            )
        return (Category(self._root.name, known, tested),)

    def layout_faults(self) -> list[DataError]:
        """Name images that lie a level too high or too low."""
        test = self._root / self._split
        kinds = [self._root / "train" / self._normal, *folders_in(test)]
        deep = [fault for kind in kinds for fault in unread_images(kind, _KINDS)]
        return deep + loose_images(self._root / "train") + loose_images(test)

    def faults(self, item: Item) -> list[DataError]:
        """Look at the header of an image."""
        return file_faults(item)


class NpzImages(CategoryDataModule):
    """Arrays in the layout of MedMNIST: `train_images`, `train_labels` and the same for a test part, in one `.npz`.

    Args:
        root: The file.
        normal: Label of the normal class; every other label is abnormal.
        part: Part to test on: test or val.
        common: Options of all image data.
    """

    def __init__(self, root: str, normal: int = 0, part: str = "test", **common: Unpack[CategoryOptions]) -> None:
        super().__init__(**common)
        if part not in ("test", "val"):
            raise ConfigError(f"--data.part: expected test or val, got {part}")
        self._root, self._normal, self._part = Path(root), normal, part

    def make_categories(self) -> tuple[Category, ...]:
        """Read the arrays."""
        train, test = (self._read(part) for part in ("train", self._part))
        name = self._root.stem
        known = tuple(
            Item(f"train/{i}", partial(_colour, image)) for i, (image, label) in enumerate(zip(*train, strict=True))
            if label == self._normal
        )  # fmt: skip
        tested = tuple(
            Item(f"{self._part}/{i}", partial(_colour, image), int(label != self._normal), kind=str(label))
            for i, (image, label) in enumerate(zip(*test, strict=True))
        )
        if not known:
            raise DataError(self._root, f"has no training image of label {self._normal}", "correct --data.normal")
        return (Category(name, known, tested, _NUMBER),)

    def check(self, stage: str | None = None) -> list[DataError]:
        """Look also for test images that are training images; a fit takes published files as they are."""
        found = super().check(stage)
        return found if found or stage else [fault for c in self.categories for fault in self._copies(c)]

    def _copies(self, category: Category) -> list[DataError]:
        known = {item.load().tobytes(): item.id for item in reversed(category.train)}
        twins = [(item.id, known[pixels]) for item in category.test if (pixels := item.load().tobytes()) in known]
        if not twins:
            return []
        problem = f"{len(twins)} of its {self._part} images are, pixel for pixel, training images, such as {{}} ({{}})"
        cure = "remove one of each two: a test on known images shows nothing"
        return [DataError(self._root, problem.format(*twins[0]), cure)]

    def _read(self, part: str) -> tuple[NDArray[np.uint8], list[int]]:
        images, labels = read_labelled(self._root, [part], [part])[part]
        if labels.shape[1] > 1:
            problem = f"has {part}_labels of {labels.shape}, expected one whole number an image"
            raise DataError(self._root, problem, "give a MedMNIST file with one label an image")
        return images, labels[:, 0].tolist()


def some_images(folder: Path) -> list[Path]:
    """Return the images of a folder, sorted.

    Raises:
        DataError: There is none, or two have one name.
    """
    found = image_files(folder, _KINDS)
    if not found:
        raise no_image(folder, f"put {', '.join(_KINDS)} files there")
    return [Path(path) for path in found.values()]


def loose_images(folder: Path) -> list[DataError]:
    """Return an error where images lie beside the folders of classes and so belong to none."""
    loose = files_in(folder, _KINDS)
    cure = "move them into the folder of their class"
    return [DataError(loose[0], f"is one of {len(loose)} images that lie outside a class", cure)] if loose else []


def file_faults(item: Item) -> list[DataError]:
    """Return what the headers of an image and its mask show to be wrong."""
    try:
        size = read_header(item.path).size
        if item.mask_path:
            other = read_header(item.mask_path).size
            if other != size:
                return [DataError(item.mask_path, f"is {other}, its image {size}", "give one size")]
    except DataError as error:
        return [error]
    return []


def _item(root: Path, path: Path, label: int = 0, mask: Path | None = None, kind: str = "", patient: str = "") -> Item:
    """Return an item whose id is the place of the file in `root`, without its ending: no two have one."""
    return Item(
        "/".join((*path.relative_to(root).parent.parts, stem(path))),
        partial(read_colours, path),
        label,
        partial(read_mask, mask) if mask else None,
        patient,
        kind,
        str(path),
        str(mask or ""),
    )


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask: of two values the higher is marked, of more those from half of the highest on.

    A mask of one value marks all, or, where that is 0, nothing. JPEG and smoothed drawings put many values around an
    edge, which at "above 0" would make a region half as large again.

    Raises:
        DataError: Half of the highest is no edge: the values are several labels, or a soft map.
    """
    array = read_image(path).array
    top = float(array.max())
    levels, counts = np.unique(array, return_counts=True)
    if len(levels) <= 2:
        return np.asarray(array > (levels[0] if len(levels) == 2 else 0))
    between = (levels > 0) & (levels < top)
    lossy = path.name.lower().endswith((".jpg", ".jpeg"))
    label = not lossy and bool((counts[between] > max(_LABEL * counts[levels > 0].sum(), 8)).any())
    wide, narrow = (int((array >= part * top).sum()) for part in (0.25, 0.75))
    if label or wide > 2 * narrow + 8:
        problem = f"has {len(levels)} values, and it is not clear which are marked"
        raise DataError(path, problem, "save it with 0 for normal and 255 for abnormal pixels, as PNG")
    return np.asarray(array >= 0.5 * top)


def _mask_of(folder: Path, kind: str, path: Path) -> Path:
    masks = folder / "ground_truth" / kind
    for name in (f"{path.stem}_mask{path.suffix}", f"{path.stem}_mask.png", f"{path.stem}.png"):
        if (masks / name).is_file():
            return masks / name
    raise DataError(path, f"has no mask {masks / (path.stem + '_mask.png')}", "unpack ground_truth completely")


def _stray_masks(folder: Path, used: set[str]) -> list[DataError]:
    """Return an error for each mask that no image takes: a slip in its name, or in that of its folder."""
    kinds = [kind for kind in folders_in(folder) if kind.name != "good"] if folder.is_dir() else []
    strays = [mask for kind in kinds for mask in files_in(kind, _KINDS) if str(mask) not in used]
    return [DataError(mask, "is the mask of no test image", "correct its name or remove it") for mask in strays]


def _patient(path: Path) -> str:
    found = re.fullmatch(r"[A-Za-z]+-([A-Za-z0-9]+)-\d+", path.stem)
    return found[1] if found else ""


def _colour(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    channels = np.stack([image] * 3) if image.ndim == 2 else np.moveaxis(image, -1, 0)
    return np.ascontiguousarray(channels, dtype=np.float32) / np.float32(255)
