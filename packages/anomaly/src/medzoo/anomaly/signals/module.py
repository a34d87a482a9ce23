"""The data module that all layouts of signals share: stretches of one length, rate and order of leads."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from medzoo.anomaly.signals.leads import STANDARD
from medzoo.anomaly.signals.prepare import (
    Record,
    Samples,
    chosen_leads,
    chosen_marks,
    filtered,
    r_peaks,
    resampled,
    without_gaps,
)
from medzoo.anomaly.signals.quality import remarks
from medzoo.core.data.loaders import ResumableLoader
from medzoo.core.data.module import Loader, MedzooDataModule
from medzoo.core.data.wants import Wants
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.sample import SignalSample

RATE, SECONDS = 500.0, 9.6
"""What a network sees where neither model nor options say."""


@dataclass(frozen=True)
class Item:
    """A stretch of a record that is read when it is needed.

    Attributes:
        id: Name, unique in its source.
        patient: Whose it is.
        load: Reads the record.
        path: File; empty for a phantom.
        label: 1 where it is abnormal.
        kind: What is wrong with it.
        labels: Of each class 1, 0 or NaN where it was not looked for; None where only `label` is asked for.
        source: Data set it belongs to.
        start: Seconds from the beginning of the record; None takes the middle.
    """

    id: str
    patient: str
    load: Callable[[], Record]
    path: str = ""
    label: int = 0
    kind: str = ""
    source: str = "ecg"
    start: float | None = None
    labels: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Items:
    """The stretches of a data set by use; those to train on are normal, or have labels for a model that wants them."""

    train: tuple[Item, ...] = ()
    val: tuple[Item, ...] = ()
    test: tuple[Item, ...] = ()
    predict: tuple[Item, ...] = ()


class SignalDataset(Dataset[dict[str, object]]):
    """Stretches as the network sees them; index with `(index, epoch)` or an integer.

    Args:
        items: What to read.
        leads: Names to have, in order; empty: those of each record.
        rate: Samples a second to have.
        samples: Length to have.
        band: Filter, see `prepare.filtered`.
        cache_mb: Megabytes for stretches that were read.
        truth: Whether samples have `label`, `kind` and `mask`.
    """

    def __init__(
        self,
        items: Sequence[Item],
        leads: Sequence[str],
        rate: float,
        samples: int,
        band: Sequence[float],
        cache_mb: int,
        truth: bool = True,
    ) -> None:
        self.items, self.leads, self.rate, self.samples = items, tuple(leads), rate, samples
        self.band, self.truth = band, truth
        self.room = cache_mb * 2**20
        self.kept: dict[int, dict[str, object]] = {}

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, object]:
        index = key if isinstance(key, int) else key[0]
        if index in self.kept:
            return dict(self.kept[index])
        sample = self._read(self.items[index])
        size = sum(value.nbytes for value in sample.values() if isinstance(value, Tensor))
        if size <= self.room:
            self.room -= size
            self.kept[index] = sample
        return dict(sample)

    def _read(self, item: Item) -> dict[str, object]:
        record, place = item.load(), item.path or item.id
        leads = self.leads or record.leads
        signal = chosen_leads(record.signal, record.leads, leads, place)
        seconds = self.samples / self.rate
        length = round(seconds * record.rate)
        spare = signal.shape[1] - length
        if spare < 0:
            have = signal.shape[1] / record.rate
            raise DataError(place, f"has {have:.2f} s, expected at least {seconds:.2f} s", "leave this record out")
        first = spare // 2 if item.start is None else min(spare, round(item.start * record.rate))
        part = slice(first, first + length)
        signal = without_gaps(signal, record.rate, leads, place, part)
        still = ~np.ptp(signal[:, part], axis=1).astype(bool)
        if still.all() and item.start is None:
            raise DataError(place, "is flat in all leads in its middle", "leave this record out")
        signal = filtered(signal, record.rate, self.band)[:, part]
        signal[still] = signal[still, :1]  # what a filter leaves there is no signal to be scaled
        if record.beats is None:
            beats = r_peaks(_rhythm_lead(signal, leads), record.rate)
        else:
            beats = record.beats[(record.beats >= first) & (record.beats < first + length)] - first
        sample: dict[str, object] = {
            "signal": torch.from_numpy(resampled(signal, record.rate, self.rate, self.samples)),
            "rate": float(self.rate),
            "leads": list(leads),
            "beats": _beats_at(beats, self.rate / record.rate, self.samples),
            "notes": remarks(record.signal[:, part], record.rate, record.leads, leads, len(beats)),
            "start": first / record.rate,
            "original_rate": float(record.rate),
            "original_length": length,
            "age": float(record.age),
            "sex": float(record.sex),
            "groups": _groups(record),
            "id": item.id,
            "path": item.path,
            "source": item.source,
            "domain": 0,
            "patient": item.patient,
        }
        if self.truth:
            label = torch.tensor(item.label) if item.labels is None else torch.tensor(item.labels)
            sample |= {"label": label, "kind": item.kind}
            if record.mask is not None:
                marks = chosen_marks(record.mask, record.leads, leads, place)
                sample["mask"] = torch.from_numpy(np.ascontiguousarray(marks[:, part]))
        return sample


def _rhythm_lead(signal: Samples, leads: Sequence[str]) -> Samples:
    """Return the lead in which R peaks are looked for: II, or the first; another where that one is flat."""
    order = sorted(range(len(leads)), key=lambda row: leads[row].casefold() not in ("ii", "mlii"))
    found: Samples = signal[next((row for row in order if np.ptp(signal[row])), order[0])]
    return found


def _beats_at(beats: NDArray[np.int64], factor: float, samples: int) -> Tensor:
    return torch.from_numpy(np.minimum(np.rint(beats * factor).astype(np.int64), samples - 1))


def _groups(record: Record) -> dict[str, int]:
    """Return sex, and the age band (below 40, below 60, below 75, above), −1 where unknown."""
    band = -1 if np.isnan(record.age) else int(np.searchsorted((40, 60, 75), record.age, side="right"))
    return {"sex": -1 if np.isnan(record.sex) else int(record.sex), "age_band": band}


class SignalDataModule(MedzooDataModule):
    """Base of the data modules of signals: subclasses list the stretches, everything else is here.

    Args:
        rate: Samples a second that the network sees; empty: what the model asks for.
        seconds: Length of a stretch; empty: what the model asks for.
        leads: Names of the leads in the order that the network sees; missing limb leads are computed from others.
            Empty: those that the model was trained with, or else those of the data.
        band: Lower and upper limit in Hz of a zero-phase filter, 0 for none; the lower one spares the ST segment
            best at 0.05 and removes more of a wandering baseline at 0.5.
        batch_size: Records a batch; empty: what the model asks for.
        num_workers: Processes that load records; results do not depend on their number.
        seed: Seed of splits, draws and order.
        cache_mb: Megabytes for records that were read.
    """

    sample = SignalSample
    batch = 16

    def __init__(
        self,
        rate: float | None = None,
        seconds: float | None = None,
        leads: list[str] | None = None,
        band: list[float] = [0.5, 40.0],  # noqa: B006 - a parser wants JSON-like defaults, never changed
        batch_size: int | None = None,
        num_workers: int = 0,
        seed: int = 0,
        cache_mb: int = 512,
    ) -> None:
        super().__init__(None, batch_size, num_workers, seed)
        for option, value in (("rate", rate), ("seconds", seconds)):
            if value is not None and not 0 < value <= 10_000:
                raise ConfigError(f"--data.{option}: expected more than 0 and at most 10000, got {value}")
        if len(band) not in (0, 2) or any(limit < 0 for limit in band) or (band and 0 < band[1] <= band[0]):
            raise ConfigError(f"--data.band: expected two limits in Hz such as [0.5, 40], or [], got {band}")
        self._rate, self._seconds, self._leads = rate, seconds, leads
        self._band, self._cache_mb = tuple(band), cache_mb
        self._found: dict[Wants, Items] = {}

    @abstractmethod
    def make_items(self) -> Items:
        """List the stretches without reading a signal.

        Raises:
            DataError: A file is missing or has another layout.
        """

    @property
    def items(self) -> Items:
        """The stretches; folders are looked at when it is first asked for, again by a model with other wishes."""
        asked = self.wants
        if asked not in self._found:
            self._found[asked] = self.make_items()
        return self._found[asked]

    @property
    def standard(self) -> tuple[str, ...]:
        """Leads that the network sees where neither option nor model say; empty takes those of each record."""
        return STANDARD

    def check(self, stage: str | None = None) -> list[DataError]:
        """List the stretches, which reads tables, headers and annotations."""
        del stage
        try:
            _ = self.items
        except DataError as error:
            return [error]
        return []

    def dataset(self, items: Sequence[Item], truth: bool = True) -> SignalDataset:
        """Return stretches as the model asks for them.

        Raises:
            ConfigError: The option `rate` is not the rate that the model is made for.
        """
        asked, rate = self.wants.size, self._rate or self.wants.rate or RATE
        if rate != (self.wants.rate or rate):
            known = f"the model sees {self.wants.rate:g} samples a second, got {rate:g}"
            raise ConfigError(f"--data.rate: {known}; leave it out, or give --model.rate too")
        samples = round(self._seconds * rate) if self._seconds else asked[-1] if asked else round(SECONDS * rate)
        leads = tuple(self._leads or self.wants.leads or self.standard)
        return SignalDataset(items, leads, rate, samples, self._band, self._cache_mb, truth)

    def train_dataloader(self) -> ResumableLoader:
        """Load stretches to train on, with labels where the model wants them, in an order of seed and epoch alone."""
        if not self.items.train:
            raise ConfigError("there are no training records; give normal ones, and no --data.all_test")
        return self.train_loader(self.dataset(self.items.train, truth=self.wants.labels))

    def val_dataloader(self) -> Loader:
        """Load the stretches to validate on."""
        return self._whole(self.items.val)

    def test_dataloader(self) -> Loader:
        """Load the stretches to test on."""
        return self._whole(self.items.test)

    def predict_dataloader(self) -> Loader:
        """Load the stretches to predict."""
        return self._whole(self.items.predict or self.items.test)

    def _whole(self, items: Sequence[Item]) -> Loader:
        return self.evaluation_loader(self.dataset(items)) if items else []

    def summary(self, stage: str = "fit") -> list[str]:
        """Return the number of stretches of each use."""
        del stage
        items = self.items
        abnormal = sum(item.label for item in items.test)
        counts = f"{len(items.train)} to train on, {len(items.val)} to validate on, {len(items.test)} to test on"
        return [f"records: {counts} ({abnormal} abnormal)"]
