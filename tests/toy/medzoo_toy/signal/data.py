"""Noisy waves of unequal length."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from medzoo.core.data.loaders import ResumableLoader
from medzoo.core.data.module import MedzooDataModule
from medzoo.core.sample import Rule, Sample


class SignalSample(Sample):
    """A signal and the number that is to be found."""

    signal: Annotated[Tensor, Rule.PAD]
    """`(L, 1)` float32, of any length."""
    amplitude: float


class Waves(Dataset[dict[str, Any]]):
    """Index it with `(index, epoch)` or with `index`."""

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.seed = n, seed

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        index, epoch = key if isinstance(key, tuple) else (key, 0)
        rng = np.random.default_rng((self.seed, index))
        amplitude, length = float(rng.uniform(0.5, 2)), int(rng.integers(12, 30))
        wave = amplitude * np.sin(np.arange(length)) + 0.05 * np.random.default_rng((self.seed, index, epoch)).normal(
            size=length
        )
        return {
            "signal": torch.tensor(wave[:, None], dtype=torch.float32),
            "amplitude": amplitude,
            "id": f"wave{index}",
            "path": "",
            "source": "waves",
        }


class Signals(MedzooDataModule):
    """Noisy waves.

    Args:
        n: Waves to train on.
        n_test: Waves to test on.
        batch_size: Waves a batch.
        num_workers: Loader processes.
        seed: Seed of waves and order.
    """

    sample = SignalSample

    def __init__(self, n: int = 32, n_test: int = 7, batch_size: int = 4, num_workers: int = 0, seed: int = 0) -> None:
        super().__init__(None, batch_size, num_workers, seed)
        self.n, self.n_test = n, n_test

    def train_dataloader(self) -> ResumableLoader:
        return self.train_loader(Waves(self.n, self.seed))

    def test_dataloader(self) -> DataLoader[Any]:
        return self.evaluation_loader(Waves(self.n_test, self.seed + 1))

    def predict_dataloader(self) -> DataLoader[Any]:
        return self.test_dataloader()
