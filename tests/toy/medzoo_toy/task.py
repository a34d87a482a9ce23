"""The task of finding one number: what its models give, and how that is judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import MeanSquaredError

from medzoo.core.distributed import gather_all
from medzoo.core.sample import Batch
from medzoo.core.tasks.base import Evaluation, identity


@dataclass
class SumOutputs:
    """What a model gives for a batch.

    Attributes:
        sum: `(B,)`.
    """

    sum: Tensor


class SumEvaluation(Evaluation[SumOutputs]):
    """Mean squared error, and a row a vector."""

    def __init__(self, device: torch.device) -> None:
        self.mse = MeanSquaredError().to(device)
        self.tested: list[dict[str, Any]] = []

    def update(self, batch: Batch, outputs: SumOutputs) -> None:
        found = outputs.sum.detach()
        self.mse.update(found, batch["y"])
        for i, (value, error) in enumerate(zip(found.tolist(), (found - batch["y"]).abs().tolist(), strict=True)):
            self.tested.append({**identity(batch, i, batch["source"][i]), "prediction": value, "error": error})

    def compute(self) -> dict[str, Tensor]:
        self.tested = gather_all(self.tested)
        return {"toy/mse": self.mse.compute()}

    def rows(self) -> list[dict[str, Any]]:
        return self.tested
