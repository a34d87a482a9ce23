"""Random vectors with noise that is drawn anew each epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from medzoo.core.data.loaders import ResumableLoader
from medzoo.core.data.module import Loader, MedzooDataModule
from medzoo.core.errors import DataError
from medzoo.core.sample import Sample


class ToySample(Sample):
    """A vector and its sum."""

    x: Tensor
    """`(4,)` float32."""
    y: Tensor
    """`()` float32."""


class Points(Dataset[dict[str, Any]]):
    """Linear targets; index it with `(index, epoch)` for noisy inputs or with `index` for clean ones."""

    def __init__(self, n: int, seed: int, bad: int = -1) -> None:
        self.n, self.seed, self.bad = n, seed, bad

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        index, epoch = key if isinstance(key, tuple) else (key, None)
        x = np.random.default_rng((self.seed, index)).normal(size=4)
        y = float(x.sum())
        if index == self.bad and epoch is not None:
            y = float("nan")
        if epoch is not None:
            x = x + 0.1 * np.random.default_rng((self.seed, epoch, index)).normal(size=4)
        return {
            "x": torch.tensor(x, dtype=torch.float32),
            "y": torch.tensor(y, dtype=torch.float32),
            "id": f"point{index}",
            "path": "",
            "source": "toy",
        }


class ToyData(MedzooDataModule):
    """Vectors whose sum is to be found.

    Args:
        n: Samples to train on.
        batch_size: Samples a batch.
        n_test: Samples to test on.
        val: Validate too.
        n_val: Samples to validate on.
        num_workers: Loader processes.
        seed: Seed of samples and order.
        fault: Report this problem of the data before training; empty for none.
        bad: Index of a training sample with a target that is not a number; -1 for none.
    """

    sample = ToySample

    def __init__(
        self,
        n: int = 20,
        batch_size: int = 4,
        n_test: int = 13,
        val: bool = False,
        n_val: int = 7,
        num_workers: int = 0,
        seed: int = 0,
        fault: str = "",
        bad: int = -1,
    ) -> None:
        super().__init__(None, batch_size, num_workers, seed)
        self.n, self.n_test, self.val, self.n_val, self.fault, self.bad = n, n_test, val, n_val, fault, bad

    def check(self, stage: str | None = None) -> list[DataError]:
        return [DataError("toy.bin", self.fault, "make it anew")] if self.fault else []

    def train_dataloader(self) -> ResumableLoader:
        return self.train_loader(Points(self.n, self.seed, self.bad))

    def val_dataloader(self) -> Loader:
        return self.evaluation_loader(Points(self.n_val, self.seed + 1), batch_size=3) if self.val else []

    def test_dataloader(self) -> DataLoader[Any]:
        return self.evaluation_loader(Points(self.n_test, self.seed + 2), batch_size=4)

    def predict_dataloader(self) -> DataLoader[Any]:
        return self.test_dataloader()
