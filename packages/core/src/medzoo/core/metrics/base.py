"""What the metrics of all packages have in common; the conventions stand in the package's docstring."""

from __future__ import annotations

from torchmetrics import Metric


class DataSetMetric(Metric):
    """A metric of a whole data set, read once after all updates."""

    full_state_update: bool | None = False
    is_differentiable: bool | None = False
    higher_is_better: bool | None = None

    @property
    def update_called(self) -> bool:
        """True always: torchmetrics uses it only to warn of `compute` on no data, which is NaN here and may happen."""
        return True
