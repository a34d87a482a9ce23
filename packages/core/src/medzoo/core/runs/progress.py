"""What waits until a training is under way."""

from __future__ import annotations

from collections.abc import Callable

from lightning.pytorch import Callback, LightningModule, Trainer


class OnceItTrains(Callback):
    """Call a function when a training begins, so after a checkpoint was found to fit model and optimiser.

    Args:
        then: What to do, once.
    """

    def __init__(self, then: Callable[[], None]) -> None:
        self.then: Callable[[], None] | None = then

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Do it."""
        if self.then is not None:
            self.then()
            self.then = None
