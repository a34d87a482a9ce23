"""Dropout, batch normalisation, a schedule, and two optimisers on demand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from medzoo.core.method import Method
from medzoo.core.sample import Batch
from medzoo.core.tasks.base import Prediction
from medzoo_toy.task import SumEvaluation, SumOutputs


class Toy(Method):
    """Finds the sum of a vector.

    Args:
        width: Hidden units.
        lr: Learning rate.
        two_optimizers: Optimise by hand, with one optimiser for each layer.
        explode: Multiply the loss by infinity at this step; -1 for never.
        steep: Give the loss a gradient that is not a number at this step, while it is finite itself; -1 for never.
        noisy_validation: Draw noise in validation steps.
        steps_log: Log in evaluation steps too: a maximum over all processes, and a value that is not gathered.
        steps_average: Log a mean over all processes in evaluation steps.
    """

    def __init__(
        self,
        width: int = 8,
        lr: float = 0.01,
        two_optimizers: bool = False,
        explode: int = -1,
        steep: int = -1,
        noisy_validation: bool = False,
        steps_log: bool = False,
        steps_average: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr, self.explode, self.steep, self.noisy_validation = lr, explode, steep, noisy_validation
        self.steps_log, self.steps_average = steps_log, steps_average
        self.automatic_optimization = not two_optimizers
        self.first = nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.2))
        self.second = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))[:, 0]  # (B, 4) -> (B,)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        loss = ((self(batch["x"]) - batch["y"]) ** 2).mean()
        if self.global_step == self.explode:
            loss = loss * float("inf")
        if self.global_step == self.steep:
            loss = loss + (self.second.weight * 0).sum().sqrt()  # 0, with a slope of 0 / 0
        self.log("train/loss", loss)
        if self.automatic_optimization:
            return loss
        optimizers = self.optimizers()
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in optimizers:
            optimizer.step()
        return None

    def outputs(self, batch: Batch) -> SumOutputs:
        return SumOutputs(self(batch["x"]))

    def new_evaluation(self, stage: Literal["validate", "test"]) -> SumEvaluation:
        return SumEvaluation(self.device)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        super().test_step(batch, batch_idx)
        self.log_step("toy", batch)

    def log_step(self, name: str, batch: Batch) -> None:
        if self.steps_average:
            self.log(f"{name}/mean", batch["y"].mean(), sync_dist=True, batch_size=len(batch["y"]))
        if self.steps_log:
            self.log(f"{name}/largest", batch["y"].max(), sync_dist=True, reduce_fx="max", batch_size=len(batch["y"]))
            self.log(f"{name}/plain", batch["y"].sum(), batch_size=len(batch["y"]))

    def validation_scores(self, scores: Mapping[str, float | Tensor]) -> dict[str, float | Tensor]:
        return {"mse": scores["toy/mse"]}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        outputs = self.outputs(batch)
        if self.noisy_validation:
            outputs.sum = outputs.sum + torch.randn_like(outputs.sum)
        assert self.evaluation is not None
        self.evaluation.update(batch, outputs)
        self.log_step("val", batch)

    def predictions(self, batch: Batch, outputs: SumOutputs) -> list[Prediction]:
        pairs = zip(batch["id"], outputs.sum.tolist(), strict=True)
        return [Prediction({"id": name, "path": "", "sum": value}) for name, value in pairs]

    def configure_optimizers(self) -> Any:
        if not self.automatic_optimization:
            return [
                torch.optim.SGD(self.first.parameters(), self.lr),
                torch.optim.Adam(self.second.parameters(), self.lr),
            ]
        optimizer = torch.optim.Adam(self.parameters(), self.lr)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.9)}

    def report(self, folder: Path) -> None:
        super().report(folder)
        (folder / "report.txt").write_text("tested\n")
