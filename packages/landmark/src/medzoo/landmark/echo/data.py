"""Data modules of echocardiography: the base that all share, and built-in phantoms."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
from torch.utils.data import DataLoader

from medzoo.core.data.loaders import ResumableLoader
from medzoo.core.data.module import Loader, MedzooDataModule, check_drawn
from medzoo.core.data.options import DataOptions, Unpack
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.seeding import derive_seed
from medzoo.core.sides import check_area, sides
from medzoo.landmark.echo.clips import Clip, Clips, Item, lines_through
from medzoo.landmark.echo.line_table import read_lines
from medzoo.landmark.echo.phantom import plax_clip
from medzoo.landmark.echo.task import EchoSample

_LEAST, _MOST = 24, 256  # frames of a drawn clip
_ALONG, _ACROSS = 1.0, 0.5  # mm, an annotator's deviation along the wall and across it
_PARTS = ("train", "val", "test")


class Items(NamedTuple):
    """The clips of a data set; those to predict are the test's where there are no others."""

    train: Sequence[Item]
    val: Sequence[Item]
    test: Sequence[Item]
    predict: Sequence[Item] = ()


class EchoOptions(DataOptions, total=False):
    """Options of `EchoDataModule`."""

    cache_mb: int
    lines: str | None


class EchoDataModule(MedzooDataModule):
    """Base of the data modules of clips with scan lines; a subclass lists its clips in `make_items`.

    Args:
        cache_mb: Megabytes of memory for decoded clips; what does not fit is read again in each epoch.
        lines: Table of scan lines that a person placed or corrected, such as the lines.csv of a prediction; they take
            precedence over all others.
        common: Options of all data modules.
    """

    sample = EchoSample
    batch = 4

    def __init__(self, cache_mb: int = 512, lines: str | None = None, **common: Unpack[DataOptions]) -> None:
        super().__init__(**common)
        if cache_mb < 0:
            raise ConfigError(f"--data.cache_mb: expected at least 0, got {cache_mb}")
        self._memory, self._lines = cache_mb * 2**20, lines

    @abstractmethod
    def make_items(self) -> Items:
        """List the clips; none is decoded."""

    @cached_property
    def items(self) -> Items:
        """The clips, listed when first asked for, with the scan lines of the table."""
        items = self.make_items()
        if self._lines is None:
            return items
        table = read_lines(self._lines)
        table.check_names(item.name for part in items for item in part)
        return Items(*map(table.given_to, items))

    def check(self, stage: str | None = None) -> list[DataError]:
        """Return what is wrong with the table of scan lines; a subclass adds the faults of its files."""
        del stage
        try:
            if self._lines is not None:
                read_lines(self._lines)
        except DataError as error:
            return [error]
        return []

    def summary(self, stage: str = "fit") -> list[str]:
        """Return a line: how many clips for what."""
        del stage
        train, val, test = map(len, self.items[:3])
        return [f"{train} training clips; {val} for validation; {test} for test; lengths in mm"]

    def _clips(self, items: Sequence[Item], labels: bool = True) -> Clips:
        size = self.size if self.given_size or self.wants.size else None
        return Clips(items, size, labels, self._memory)

    @cached_property
    def _train(self) -> Clips:
        return self._clips(self.items.train)

    @cached_property
    def _val(self) -> Clips:
        return self._clips(self.items.val)

    def train_dataloader(self) -> ResumableLoader:
        """Load the training clips with labels, in an order drawn anew each epoch."""
        if not self.items.train:
            raise ConfigError(
                "there are no training clips: annotate some, lower --data.test_fraction, or leave --data.all_test off"
            )
        return self.train_loader(self._train, self._train.groups)

    def val_dataloader(self) -> Loader:
        """Load the validation clips with labels."""
        return self._in_order(self._val) if self.items.val else []

    def test_dataloader(self) -> Loader:
        """Load the test clips with labels."""
        return self._in_order(self._clips(self.items.test)) if self.items.test else []

    def predict_dataloader(self) -> DataLoader[Mapping[str, object]]:
        """Load the clips to predict, without labels."""
        return self._in_order(self._clips(self.items.predict or self.items.test, labels=False))

    def _in_order(self, clips: Clips) -> DataLoader[Mapping[str, object]]:
        return self.evaluation_loader(clips, clips.groups)


class PlaxPhantoms(EchoDataModule):
    """Drawn clips of the parasternal long axis, two key frames each; a code check, no claim about hearts.

    Training labels deviate from the truth as an annotator's would, by 1 mm along the wall and 0.5 mm across it; those
    of validation and test are exact.

    Args:
        n_train: Training clips.
        n_val: Validation clips.
        n_test: Test clips.
        image_size: Height and width of the drawn frames, one number for squares.
        frames: Frames of a clip.
        noise: How far training labels deviate from the truth, as a multiple.
        common: Options of all data of clips.
    """

    def __init__(
        self,
        n_train: int = 60,
        n_val: int = 8,
        n_test: int = 40,
        image_size: int | list[int] = 96,
        frames: int = 48,
        noise: float = 1.0,
        **common: Unpack[EchoOptions],
    ) -> None:
        super().__init__(**common)
        check_drawn(least=1, n_train=n_train)
        check_drawn(n_val=n_val, n_test=n_test)
        if not _LEAST <= frames <= _MOST:
            raise ConfigError(f"--data.frames: expected {_LEAST} to {_MOST}, got {frames}")
        if not 0 <= noise <= 10:
            raise ConfigError(f"--data.noise: expected 0 to 10, got {noise}")
        self._numbers, self._frames, self._noise = (n_train, n_val, n_test), frames, noise
        self._drawn = sides("data.image_size", image_size)
        check_area("data.image_size", self._drawn)

    def make_items(self) -> Items:
        """Number the patients; none is in two parts, and nothing is drawn yet."""
        parts = (tuple(self._item(part, number) for number in range(count)) for part, count in enumerate(self._numbers))
        return Items(*parts)

    def _item(self, part: int, number: int) -> Item:
        name = f"{_PARTS[part]}-{number:05d}"
        load = partial(_draw, (self.seed, part, number), self._drawn, self._frames, self._noise if part == 0 else 0.0)
        return Item(name, load, patient=name)


def _draw(seed: tuple[int, ...], size: tuple[int, int], frames: int, noise: float) -> Clip:
    drawn = plax_clip(seed, size, frames)
    rng = np.random.default_rng(derive_seed(84, *seed))
    spacing = np.array(drawn.spacing)
    lines = lines_through(drawn.points * spacing)  # mm
    across = lines[:, 1:] - lines[:, :1]
    across /= np.linalg.norm(across, axis=-1, keepdims=True)
    along = across[..., ::-1] * (1, -1)
    shift = _ALONG * rng.normal(size=(*drawn.points.shape[:2], 1)) * along
    shift += _ACROSS * rng.normal(size=(*drawn.points.shape[:2], 1)) * across
    points = drawn.points + noise * shift / spacing
    stored = np.round(drawn.clip * 255).astype(np.uint8)
    return Clip(
        stored, drawn.rate, drawn.spacing, drawn.keys, ("d", "s"), points, lines_through(points), np.zeros(2, bool)
    )
