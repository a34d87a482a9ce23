"""A signal whose exception a library took for its own error stops the run all the same."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from medzoo.core.errors import Interrupted
from medzoo.core.runs.callbacks import StopSignals


class Swallows(LightningModule):
    """In its second batch it takes whatever is raised for an error of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def test_step(self, batch: torch.Tensor) -> None:
        self.seen += 1
        if self.seen == 2:
            with suppress(BaseException):
                signal.raise_signal(signal.SIGTERM)

    predict_step = test_step


def run(verb: str, model: Swallows, folder: Path) -> None:
    with StopSignals(folder) as signals:
        trainer = Trainer(accelerator="cpu", callbacks=[signals], default_root_dir=folder, logger=False)
        getattr(trainer, verb)(model, torch.utils.data.DataLoader(torch.zeros(6, 1)))


@pytest.mark.parametrize("verb", ["test", "predict"])
def test_a_swallowed_signal_stops_at_the_next_batch(verb: str, tmp_path: Path) -> None:
    model, before = Swallows(), signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted) as stopped:
        run(verb, model, tmp_path)
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    assert model.seen == 2
    assert signal.getsignal(signal.SIGTERM) is before
