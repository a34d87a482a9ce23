"""The base of medzoo's data modules: options that all have, one check of the files, loaders that resume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from functools import partial
from typing import ClassVar, cast

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from medzoo.core.data.loaders import EpochBatches, ResumableLoader, evaluation_loader, shuffled_batches
from medzoo.core.data.wants import Wants
from medzoo.core.errors import ConfigError, DataError, raise_all
from medzoo.core.sample import Batch, Sample
from medzoo.core.sides import check_area, sides

Loader = DataLoader[Mapping[str, object]] | list[Batch]
"""A loader; an empty list where there is nothing to load."""


MOST_WORKERS, MOST_DRAWN = 128, 10_000


class MedzooDataModule(LightningDataModule):
    """A LightningDataModule whose samples follow `medzoo.core.sample`; a subclass finds the files and makes data sets.

    Order and augmentation depend on (seed, epoch, index) alone. Samples keep the geometry of the original image.

    Args:
        size: Height and width that the network sees, one number for a square; empty: what the model asks for.
        batch_size: Samples a batch; empty: what the model asks for.
        num_workers: Processes that load samples; results do not depend on their number.
        seed: Seed of splits, draws and order.
    """

    sample: ClassVar[type] = Sample
    """The `TypedDict` of its samples, which says how they become a batch."""
    train_sample: ClassVar[type | None] = None
    """That of samples to train on, where they have other keys."""
    batch: ClassVar[int] = 8
    """Samples a batch where neither an option nor the model says."""

    def __init__(
        self,
        size: int | list[int] | None = None,
        batch_size: int | None = None,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)  # Lightning refuses to log options that a model has too
        check_loading(batch_size, num_workers, seed)
        self.given_size = None if size is None else sides("data.size", size)
        check_area("data.size", self.given_size or (1, 1))
        self.given_batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.checked: set[str] = set()
        """Stages whose files were found sound by who runs them, so that `setup` need not look again."""

    @property
    def wants(self) -> Wants:
        """What the model that is trained, tested or predicts asks for; without one, or of another library, nothing."""
        wants = getattr(getattr(self.trainer, "lightning_module", None), "wants", None)
        return wants() if callable(wants) else Wants()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that the network sees: the option, else what the model asks for.

        Raises:
            ConfigError: Neither is known, the model takes volumes, or it asks for more than 4096² pixels.
        """
        size = self.given_size or self.wants.size
        if size is None:
            raise ConfigError("--data.size: the model names no input size; give one, such as 256 or [384, 320]")
        if len(size) != 2:
            raise ConfigError(f"--model: this data holds images, but the model takes volumes of size {tuple(size)}")
        check_area("model.size", size)
        return int(size[0]), int(size[1])

    @property
    def samples_a_batch(self) -> int:
        """Samples a batch: the option, else what the model asks for, else `batch`."""
        asked = self.given_batch_size or self.wants.batch_size or self.batch
        if asked < 1:
            raise ConfigError(f"--model.batch: expected at least 1, got {asked}")
        return asked

    def check(self, stage: str | None = None) -> list[DataError]:
        """Return everything that is wrong with the files of a stage, as far as headers and label files show.

        Args:
            stage: `"fit"`, `"validate"`, `"test"` or `"predict"`; None checks all there is.
        """
        del stage
        return []

    def setup(self, stage: str) -> None:
        """Check the files of the stage, where nobody has done so.

        Raises:
            DataError: There is one fault.
            DataErrors: There are several.
        """
        if stage not in self.checked:
            raise_all(self.check(stage))

    def summary(self, stage: str = "fit") -> list[str]:
        """Return what there is, a line for each source."""
        del stage
        return []

    def train_loader(
        self, dataset: Dataset[Mapping[str, object]], groups: Sequence[int] | None = None
    ) -> ResumableLoader:
        """Load a data set that is indexed with `(index, epoch)`, in an order drawn anew each epoch.

        Args:
            dataset: What to train on.
            groups: Source of each sample; samples of different ones never share a batch.
        """
        groups = [0] * len(cast(Sized, dataset)) if groups is None else groups
        plan = partial(shuffled_batches, groups, self.samples_a_batch, self.seed)
        return ResumableLoader(dataset, EpochBatches(plan), self.num_workers, self.train_sample or self.sample)

    def evaluation_loader(
        self, dataset: Dataset[Mapping[str, object]], groups: Sequence[int] | None = None, batch_size: int | None = None
    ) -> DataLoader[Mapping[str, object]]:
        """Load every sample of a data set once over all processes, in order, each batch of one source."""
        size = batch_size or self.samples_a_batch
        return evaluation_loader(dataset, size, groups, self.num_workers, self.sample)


def check_loading(batch_size: int | None, num_workers: int, seed: int) -> None:
    """Check the options of loading that all data modules have.

    Raises:
        ConfigError: A batch is empty, a seed below zero, or there are more processes than a machine can bear.
    """
    if batch_size is not None and batch_size < 1:
        raise ConfigError(f"--data.batch_size: expected at least 1, got {batch_size}")
    if not 0 <= num_workers <= MOST_WORKERS:
        raise ConfigError(f"--data.num_workers: expected 0 to {MOST_WORKERS}, got {num_workers}")
    if seed < 0:
        raise ConfigError(f"--data.seed: expected at least 0, got {seed}")


def check_drawn(least: int = 0, **numbers: int) -> None:
    """Check how many pictures a data module is to draw: any number costs a file nothing, a picture a second or so.

    Args:
        least: The smallest number allowed.
        numbers: The options by name.

    Raises:
        ConfigError: One is smaller, or larger than 10,000.
    """
    for option, value in numbers.items():
        if not least <= value <= MOST_DRAWN:
            raise ConfigError(f"--data.{option}: expected at least {least} and at most {MOST_DRAWN}, got {value}")
