"""The data module that all landmark layouts share: shots with labels, training images without, loaders that resume."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader

from medzoo.core.data.cache import ImageCache, Key
from medzoo.core.data.loaders import ResumableLoader
from medzoo.core.data.module import Loader, MedzooDataModule
from medzoo.core.data.options import DataOptions, Unpack
from medzoo.core.errors import ConfigError, DataError, raise_all
from medzoo.core.sample import LandmarkSample
from medzoo.core.tasks.landmark_types import Domain
from medzoo.landmark.data.checks import check_stage, missing_shot_points
from medzoo.landmark.data.datasets import Geometry, LabelledImages, Resize, UnlabelledImages
from medzoo.landmark.data.shots import Wanted, choose_shots, find_shots, named, resolve
from medzoo.landmark.data.sources import LandmarkSource

_LISTED = 10
"""Shots named in the summary at most."""


class LandmarkOptions(DataOptions, total=False):
    """Options of `LandmarkDataModule`."""

    shots: int | str | list[str | int]
    resize: Resize
    cache_mb: int


class LandmarkDataModule(MedzooDataModule):
    """Base of the landmark data modules: a subclass builds sources, everything else is here.

    Training batches hold images of one domain: keys `image`, `spacing`, `affine`, `original_size`, `id`, `path` and
    `domain` of `medzoo.core.sample`. They are all training images and never have landmarks, except for a model that is
    `supervised`: its batches are of the shots alone, with their labels. Validation and test batches add `landmarks`,
    `visible` and `scale`.

    Args:
        shots: How many annotated images training may use, `all`, or a list of their names. A number takes the papers'
            shot where a layout has one, then the most typical images in appearance; 0 trains a matcher before anything
            is annotated (see `medzoo select`), and tests nothing.
        size: Height and width that the network sees, one number for a square; empty: what the model asks for.
        resize: "stretch" fills that size whatever the shape of the image; "pad" keeps the shape and pads with black.
        batch_size: Images a batch; empty: what the model asks for.
        num_workers: Processes that load images; results do not depend on their number.
        seed: Seed of the splits and of the order of training images.
        cache_mb: Megabytes of memory for decoded images; what does not fit is decoded again in each epoch.
    """

    sample = LandmarkSample

    def __init__(
        self,
        shots: int | str | list[str | int] = 1,
        size: int | list[int] | None = None,
        resize: Resize = "stretch",
        batch_size: int | None = None,
        num_workers: int = 0,
        seed: int = 0,
        cache_mb: int = 512,
    ) -> None:
        super().__init__(size, batch_size, num_workers, seed)
        if cache_mb < 0:
            raise ConfigError(f"--data.cache_mb: expected at least 0, got {cache_mb}")
        if resize not in ("stretch", "pad"):
            raise ConfigError(f"--data.resize: expected stretch or pad, got {resize}")
        self._shots, self._resize, self._cache_bytes = shots, resize, cache_mb * 2**20
        self._cache: tuple[Geometry, ImageCache] | None = None
        self._shown = False

    @abstractmethod
    def make_sources(self) -> Sequence[LandmarkSource]:
        """Look at the folders (not into images) and return one source a domain.

        Raises:
            DataError: A folder is missing or has another layout.
        """

    @cached_property
    def sources(self) -> tuple[LandmarkSource, ...]:
        """The sources, one a domain; the folders are looked at when this is first asked for."""
        sources = tuple(self.make_sources())
        names = [source.domain.name for source in sources]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ConfigError(f"two domains are called {twice!r}; give one of them another --data.name")
        return sources

    @property
    def domains(self) -> list[Domain]:
        """The domains; a sample's `domain` is an index into this list."""
        return [source.domain for source in self.sources]

    @cached_property
    def shot_ids(self) -> tuple[tuple[str, ...], ...]:
        """Names of the shots of each domain; empty for a domain that is not trained on."""
        return tuple(
            choose_shots(source, wanted) if source.split.train else ()
            for source, wanted in zip(self.sources, self.wanted(), strict=True)
        )

    def wanted(self) -> list[Wanted]:
        """Share a list of names out among the domains that have images of those names."""
        names = named(self._shots)
        if len(self.sources) == 1 or not names:
            return [self._shots] * len(self.sources)
        shares = [[name for name in names if resolve(name, source.names) is not None] for source in self.sources]
        stray = [name for name in names if not any(name in share for share in shares)]
        if stray:
            find_shots(self.sources[0], stray)  # raises, with the closest names
        return list(shares)

    def shots(self) -> list[list[LandmarkSample]]:
        """Return the annotated images of each domain at network size, with landmarks in original pixels.

        Raises:
            DataError: A shot cannot be read, or no shot of a domain shows one of its landmarks.
        """
        keys = self._shot_keys
        samples = LabelledImages(self._images(keys), self.sources)
        shots: list[list[LandmarkSample]] = [[] for _ in self.sources]
        for index, (domain, _) in enumerate(keys):
            shots[domain].append(samples[index])
        for source, group in zip(self.sources, shots, strict=True):
            if group:
                raise_all(missing_shot_points(source, [(s["id"], s["landmarks"].double().numpy()) for s in group]))
        return shots

    @property
    def _shot_keys(self) -> list[Key]:
        return [(domain, name) for domain, names in enumerate(self.shot_ids) for name in names]

    def check(self, stage: str | None = None) -> list[DataError]:
        """Look over headers and label files; no pixel is decoded.

        Labels of training images other than the shots may be missing; where they exist, a check of everything looks at
        them.
        """
        try:
            sources, wanted = self.sources, self.wanted()
        except DataError as error:
            return [error]
        errors: list[DataError] = []
        for source, shots in zip(sources, wanted, strict=True):
            errors += check_stage(source, shots, stage)
        return errors

    def setup(self, stage: str) -> None:
        """Check the files of the stage and, once, print what there is.

        Raises:
            DataError: There is one fault.
            DataErrors: There are several.
        """
        if stage not in ("fit", "validate", "test", "predict"):
            raise ValueError(f"stage: expected fit, validate, test or predict, got {stage!r}")
        super().setup(stage)
        if not self._shown:
            self._shown = True
            for line in self.summary(stage):
                rank_zero_info(line)

    def summary(self, stage: str = "fit") -> list[str]:
        """Return a line for each domain: how many images for what, the shots of a fit, and whose labels they are."""
        lines = []
        chosen = self.shot_ids if stage == "fit" else ((),) * len(self.sources)
        for source, shots in zip(self.sources, chosen, strict=True):
            split, domain = source.split, source.domain
            scored = sum(map(source.labelled, split.test))
            parts = [f"{len(split.train)} training images" if split.train else ""]
            named = f"shot{'s' if len(shots) > 1 else ''} {', '.join(shots)}"
            parts += [(f"{len(shots)} shots" if len(shots) > _LISTED else named) if shots else ""]
            parts += [f"{len(split.val)} for validation" if split.val else ""]
            parts += [
                f"{len(split.test)} for test" + ("" if scored else " (none has a label)") if split.test else "no test"
            ]
            parts += [f"{len(domain.landmarks)} landmarks, errors in {domain.unit}", domain.note]
            lines.append(f"{domain.name}: " + "; ".join(part for part in parts if part))
        return lines

    @property
    def geometry(self) -> Geometry:
        """How images reach the network's size, which is the option's or the attached model's.

        Raises:
            ConfigError: Neither is known.
        """
        return Geometry(self.size, self._resize)

    def _images(self, keys: Sequence[Key]) -> UnlabelledImages:
        """Make a data set over the run's one cache."""
        geometry = self.geometry
        if self._cache is None or self._cache[0] != geometry:
            cached = [(i, name) for i, s in enumerate(self.sources) for name in (*s.split.train, *s.split.val)]
            self._cache = geometry, ImageCache(cached, geometry.size, self._cache_bytes, self.num_workers)
        images, names = [s.images for s in self.sources], [s.domain.name for s in self.sources]
        return UnlabelledImages(images, keys, geometry, self._cache[1], names)

    def _keys(self, part: Literal["train", "val", "test"], labelled: bool) -> list[Key]:
        return [
            (domain, name)
            for domain, source in enumerate(self.sources)
            for name in getattr(source.split, part)
            if not labelled or source.labelled(name)
        ]

    def train_dataloader(self) -> ResumableLoader:
        """Load single-domain batches in an order drawn anew each epoch, domains in proportion to their size."""
        supervised = self.wants.labels
        keys = self._shot_keys if supervised else self._keys("train", labelled=False)
        if supervised and self._shots == 0:
            raise ConfigError("--data.shots: this model trains on annotated images, expected at least 1, got 0")
        if not keys:
            raise ConfigError(
                "there are no training images: annotate one at least, leave --data.all_test off, or train a matcher "
                "without labels (--model.stage stage1 --data.shots 0)"
            )
        images = self._images(keys)
        samples = LabelledImages(images, self.sources, keep=True) if supervised else images
        return self.train_loader(samples, images.groups)

    def unlabelled_loader(self) -> DataLoader[Mapping[str, object]]:
        """Load each training image once, in order and without labels, such as for pseudo labels."""
        images = self._images(self._keys("train", labelled=False))
        return self.evaluation_loader(images, images.groups)

    def annotated(self, most: int) -> LabelledImages:
        """Return up to `most` annotated images of each domain, spread evenly over them, with labels and as they are."""
        keys = [
            (domain, names[i * len(names) // min(most, len(names))])
            for domain, names in enumerate(self.shot_ids)
            for i in range(min(most, len(names)))
        ]
        return LabelledImages(self._images(keys), self.sources)

    def val_dataloader(self) -> Loader:
        """Load the validation images with labels; no loader where there are none, or no shots to find anything with."""
        return [] if self._shots == 0 else self._labelled("val")

    def test_dataloader(self) -> Loader:
        """Load the test images with labels; no loader where there are none, or no shots to find anything with."""
        return [] if self._shots == 0 else self._labelled("test")

    def _labelled(self, part: Literal["val", "test"]) -> Loader:
        keys = self._keys(part, labelled=True)
        if not keys:
            return []
        samples = LabelledImages(self._images(keys), self.sources)
        return self.evaluation_loader(samples, samples.groups)

    def predict_dataloader(self) -> DataLoader[Mapping[str, object]]:
        """Load the images to predict, without labels: the test set, or all images of a plain folder."""
        images = self._images([(domain, name) for domain, source in enumerate(self.sources) for name in source.predict])
        return self.evaluation_loader(images, images.groups)


class FolderOptions(LandmarkOptions, total=False):
    """Options of `FolderDataModule`."""

    all_test: bool
    val_fraction: float
    name: str | None


class FolderDataModule(LandmarkDataModule):
    """Base of the data modules that read a folder.

    Args:
        root: Folder of the data set.
        all_test: Take all images, of a plain folder all labelled ones, as test images and none for training: an
            external cohort for a trained model.
        val_fraction: Part of the training images whose labels are spent on validation after each epoch, which chooses
            `best.ckpt`; 0 spends none.
        name: Name of the domain in results; a trained model finds its own domain by it. Empty: the layout's name.
    """

    layout_name = "folder"

    def __init__(
        self,
        root: str,
        all_test: bool = False,
        val_fraction: float = 0.0,
        name: str | None = None,
        **common: Unpack[LandmarkOptions],
    ) -> None:
        super().__init__(**common)
        self._root, self._all_test, self._val_fraction, self._name = Path(root), all_test, val_fraction, name

    @property
    def domain_name(self) -> str:
        """Name of the domain in results."""
        return self._name or self.layout_name
