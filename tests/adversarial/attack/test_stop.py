"""A signal ends an attack: alone, Lightning takes no notice of SIGTERM in a test."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch.utils.data import TensorDataset

from medzoo.adversarial.attack import command
from medzoo.adversarial.attack.looking import looked_at
from medzoo.core.errors import Interrupted


def six() -> LightningDataModule:
    return LightningDataModule.from_datasets(test_dataset=TensorDataset(torch.zeros(6, 1)))


class Counts(LightningModule):
    """Looks at batches."""

    seen = 0

    def test_step(self, batch: list[torch.Tensor]) -> None:
        self.seen += 1


class Signals(Callback):
    """Sends a signal in the second batch."""

    def __init__(self, signum: signal.Signals) -> None:
        self.signum = signum

    def on_test_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        if getattr(pl_module, "seen") == 1:  # noqa: B009 - a count of this test's own model
            signal.raise_signal(self.signum)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("gradients", [True, False])
def test_a_signal_ends_it_at_once(signum: signal.Signals, gradients: bool, tmp_path: Path) -> None:
    model, before = Counts(), signal.getsignal(signum)
    with pytest.raises(Interrupted) as stopped:
        looked_at(model, six(), Signals(signum), tmp_path, None, gradients)
    assert stopped.value.exit_code == 128 + signum
    assert model.seen == 1
    assert signal.getsignal(signum) is before


def test_batches_are_limited_and_verbs_build_no_trainer_of_their_own(tmp_path: Path) -> None:
    model = Counts()
    looked_at(model, six(), Callback(), tmp_path, 4, True)
    assert model.seen == 4
    sources = Path(command.__file__).parents[1].rglob("*.py")
    assert [s.name for s in sources if "Trainer(\n" in s.read_text(encoding="utf-8")] == ["looking.py"]
