"""The data module that all layouts of segmentation share: parts, samples, loaders."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from medzoo.core.classifier.data.items import PARTS
from medzoo.core.data.loaders import ResumableLoader
from medzoo.core.data.module import Loader, MedzooDataModule
from medzoo.core.data.options import DataOptions, Unpack
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.geometry import resample, resize_affine
from medzoo.core.names import listed
from medzoo.core.sample import MaskSample

Drawn = tuple[NDArray[np.float32], NDArray[np.bool_] | None]
"""An image `(H, W)` or `(3, H, W)` in [0, 1], and its mask `(H, W)` where it is known."""


@dataclass(frozen=True)
class MaskItem:
    """An image with its mask that is read when it is needed.

    Attributes:
        id: Name, unique in the data set.
        load: Reads both.
        patient: Whose image it is; empty where nobody knows.
        groups: Sensitive attributes by name, −1 where unknown.
        path: Its file; empty where it has none.
        mask: File of its mask; empty where it has none of its own.
    """

    id: str
    load: Callable[[], Drawn]
    patient: str = ""
    groups: Mapping[str, int] = field(default_factory=dict)
    path: str = ""
    mask: str = ""


class MaskImages(Dataset[dict[str, object]]):
    """Samples of one part; index with an integer, or with `(index, epoch)`.

    Args:
        items: The images.
        source: Name of the data set.
        size: Height and width that the network sees.
    """

    def __init__(self, items: Sequence[MaskItem], source: str, size: tuple[int, int]) -> None:
        self.items, self.source, self.size = tuple(items), source, size

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, object]:
        item = self.items[key[0] if isinstance(key, tuple) else key]
        image, mask = item.load()
        extent = (image.shape[-1], image.shape[-2])
        affine = resize_affine(extent, self.size[::-1])
        if image.shape[-2:] != self.size:
            image = resample(image, affine, self.size[::-1])
        sample: dict[str, object] = {
            "id": item.id,
            "path": item.path,
            "source": self.source,
            "domain": 0,
            "patient": item.patient,
            "image": torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)).reshape(-1, *self.size),
            "affine": torch.from_numpy(affine),
            "original_size": torch.tensor(extent),
        }
        if mask is not None:
            sample["mask"] = torch.from_numpy(np.ascontiguousarray(mask))
        return sample | ({"groups": dict(item.groups)} if item.groups else {})


class MaskDataModule(MedzooDataModule):
    """Base of the data modules of segmentation: a subclass finds the images, everything else is here.

    Args:
        common: Options of all data modules.
    """

    sample: ClassVar[type] = MaskSample
    source: str = "masks"
    """Name of the data set in results."""
    channels: int = 1
    group_names: Mapping[str, tuple[str, ...]] = {}

    def __init__(
        self,
        **common: Unpack[DataOptions],
    ) -> None:
        super().__init__(**common)

    @abstractmethod
    def make_parts(self) -> dict[str, tuple[MaskItem, ...]]:
        """List the images of `train`, `val` and `test` without decoding one.

        Raises:
            DataError: A file or folder is missing or has another layout.
        """

    @cached_property
    def parts(self) -> dict[str, tuple[MaskItem, ...]]:
        """All images; files are looked at when this is first asked for."""
        return self.make_parts()

    def check(self, stage: str | None = None) -> list[DataError]:
        """Return what is wrong with the files, and patients of two parts."""
        del stage
        try:
            parts = self.parts
        except DataError as error:
            return [error]
        owners = [{item.patient for item in parts[part] if item.patient} for part in PARTS]
        shared = sorted((owners[0] & owners[1]) | ((owners[0] | owners[1]) & owners[2]))
        if shared:
            problem = f"has {len(shared)} patients in two parts: {listed(shared)}"
            return [DataError(self.source, problem, "give each patient to one part")]
        return []

    def summary(self, stage: str = "fit") -> list[str]:
        """Return the number of images of each part."""
        del stage
        return [f"{self.source} {part}: {len(self.parts[part])} images" for part in PARTS]

    def _images(self, part: str) -> MaskImages:
        items = self.parts[part]
        if not items:
            raise ConfigError(
                f"--data: {self.source} has no {part} images; give some, a fraction for them, or no --data.all_test"
            )
        return MaskImages(items, self.source, self.size)

    def train_dataloader(self) -> ResumableLoader:
        """Load the training images."""
        return self.train_loader(self._images("train"))

    def plain_dataloader(self, part: str) -> DataLoader[Mapping[str, object]]:
        """Load the images of a part (`train`, `val` or `test`) in order."""
        return self.evaluation_loader(self._images(part))

    def val_dataloader(self) -> Loader:
        """Load the validation images, where there are any."""
        return self.plain_dataloader("val") if self.parts["val"] else []

    def test_dataloader(self) -> DataLoader[Mapping[str, object]]:
        """Load the test images."""
        return self.plain_dataloader("test")

    def predict_dataloader(self) -> DataLoader[Mapping[str, object]]:
        """Load the test images."""
        return self.plain_dataloader("test")
