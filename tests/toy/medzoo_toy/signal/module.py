"""A task that core does not know: one number from a signal; its outputs, its evaluation and a method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from medzoo_toy.signal.metric import MeanRelativeError
from torch import Tensor, nn

from medzoo.core.distributed import gather_all
from medzoo.core.method import Method
from medzoo.core.sample import Batch
from medzoo.core.tasks.base import Evaluation, Prediction, identity


@dataclass
class NumberOutputs:
    """What a model gives for a batch.

    Attributes:
        number: `(B,)`.
    """

    number: Tensor


class NumberEvaluation(Evaluation[NumberOutputs]):
    """Mean relative error, and a row a signal."""

    def __init__(self, device: torch.device) -> None:
        self.error = MeanRelativeError().to(device)
        self.tested: list[dict[str, Any]] = []

    def update(self, batch: Batch, outputs: NumberOutputs) -> None:
        found, true = outputs.number.detach(), batch["amplitude"]
        self.error.update(found, true)
        for i, (value, error) in enumerate(zip(found.tolist(), (found - true).abs().tolist(), strict=True)):
            row = {**identity(batch, i, batch["source"][i]), "length": int(batch["signal_length"][i])}
            self.tested.append({**row, "prediction": value, "error": error})

    def compute(self) -> dict[str, Tensor]:
        self.tested = gather_all(self.tested)
        return {"waves/mean_relative_error": self.error.compute()}

    def rows(self) -> list[dict[str, Any]]:
        return self.tested


class SignalMean(Method):
    """A convolution, and the mean over the signal's own length.

    Args:
        width: Channels.
        lr: Learning rate.
    """

    def __init__(self, width: int = 8, lr: float = 0.01) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.first, self.last = nn.Conv1d(1, width, 3, padding=1), nn.Linear(width, 1)

    def forward(self, signal: Tensor, length: Tensor) -> Tensor:
        inside = torch.arange(signal.shape[1], device=signal.device) < length[:, None]  # (B, L)
        seen = self.first(signal.transpose(1, 2)).square() * inside[:, None]  # (B, C, L)
        return self.last(seen.sum(dim=2) / length[:, None])[:, 0]

    def outputs(self, batch: Batch) -> NumberOutputs:
        return NumberOutputs(self(batch["signal"], batch["signal_length"]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = (self.outputs(batch).number - batch["amplitude"]).square().mean()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), self.lr)

    def new_evaluation(self, stage: Literal["validate", "test"]) -> NumberEvaluation:
        return NumberEvaluation(self.device)

    def predictions(self, batch: Batch, outputs: NumberOutputs) -> list[Prediction]:
        pairs = zip(batch["id"], outputs.number.tolist(), strict=True)
        return [Prediction({"id": name, "path": "", "amplitude": value}) for name, value in pairs]
