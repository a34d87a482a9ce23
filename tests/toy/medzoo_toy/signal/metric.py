"""A metric of the task."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class MeanRelativeError(Metric):
    """Mean of |found − true| / |true|."""

    total: Tensor
    count: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, found: Tensor, true: Tensor) -> None:
        """Add values `(B,)`."""
        self.total += ((found - true).abs() / true.abs()).double().sum()
        self.count += len(true)

    def compute(self) -> Tensor:
        """Return the mean."""
        return (self.total / self.count).float()
