"""Folders of images by category: the layout of MVTec AD, and one folder a class."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medzoo.anomaly.data.categories import Category, CategoryDataModule, Item
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io import EXTENSIONS, is_image, read_header, read_image
from medzoo.core.io.image import NIFTI

_KINDS = tuple(ending for ending in EXTENSIONS if ending not in NIFTI)


class MvtecFolder(CategoryDataModule):
    """The layout of MVTec AD and MPDD: `<category>/train/good`, `<category>/test/<good or defect>`, `ground_truth`.

    Args:
        root: Folder of the categories.
        common: Options of all image data.
    """

    def __init__(self, root: str, **common: object) -> None:
        super().__init__(**common)  # type: ignore[arg-type]
        self._root = Path(root)

    def make_categories(self) -> tuple[Category, ...]:
        """Look at the folders."""
        if not self._root.is_dir():
            raise DataError(self._root, "is no folder", "give the folder that holds the categories")
        folders = sorted(p for p in self._root.iterdir() if (p / "train" / "good").is_dir())
        if not folders:
            raise DataError(self._root, "holds no <category>/train/good", "give the folder that holds the categories")
        return tuple(self._category(folder) for folder in folders)

    def _category(self, folder: Path) -> Category:
        train = tuple(_item(p, f"{folder.name}/train/{p.stem}") for p in image_files(folder / "train" / "good"))
        test: list[Item] = []
        tests = folder / "test"
        if not tests.is_dir():
            raise DataError(tests, "is no folder", "unpack the category completely")
        for kind in sorted(p for p in tests.iterdir() if p.is_dir()):
            for path in image_files(kind):
                mask = _mask_of(folder, kind.name, path) if kind.name != "good" else None
                name = f"{folder.name}/{kind.name}/{path.stem}"
                test.append(_item(path, name, int(kind.name != "good"), mask, "" if kind.name == "good" else kind.name))
        return Category(folder.name, train, tuple(test))

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

    def __init__(self, root: str, normal: str = "NORMAL", split: str = "test", **common: object) -> None:
        super().__init__(**common)  # type: ignore[arg-type]
        self._root, self._normal, self._split = Path(root), normal, split

    def make_categories(self) -> tuple[Category, ...]:
        """Look at the folders."""
        train, test = self._root / "train" / self._normal, self._root / self._split
        for folder in (train, test, test / self._normal):
            if not folder.is_dir():
                raise DataError(folder, "is no folder", "give train/<normal class> and test/<every class>")
        known = tuple(_item(p, f"train/{p.stem}", group=_patient(p)) for p in image_files(train))
        tested = tuple(
            _item(p, f"{kind.name}/{p.stem}", int(kind.name != self._normal), None, kind.name, _patient(p))
            for kind in sorted(q for q in test.iterdir() if q.is_dir())
            for p in image_files(kind)
        )
        shared = {i.group for i in known if i.group} & {i.group for i in tested if i.group}
        if shared:
            raise DataError(
                self._root,
                f"has {len(shared)} patients in both train and {self._split}, such as {min(shared)}",
                "move their images to one side",
            )
        return (Category(self._root.name, known, tested),)

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

    def __init__(self, root: str, normal: int = 0, part: str = "test", **common: object) -> None:
        super().__init__(**common)  # type: ignore[arg-type]
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
        return (Category(name, known, tested),)

    def _read(self, part: str) -> tuple[NDArray[np.uint8], list[int]]:
        try:
            with np.load(self._root, allow_pickle=False) as arrays:
                images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        except FileNotFoundError as error:
            raise DataError(self._root, "does not exist", "check the path") from error
        except KeyError as error:
            raise DataError(self._root, f"has no array {error.args[0].split()[0]}", "give a MedMNIST file") from error
        except Exception as error:  # whatever the bytes of a damaged archive lead to
            raise DataError(self._root, f"cannot be read ({type(error).__name__})", "download it again") from error
        if images.ndim not in (3, 4) or images.dtype != np.uint8 or len(labels) != len(images):
            raise DataError(self._root, f"has {part}_images of {images.dtype} {images.shape}", "give a MedMNIST file")
        return images, labels.reshape(len(labels), -1)[:, 0].astype(int).tolist()


def _admitted(path: Path) -> bool:
    return is_image(path) and not path.name.lower().endswith(NIFTI) and not path.name.startswith(".")


def image_files(folder: Path) -> list[Path]:
    """Return the images of a folder, sorted.

    Raises:
        DataError: There is none.
    """
    found = sorted(p for p in folder.iterdir() if _admitted(p))
    if not found:
        raise DataError(folder, "holds no image", f"put {', '.join(_KINDS)} files there")
    return found


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


def _item(path: Path, name: str, label: int = 0, mask: Path | None = None, kind: str = "", group: str = "") -> Item:
    return Item(
        name,
        partial(_read_rgb, path),
        label,
        partial(_read_mask, mask) if mask else None,
        group,
        kind,
        str(path),
        str(mask or ""),
    )


def _read_rgb(path: Path) -> NDArray[np.float32]:
    return read_image(path, "rgb").array


def _read_mask(path: Path) -> NDArray[np.bool_]:
    return np.asarray(read_image(path).array > 0)


def _mask_of(folder: Path, kind: str, path: Path) -> Path:
    masks = folder / "ground_truth" / kind
    for name in (f"{path.stem}_mask{path.suffix}", f"{path.stem}_mask.png", f"{path.stem}.png"):
        if (masks / name).is_file():
            return masks / name
    raise DataError(path, f"has no mask {masks / (path.stem + '_mask.png')}", "unpack ground_truth completely")


def _patient(path: Path) -> str:
    found = re.fullmatch(r"[A-Za-z]+-([A-Za-z0-9]+)-\d+", path.stem)
    return found[1] if found else ""


def _colour(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    channels = np.stack([image] * 3) if image.ndim == 2 else np.moveaxis(image, -1, 0)
    return np.ascontiguousarray(channels, dtype=np.float32) / np.float32(255)
