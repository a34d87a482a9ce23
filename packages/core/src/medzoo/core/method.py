"""The base of medzoo's methods: a LightningModule that tells the command line what it needs and leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch import LightningModule


class Method(LightningModule):
    """A LightningModule with the few hooks that `medzoo fit` uses; every one has a working default.

    A method in several stages lists them in `stages` and takes an `__init__` argument `stage`, which is `"all"` or one
    of them. With `"all"` the command line trains stage after stage: it builds the class with `stage` set, fits and
    tests it, calls `hand_over`, and builds the next stage with what that returned. From Python, fit each stage with a
    `Trainer`.

    Conventions: `__init__` arguments are JSON-like (numbers, strings, lists, None) and saved by `save_hyperparameters`;
    losses are logged as `train/<name>`, results in `test_step` as torchmetrics objects or at the end of the test epoch.
    All that training changes (a teacher's weights, a memory) lies in `state_dict` and changes in `training_step` or
    `on_before_zero_grad`: the module's `on_train_batch_end` comes after the checkpoint of the step.
    """

    stages: ClassVar[tuple[str, ...]] = ()
    """Names of the stages in order; empty for a method with one."""

    monitor: ClassVar[str] = "train/loss"
    """Logged value whose minimum (with `monitor_mode = "max"`, maximum) marks `best.ckpt`. Never a test value."""

    monitor_mode: ClassVar[str] = "min"

    trains_in_parts: ClassVar[bool] = False
    """A step may leave parameters without gradient, such as those of other domains; several processes must be told."""

    keeps_large_blocks: ClassVar[bool] = True
    """Freed memory is kept for the next step, blocks above 32 MiB too; not wise for volumes, whose sizes all differ."""

    @property
    def input_size(self) -> tuple[int, ...] | None:
        """Size `(H, W)` of the images that the network wants; `None` leaves them as they are."""
        return None

    @property
    def batch_size(self) -> int | None:
        """Images a batch that the method asks for where the data module is not told one."""
        return None

    @property
    def max_epochs(self) -> int | None:
        """Epochs that the method (its current stage) asks for where `--trainer.max_epochs` is not given."""
        return None

    @property
    def max_steps(self) -> int | None:
        """Steps that the method asks for instead of epochs, so that a small data set trains as long as a large one."""
        return None

    def hand_over(self, folder: Path) -> dict[str, Any]:
        """Write what the next stage needs into `folder` and return that stage's `__init__` arguments.

        Called after the stage's fit, on every process, with the trainer attached and the module in evaluation mode.

        Args:
            folder: Folder of the finished stage.
        """
        del folder
        return {}

    def report(self, folder: Path) -> None:
        """Write figures (`folder/figures/*.png`) and tables after a test; called on the first process only.

        Args:
            folder: The run folder (of this stage).
        """

    def report_predictions(self, records: list[dict[str, Any]], folder: Path) -> None:
        """Write tables and figures beside `predictions.json`; called on the first process, with the trainer attached.

        Args:
            records: The records of all images, as `predict_step` returned them.
            folder: The run folder.
        """
