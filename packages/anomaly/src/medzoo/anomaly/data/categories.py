"""The data module that all image layouts share: categories of normal images, a few of which are the support."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import NotRequired

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from medzoo.anomaly.data.items import Category, Item, empty_mask, resized
from medzoo.anomaly.data.known import known_abnormal, without
from medzoo.core.data.loaders import ResumableLoader
from medzoo.core.data.module import MedzooDataModule
from medzoo.core.data.options import DataOptions
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.geometry import resize_affine
from medzoo.core.io.listing import content_hash, same_content
from medzoo.core.sample import MaskSample, Sample

_MOST = 2**31  # bytes of supports that a checkpoint may carry
_SIDE = 224
_KEPT = 5  # of so many normal images one is kept apart, for the threshold of a method that trains on them
_PARTS = (attrgetter("train"), attrgetter("test"))


class SupportQueryDataset(Dataset[dict[str, object]]):
    """Normal images, each with `shots` other ones of its category where there are any; index with `(index, epoch)`.

    Where a category has labelled abnormal images, in the place of its test, each normal image has one of them as well.
    """

    def __init__(self, categories: Sequence[Category], shots: int, size: tuple[int, int], seed: int) -> None:
        self.normals = [len(category.train) for category in categories]
        self.members = [[*category.train, *category.test] for category in categories]
        self.names = [category.name for category in categories]
        self.items = [(c, i) for c, count in enumerate(self.normals) for i in range(count)]
        self.groups = [c for c, _ in self.items]
        self.shots, self.size, self.seed = shots, size, seed
        self.cache: dict[tuple[int, int], Tensor] = {}

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, object]:
        index, epoch = key
        category, own = self.items[index]
        sample: dict[str, object] = {
            "image": self._image(category, own),
            "id": self.members[category][own].id,
            "path": self.members[category][own].path,
            "source": self.names[category],
            "domain": category,
        }
        count = self.normals[category]
        rng = np.random.default_rng((self.seed, epoch, index))
        if self.shots:
            others = [i for i in range(count) if i != own]
            chosen = rng.choice(others, self.shots, replace=len(others) < self.shots)
            sample["support"] = torch.stack([self._image(category, int(i)) for i in chosen])
        if len(self.members[category]) > count:
            sample["abnormal"] = self._image(category, int(rng.integers(count, len(self.members[category]))))
        return sample

    def _image(self, category: int, index: int) -> Tensor:
        item, key = self.members[category][index], (category, index)
        if key not in self.cache:
            if len(self.cache) * self.size[0] * self.size[1] * 6 > _MOST:
                return resized(item.load(), self.size)
            self.cache[key] = resized(item.load(), self.size).half()
        return self.cache[key].float()


class Labelled(Dataset[dict[str, object]]):
    """Images with `label`, and `mask` at the image's own size where a category has masks; index with an integer."""

    def __init__(self, categories: Sequence[Category], size: tuple[int, int]) -> None:
        self.items = [(c, item) for c, category in enumerate(categories) for item in category.test]
        self.groups = [c for c, _ in self.items]
        self.masked = [all(i.mask or not i.label for i in c.test) for c in categories]
        self.size, self.names = size, [category.name for category in categories]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, object]:
        category, item = self.items[index]
        array = item.load()
        height, width = array.shape[-2:]
        sample: dict[str, object] = {
            "image": resized(array, self.size),
            "affine": torch.from_numpy(resize_affine((width, height), self.size[::-1])),
            "original_size": torch.tensor([width, height]),
            "label": torch.tensor(item.label),
            "patient": item.patient,
            "id": item.id,
            "path": item.path,
            "source": self.names[category],
            "domain": category,
            "kind": item.kind,
        }
        if self.masked[category]:
            mask = item.mask() if item.mask and item.label else np.zeros((height, width), dtype=bool)
            if mask.shape != (height, width):
                problem = f"is {mask.shape[::-1]}, its image {(width, height)}"
                raise DataError(item.mask_path or item.id, problem, "give one size")
            if item.label and not mask.any():
                raise empty_mask(item)
            sample["mask"] = torch.from_numpy(np.ascontiguousarray(mask))
        return sample


class QuerySample(Sample):
    """A normal image to train on, with other normal images of its category where the method asks for these."""

    image: Tensor
    """`(3, H, W)` float32 in [0, 1]."""
    support: NotRequired[Tensor]
    """`(S, 3, H, W)`."""
    abnormal: NotRequired[Tensor]
    """`(3, H, W)`, a labelled abnormal image of the same category."""


class CategoryOptions(DataOptions, total=False):
    """Options of `CategoryDataModule`."""

    test_categories: list[str] | None
    shots: int | None
    support_draw: int
    known: int
    known_kinds: list[str] | None


class CategoryDataModule(MedzooDataModule):
    """Base of the image data modules: subclasses list the categories, everything else is here.

    The categories to test are never trained on: a method that learns gets the others, and of a tested category only the
    support. Where there are no others, it learns from the supports alone.

    Args:
        test_categories: Categories to test; empty: the last third, or the only one.
        shots: Normal images of a tested category that a method may see; empty: all.
        support_draw: Which of the random draws of them; published figures are means over ten.
        known: Abnormal images of each tested category that a method may learn from, with their patients taken out of
            the test of every method.
        known_kinds: Kinds of these; empty: the first kind by name.
        size: Height and width that the network sees, one number for a square; empty: what the model asks for.
        batch_size: Images a batch; empty: what the model asks for.
        num_workers: Processes that load images; results do not depend on their number.
        seed: Seed of draws and order.
    """

    sample = MaskSample
    train_sample = QuerySample
    batch = 32

    def __init__(
        self,
        test_categories: list[str] | None = None,
        shots: int | None = 4,
        support_draw: int = 0,
        known: int = 0,
        known_kinds: list[str] | None = None,
        size: int | list[int] | None = None,
        batch_size: int | None = None,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(size, batch_size, num_workers, seed)
        if shots is not None and shots < 1:
            raise ConfigError(f"--data.shots: expected at least 1, got {shots}")
        for option, value in (("support_draw", support_draw), ("known", known)):
            if value < 0:
                raise ConfigError(f"--data.{option}: expected at least 0, got {value}")
        self._known, self._known_kinds = known, known_kinds
        self._wanted, self._shots, self._support_draw = test_categories, shots, support_draw
        self._drawn: dict[str, tuple[Item, ...]] = {}

    @abstractmethod
    def make_categories(self) -> Sequence[Category]:
        """List the categories without decoding an image.

        Raises:
            DataError: A folder is missing or has another layout.
        """

    @cached_property
    def categories(self) -> tuple[Category, ...]:
        """All categories; folders are looked at when this is first asked for."""
        return tuple(self.make_categories())

    @cached_property
    def tested(self) -> tuple[Category, ...]:
        """The categories that are tested; a sample's `domain` in a test counts these."""
        names = [category.name for category in self.categories]
        unknown = [name for name in self._wanted or () if name not in names]
        if unknown:
            raise ConfigError(f"--data.test_categories: no {unknown[0]}; there are {', '.join(names)}")
        chosen = self._wanted or names[len(names) - max(1, len(names) // 3) :]
        return tuple(without(c, self.known_items(c)) for c in self.categories if c.name in chosen)

    def known_items(self, category: Category) -> tuple[Item, ...]:
        """Return the labelled abnormal images of a tested category, which are in no test.

        Raises:
            ConfigError: There are too few of their kinds.
        """
        whole = next(each for each in self.categories if each.name == category.name)
        seed = (self.seed, self._support_draw, whole.number, 1)
        return known_abnormal(whole, self._known, self._known_kinds, seed)

    @cached_property
    def others(self) -> tuple[Category, ...]:
        """The categories that a method may learn from."""
        held = {category.name for category in self.tested}
        return tuple(category for category in self.categories if category.name not in held)

    def support_items(self, category: Category) -> tuple[Item, ...]:
        """Return the support of a category: the same for every method, given `shots`, `draw` and `seed`.

        Raises:
            DataError: A file cannot be read.
        """
        if self._shots is None or self._shots >= len(category.train):
            return category.train
        if category.name not in self._drawn:
            # By content, so that neither a new name of a file nor one of its folder changes what a method may see.
            known = sorted(category.train, key=lambda item: content_hash(item.path) if item.path else b"")
            order = np.random.default_rng((self.seed, self._support_draw, category.number)).permutation(len(known))
            self._drawn[category.name] = tuple(known[i] for i in sorted(order[: self._shots]))
        return self._drawn[category.name]

    def supports(self) -> dict[str, Tensor]:
        """Return the support images of every tested category, `(K, 3, H, W)` float16."""
        size, found = self.size, {}
        for category in self.tested:
            items = self.support_items(category)
            if len(items) * size[0] * size[1] * 6 > _MOST:
                raise ConfigError(f"--data.shots: {len(items)} images of {category.name} are too many; give fewer")
            found[category.name] = torch.stack([resized(item.load(), size).half() for item in items])
        return found

    def own_items(self, category: Category) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
        """Return the support of a category in two parts: to train on, and, every fifth, to set a threshold with.

        Of images of known patients it is every fifth patient, so that nobody is in both; of two to four the last one.
        """
        items = self.support_items(category)
        owners = [item.patient or f"image {item.id}" for item in items]
        each = list(dict.fromkeys(owners))
        few = each[-1:] if len(items) >= _KEPT and len(each) > 1 else []
        kept = set(each[_KEPT - 1 :: _KEPT] or few)
        pairs = list(zip(items, owners, strict=True))
        return tuple(i for i, owner in pairs if owner not in kept), tuple(i for i, owner in pairs if owner in kept)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that the network sees: the option, else what the model asks for, else 224 × 224."""
        return super().size if self.given_size or self.wants.size else (_SIDE, _SIDE)

    def check(self, stage: str | None = None) -> list[DataError]:
        """Look over headers.

        A check of everything (`None`) also reads the masks. Whether a test image is a copy of a training image is
        looked at before all stages but a prediction.
        """
        try:
            categories, tested = self.categories, self.tested
            supports = () if stage in ("fit", None) else [item for c in tested for item in self.support_items(c)]
        except DataError as error:
            return [error]
        learnt = {item: None for c in categories for item in (*c.train, *(() if stage == "fit" else c.test))}
        used = learnt if stage in ("fit", None) else dict.fromkeys((*supports, *(i for c in tested for i in c.test)))
        found = [*self.layout_faults(), *(fault for item in used for fault in self.faults(item))]
        if stage != "predict":
            found += same_content(*([i.path for c in categories for i in part(c) if i.path] for part in _PARTS))
        return found if stage or found else [fault for item in used for fault in self.mask_faults(item)]

    def layout_faults(self) -> list[DataError]:
        """Return what lies in the folders and is not read."""
        return []

    def faults(self, item: Item) -> list[DataError]:
        """Return the faults of the files of an image; a phantom has none."""
        del item
        return []

    def mask_faults(self, item: Item) -> list[DataError]:
        """Read the mask of an abnormal image and return what is wrong with it."""
        if not (item.label and item.mask and item.mask_path):
            return []
        try:
            return [] if item.mask().any() else [empty_mask(item)]
        except DataError as error:
            return [error]

    def setup(self, stage: str) -> None:
        """Check the files of the stage, and print what is trained on and what is tested."""
        super().setup(stage)
        tested = ", ".join(category.name for category in self.tested)
        shots = "all" if self._shots is None else self._shots
        others = () if self.wants.tested else self.others
        learnt = ", ".join(category.name for category in others) or "the supports alone"
        if stage == "fit":
            rank_zero_info(
                f"tested: {tested}, {shots} normal images each (draw {self._support_draw}); learnt from: {learnt}"
            )

    def train_dataloader(self) -> ResumableLoader:
        """Load single-category batches of images with supports; of a method that does not learn, the supports only.

        A method that trains on the tested categories themselves gets four fifths of their supports, alone, and beside
        each a labelled abnormal image, where the method wants labels and there are any.
        """
        if self.wants.tested:
            labelled = self.wants.labels
            own = [Category(c.name, self.own_items(c)[0], self.known_items(c) if labelled else ()) for c in self.tested]
            data = SupportQueryDataset(own, 0, self.size, self.seed)
            return self.train_loader(data, data.groups)
        learns = self.wants.trains
        source: Sequence[Category] = (
            self.others
            if learns and self.others
            else [Category(c.name, self.support_items(c), ()) for c in self.tested]
        )
        source = [category for category in source if len(category.train) > 1 or not learns]
        if not source:
            raise ConfigError("--data.shots: with one image and no other category there are no pairs to learn from")
        shots = 1 if not learns else self.wants.supports or self._shots or 4
        if not learns:  # one batch that nobody looks at
            source = [Category(c.name, c.train[:1] * 2, ()) for c in source[:1]]
        data = SupportQueryDataset(source, shots, self.size, self.seed)
        return self.train_loader(data, data.groups)

    def test_dataloader(self) -> DataLoader[Mapping[str, object]]:
        """Load the test images of the tested categories, batch after batch of one category."""
        data = Labelled(self.tested, self.size)
        return self.evaluation_loader(data, data.groups)

    def predict_dataloader(self) -> DataLoader[Mapping[str, object]]:
        """Load the same images as for the test."""
        return self.test_dataloader()
