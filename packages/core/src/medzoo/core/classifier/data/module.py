"""The data module that all layouts of classification share: parts, checks, loaders."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import ClassVar

import numpy as np
from torch.utils.data import DataLoader

from medzoo.core.classifier.data.items import PARTS, Cases, Images, Item, cache_key
from medzoo.core.classifier.data.order import ORDERS, Order, cells_of, drawn_batches
from medzoo.core.data.cache import ImageCache
from medzoo.core.data.loaders import EpochBatches, ResumableLoader
from medzoo.core.data.module import Loader, MedzooDataModule
from medzoo.core.data.options import DataOptions
from medzoo.core.errors import ConfigError, DataError, check_choice
from medzoo.core.io import read_header
from medzoo.core.io.listing import same_content
from medzoo.core.names import listed
from medzoo.core.tasks.classification import ClassificationSample

_MEMORY = 2**29
"""Bytes of decoded images that are kept; what does not fit is decoded again in each epoch."""


class ClassificationOptions(DataOptions, total=False):
    """Options of `ClassificationDataModule`."""

    augment: float
    order: Order
    order_by: str | None


class ClassificationDataModule(MedzooDataModule):
    """Base of the data modules of classification: a subclass finds the images, everything else is here.

    Args:
        augment: Strength at which training images are turned, zoomed, shifted and changed in contrast; 0 for none.
        order: `shuffled`; or `class`, `group` or `group-class`, of which each is drawn alike often, with replacement.
        order_by: Sensitive attribute of that order; empty where there is one only. Images of unknown group stay out.
        size: Height and width that the network sees, one number for a square; empty: what the model asks for.
        batch_size: Images a batch; empty: what the model asks for.
        num_workers: Processes that load images; results do not depend on their number.
        seed: Seed of splits, variation and order.
    """

    sample: ClassVar[type] = ClassificationSample
    batch: ClassVar[int] = 32

    def __init__(
        self,
        augment: float = 1.0,
        order: Order = "shuffled",
        order_by: str | None = None,
        size: int | list[int] | None = None,
        batch_size: int | None = None,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(size, batch_size, num_workers, seed)
        if not 0 <= augment <= 3:
            raise ConfigError(f"--data.augment: expected 0 to 3, got {augment}")
        check_choice("data.order", order, ORDERS)
        self._augment = augment
        self._order, self._order_by = order, order_by
        self._cache: tuple[object, ImageCache] | None = None

    @abstractmethod
    def make_cases(self) -> Cases:
        """List the images without decoding one.

        Raises:
            DataError: A file or folder is missing or has another layout.
        """

    @cached_property
    def cases(self) -> Cases:
        """All images; files are looked at when this is first asked for.

        Raises:
            DataError: There are fewer than two classes, or no image to train on.
        """
        return self.make_cases()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.cases.classes

    @property
    def multi_label(self) -> bool:
        """Whether several labels may hold at once."""
        return self.cases.multi_label

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return self.cases.channels

    def counts(self, part: str = "train") -> tuple[list[int], list[int]]:
        """Return, for each class, how many images of a part have it and of how many this is known."""
        labels = [item.label for item in self.cases.parts[part] if item.label is not None]
        if not self.multi_label:
            return [labels.count(index) for index in range(len(self.classes))], [len(labels)] * len(self.classes)
        values = np.array(labels, dtype=float).reshape(-1, len(self.classes))
        return (values == 1).sum(axis=0).tolist(), (~np.isnan(values)).sum(axis=0).tolist()

    def check(self, stage: str | None = None) -> list[DataError]:
        """Look over headers, and for images or patients that are in two parts (not before a prediction)."""
        try:
            cases = self.cases
        except DataError as error:
            return [error]
        used = {"fit": PARTS, "validate": ("val",), "test": ("test",), "predict": ()}.get(stage or "", PARTS)
        items = [item for part in used for item in cases.parts[part]]
        if stage in (None, "predict"):
            items += self.predicted
        paths = dict.fromkeys(item.path for item in items if item.path)
        found = [*self.layout_faults(), *(fault for path in paths for fault in _header_fault(path))]
        return found if stage == "predict" else found + self.leaks(stage)

    def layout_faults(self) -> list[DataError]:
        """Return what lies in the folders and is not read."""
        return []

    def leaks(self, stage: str | None) -> list[DataError]:
        """Return an error for the patients of two parts, and for each image of one that is also in another."""
        del stage
        parts, found = self.cases.parts, []
        train, val, test = (parts[part] for part in PARTS)
        for first, second, names in (
            (train, val, "training and validation"),
            ((*train, *val), test, "training and test"),
        ):
            shared = sorted({i.patient for i in first if i.patient} & {i.patient for i in second if i.patient})
            if shared:
                problem = f"has {len(shared)} patients in both {names}: {listed(shared)}"
                found.append(DataError(self.cases.name, problem, "give each patient to one part"))
            found += same_content([i.path for i in first if i.path], [i.path for i in second if i.path])
        return found

    def summary(self, stage: str = "fit") -> list[str]:
        """Return the number of images and of each class, a line for each part."""
        del stage
        lines = []
        for part in PARTS:
            have, _ = self.counts(part)
            each = ", ".join(f"{count} {name}" for count, name in zip(have, self.classes, strict=True))
            lines.append(f"{self.cases.name} {part}: {len(self.cases.parts[part])} images ({each})")
        return lines

    @property
    def predicted(self) -> tuple[Item, ...]:
        """The images without labels, where there are any, else those of the test."""
        return self.cases.unlabelled or self.cases.parts["test"]

    def _images(self, items: Sequence[Item], augment: float = 0.0) -> Images:
        """Make a data set over the run's one memory of decoded images."""
        size, wants = self.size, self.wants
        if self._cache is None or self._cache[0] != (size, wants):  # another model may stretch where one has cut
            keys = [cache_key(item) for part in PARTS for item in self.cases.parts[part]]
            shape = (self.channels * size[0], size[1])
            self._cache = (size, wants), ImageCache(keys, shape, _MEMORY, self.num_workers)
        return Images(items, self.cases, size, self._cache[1], augment, self.seed, wants)

    def _to_train(self, items: Sequence[Item]) -> Images:
        """Make the data set that is trained on."""
        return self._images(items, self._augment)

    def _part(self, part: str) -> tuple[Item, ...]:
        items = self.cases.parts[part]
        if not items:
            raise ConfigError(
                f"--data: {self.cases.name} has no {part} images; give some, a fraction for them, or no --data.all_test"
            )
        return items

    def train_dataloader(self) -> ResumableLoader:
        """Load the training images, each varied anew in each epoch."""
        items = self._part("train")
        images = self._to_train(items)
        if self._order == "shuffled":
            return self.train_loader(images)
        cells = cells_of(items, self._order, self._order_by)
        plan = partial(drawn_batches, cells, len(items), self.samples_a_batch, self.seed)
        return ResumableLoader(images, EpochBatches(plan), self.num_workers, self.train_sample or self.sample)

    def unvaried_loader(self) -> DataLoader[Mapping[str, object]]:
        """Load the training images as they are, each once, for a method that scores them."""
        return self.evaluation_loader(self._images(self._part("train")))

    def plain_dataloader(self, part: str) -> DataLoader[Mapping[str, object]]:
        """Load the images of a part (`train`, `val` or `test`) in order and as they are, such as to describe them."""
        return self.evaluation_loader(self._images(self._part(part)))

    def val_dataloader(self) -> Loader:
        """Load the validation images, where there are any."""
        items = self.cases.parts["val"]
        return self.evaluation_loader(self._images(items)) if items else []

    def test_dataloader(self) -> DataLoader[Mapping[str, object]]:
        """Load the test images."""
        return self.evaluation_loader(self._images(self._part("test")))

    def predict_dataloader(self) -> DataLoader[Mapping[str, object]]:
        """Load the images without labels, else those of the test."""
        return self.evaluation_loader(self._images(self.predicted or self._part("test")))


def _header_fault(path: str) -> list[DataError]:
    try:
        read_header(path)
    except DataError as error:
        return [error]
    return []


def check_classes(place: object, classes: Sequence[str]) -> None:
    """Refuse data without a choice.

    Raises:
        DataError: There are fewer than two classes.
    """
    if len(classes) < 2:
        only = f"only the class {classes[0]!r}" if classes else "no class"
        raise DataError(str(place), f"has {only}, expected at least two", "give images of another class too")
