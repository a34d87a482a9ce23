"""Images with classes as all layouts give them, how they become samples, and how they are split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from medzoo.core.data.cache import ImageCache, Prepared
from medzoo.core.data.splits import split_by_fraction
from medzoo.core.data.wants import Wants
from medzoo.core.errors import DataError
from medzoo.core.geometry import compose, resample, rotate_affine
from medzoo.core.io import EXTENSIONS, read_image
from medzoo.core.io.types import NIFTI

PARTS = ("train", "val", "test")
KINDS = tuple(ending for ending in EXTENSIONS if ending not in NIFTI)
"""Endings of the files that are read."""
_TURN, _ZOOM, _SHIFT, _CONTRAST = 10.0, 0.1, 0.05, 0.2  # degrees; relative; share of a side; relative
Loaded = tuple[NDArray[np.float32], tuple[float, float]]
"""An image `(H, W)` or `(C, H, W)` in [0, 1], and its mm per pixel along x and y."""
UNKNOWN = (float("nan"), float("nan"))


@dataclass(frozen=True)
class Item:
    """An image that is read when it is needed.

    Attributes:
        id: Name, unique in the data set.
        load: Reads it.
        label: Place of its class, or a value of 0, 1 or NaN for each label; None where it is only to be predicted.
        patient: Whose image it is; empty where nobody knows.
        groups: Sensitive attributes by name, −1 where unknown.
        path: Its file; empty where it has none of its own.
    """

    id: str
    load: Callable[[], Loaded]
    label: int | tuple[float, ...] | None = None
    patient: str = ""
    groups: Mapping[str, int] = field(default_factory=dict)
    path: str = ""


@dataclass(frozen=True)
class Cases:
    """What a layout found.

    Attributes:
        name: Of the data set.
        classes: Names of the classes or labels.
        parts: Images by part: `train`, `val` and `test`.
        multi_label: Whether several labels may hold at once.
        channels: 1 for grey images, 3 for colour.
        unlabelled: Images that are only to be predicted.
    """

    name: str
    classes: tuple[str, ...]
    parts: Mapping[str, tuple[Item, ...]]
    multi_label: bool = False
    channels: int = 1
    unlabelled: tuple[Item, ...] = ()


def filled(
    given: Mapping[str, Sequence[Item]], test_fraction: float, val_fraction: float, seed: int
) -> dict[str, tuple[Item, ...]]:
    """Return the three parts; one that is not given is drawn from the training images, patient by patient."""
    items = {item.id: item for item in given.get("train", ())}
    patients = {item.id: f"patient {item.patient}" for item in items.values() if item.patient}
    test_share, val_share = (
        0.0 if given.get(part) else share for part, share in (("test", test_fraction), ("val", val_fraction))
    )
    split = split_by_fraction(list(items), patients, test_share, val_share, seed)
    return {part: tuple(given[part]) if part != "train" and given.get(part) else
            tuple(items[name] for name in getattr(split, part)) for part in PARTS}  # fmt: skip


def read_file(path: Path, colour: bool) -> Loaded:
    """Read an image in [0, 1].

    Raises:
        DataError: It cannot be read, or has values outside of [0, 1], such as those of a CT.
    """
    image = read_image(path, "rgb" if colour else "grey")
    array, spacing = image.array, image.spacing
    if array.ndim != 2 + colour:
        raise DataError(path, "is a volume, expected one image", "export its slices as PNG")
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 1:
        problem = f"has values from {low:g} to {high:g}, expected a photograph or radiograph with values in [0, 1]"
        raise DataError(path, problem, "choose a window and export it as PNG")
    return array, (float(spacing[0]), float(spacing[1]))


class Facts(TypedDict, total=False):
    """What is known of an image, see `Item`."""

    label: int | tuple[float, ...] | None
    patient: str
    groups: Mapping[str, int]


def cache_key(item: Item) -> tuple[int, str]:
    """Return what a decoded image is kept under: its file, since images to predict may be called as those of a part."""
    return 0, item.path or item.id


def file_item(path: Path, colour: bool, name: str, **facts: Unpack[Facts]) -> Item:
    """Return an item for a file; `facts` are its label, patient and groups."""
    return Item(name, partial(read_file, path, colour), path=str(path), **facts)


class Images(Dataset[dict[str, object]]):
    """Samples of one part; index with an integer, or with `(index, epoch)` to vary the image.

    Args:
        items: The images.
        cases: Their data set.
        size: Height and width that the network sees.
        cache: Memory for decoded images.
        augment: Strength of the variation.
        seed: Seed of it.
        wants: What the method asks for, which says how images are brought to size.
    """

    def __init__(
        self,
        items: Sequence[Item],
        cases: Cases,
        size: tuple[int, int],
        cache: ImageCache,
        augment: float = 0.0,
        seed: int = 0,
        wants: Wants = Wants(),  # noqa: B008 - it is frozen
    ) -> None:
        self.items, self.size, self.cache, self.wants = tuple(items), size, cache, wants
        self.name, self.channels = cases.name, cases.channels
        self.augment, self.seed = augment, seed

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, object]:
        index, epoch = key if isinstance(key, tuple) else (key, None)
        item = self.items[index]
        prepared = self._prepared(item)
        image = torch.from_numpy(prepared.image.reshape(self.channels, *self.size).astype(np.float32))
        affine = self.wants.affine(prepared.size, self.size)
        if epoch is not None and self.augment:
            image, affine = self._varied(image, affine, np.random.default_rng((self.seed, epoch, index)))
        sample: dict[str, object] = {
            "id": item.id,
            "path": item.path,
            "source": self.name,
            "domain": 0,
            "patient": item.patient,
            "image": image,
            "affine": torch.from_numpy(affine),
            "original_size": torch.tensor(prepared.size),
            "spacing": torch.tensor(prepared.spacing, dtype=torch.float32),
        }
        if item.groups:
            sample["groups"] = dict(item.groups)
        if item.label is not None:
            kind = torch.int64 if isinstance(item.label, int) else torch.float32
            sample["label"] = torch.tensor(item.label, dtype=kind)
        return sample

    def _prepared(self, item: Item) -> Prepared:
        """Return an image at network size, in half precision whether it comes from memory or not."""
        key = cache_key(item)
        found = self.cache.get(key)
        if found is None:
            array, spacing = item.load()
            height, width = array.shape[-2:]
            affine = self.wants.affine((width, height), self.size)
            if (height, width) != self.size or not np.array_equal(affine, np.eye(2, 3)):
                array = resample(array, affine, self.size[::-1])
            # Channels stand above each other: the memory holds planes.
            plane = array.astype(np.float16).reshape(-1, self.size[1])
            found = Prepared(plane, (width, height), spacing)
            self.cache.put(key, found)
        return found

    def _varied(
        self, image: Tensor, affine: NDArray[np.float64], rng: np.random.Generator
    ) -> tuple[Tensor, NDArray[np.float64]]:
        """Turn, zoom and shift an image, and change its contrast and brightness."""
        a, (height, width) = self.augment, self.size
        move = rotate_affine(
            rng.uniform(-_TURN, _TURN) * a, ((width - 1) / 2, (height - 1) / 2), np.exp(rng.uniform(-_ZOOM, _ZOOM) * a)
        )
        move[:, -1] += rng.uniform(-_SHIFT, _SHIFT, 2) * a * (width, height)
        contrast, light = 1 + rng.uniform(-_CONTRAST, _CONTRAST) * a, rng.uniform(-_CONTRAST, _CONTRAST) * a / 2
        moved = resample(image, move, (width, height))
        return ((moved - 0.5) * contrast + 0.5 + light).clamp(0, 1), compose(affine, move)
