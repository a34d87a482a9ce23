"""The base of medzoo's methods: a LightningModule that declares what it needs and which files it writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Never

from lightning.pytorch import LightningModule
from torch import Tensor

from medzoo.core.data.wants import Wants
from medzoo.core.sample import Batch
from medzoo.core.tasks.base import Evaluation, Prediction


class Method(LightningModule):
    """A LightningModule with the few hooks that `medzoo fit` uses; every one has a working default.

    A method in several stages lists them in `stages` and takes an `__init__` argument `stage`, which is `"all"` or one
    of them. With `"all"` the command line trains stage after stage: it builds the class with `stage` set, fits and
    tests it, calls `hand_over`, and builds the next stage with what that returned. From Python, fit each stage with a
    `Trainer`.

    Conventions: `__init__` arguments are JSON-like (numbers, strings, lists, None) and saved by `save_hyperparameters`;
    losses are logged as `train/<name>`. A method gives `outputs(batch)` and the evaluation of its task; the steps of
    validation, test and prediction are here.
    All that training changes (a teacher's weights, a memory) lies in `state_dict` and changes in `training_step` or
    `on_before_zero_grad`: the module's `on_train_batch_end` comes after the checkpoint of the step.
    """

    stages: ClassVar[tuple[str, ...]] = ()
    """Names of the stages in order; empty for a method with one."""

    prefixes: ClassVar[dict[str, str]] = {}
    """What the options of each stage begin with, where the stages have their own; see `stage_hparam`."""

    stage: str = ""
    """The stage that is trained or used, for a method with several."""

    of_weights: ClassVar[tuple[str, ...]] = ()
    """Options that a new model leaves open and without which its weights mean nothing, such as a vocabulary."""

    monitor: ClassVar[str] = "train/loss"
    """Logged value whose minimum (with `monitor_mode = "max"`, maximum) marks `best.ckpt`. Never a test value."""

    monitor_mode: ClassVar[str] = "min"

    trains_in_parts: ClassVar[bool] = False
    """A step may leave parameters without gradient, such as those of other domains; several processes must know it."""

    keeps_large_blocks: ClassVar[bool] = True
    """Freed memory is kept for the next step, blocks above 32 MiB too; not wise for volumes, whose sizes all differ."""

    trainable: ClassVar[bool] = True
    """Whether the method has optimiser steps; otherwise it looks at its data once, or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.evaluation: Evaluation[Never] | None = None
        """That of the running or last validation or test."""

    @property
    def known_sources(self) -> tuple[str, ...]:
        """What a sample's `source` may be, such as the anatomies that the model finds points in; empty: anything."""
        return ()

    def wants(self) -> Wants:
        """Return what the method (its current stage) asks of its data."""
        return Wants(trains=self.trainable)

    def outputs(self, batch: Batch) -> Any:
        """Return what the model gives for a batch: the outputs of its task, with gradients to the batch's images.

        Test, validation and prediction, attacks and export start from it; a method with steps of its own for these
        need not have it.
        """
        raise NotImplementedError(f"{type(self).__name__} has no outputs(batch)")

    def new_evaluation(self, stage: Literal["validate", "test"]) -> Evaluation[Never] | None:
        """Return a fresh evaluation for the data of the trainer; None where the method has test steps of its own."""
        return None

    def predictions(self, batch: Batch, outputs: Any) -> list[Prediction]:
        """Return the answers of a batch, in the geometry of the originals."""
        raise NotImplementedError(f"{type(self).__name__} has no predictions(batch, outputs)")

    def validation_scores(self, scores: Mapping[str, float | Tensor]) -> dict[str, float | Tensor]:
        """Choose what a validation logs, as `val/<name>`; one of them may be the `monitor`."""
        return dict(scores)

    def option(self, name: str) -> str:
        """Return the name of an `__init__` argument in the current stage: `match_lr` for `lr` where it has its own."""
        own = self.prefixes.get(self.stage, "") + name
        return own if own in self.hparams else name

    def stage_hparam(self, name: str) -> Any:
        """Return an `__init__` argument, that of the current stage where it has its own; None where there is none."""
        return self.hparams.get(self.option(name))

    @property
    def max_epochs(self) -> int | None:
        """Epochs that the method (its current stage) asks for where `--trainer.max_epochs` is not given."""
        epochs: int | None = self.stage_hparam("epochs")
        return epochs

    @property
    def max_steps(self) -> int | None:
        """Steps that the method asks for instead of epochs, so that a small data set trains as long as a large one."""
        steps: int | None = self.stage_hparam("steps")
        return steps

    def hand_over(self, folder: Path) -> dict[str, object]:
        """Write what the next stage needs into `folder` and return that stage's `__init__` arguments.

        Called after the stage's fit, on every process, with the trainer attached and the module in evaluation mode.

        Args:
            folder: Folder of the finished stage.
        """
        del folder
        return {}

    def initial_weights(self, weights: Mapping[str, Tensor], settings: Mapping[str, object]) -> Mapping[str, Tensor]:
        """Return the weights of another training under the names that this model has for them; see `--init_from`.

        Args:
            weights: Its tensors by name.
            settings: Its `__init__` arguments.
        """
        del settings
        return weights

    def on_validation_start(self) -> None:
        """Begin an evaluation."""
        self.evaluation = self.new_evaluation("validate")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Judge a batch."""
        if self.evaluation is not None:
            self.evaluation.update(batch, self.outputs(batch))

    def on_validation_epoch_end(self) -> None:
        """Log what `validation_scores` chooses."""
        if self.evaluation is not None:
            scores = self.validation_scores(self.evaluation.compute())
            self.evaluation = None
            self.log_dict({f"val/{name}": value for name, value in scores.items()})

    def on_test_start(self) -> None:
        """Begin an evaluation."""
        self.evaluation = self.new_evaluation("test")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Judge a batch."""
        if self.evaluation is None:
            raise NotImplementedError(f"{type(self).__name__} has neither new_evaluation() nor a test_step")
        self.evaluation.update(batch, self.outputs(batch))

    def on_test_epoch_end(self) -> None:
        """Log all figures."""
        if self.evaluation is not None:
            self.log_dict(dict(self.evaluation.compute()))

    def predict_step(self, batch: Batch, batch_idx: int) -> list[Prediction]:
        """Return the answers of a batch; nothing is written here, `medzoo predict` saves them as they come."""
        return self.predictions(batch, self.outputs(batch))

    def report(self, folder: Path) -> None:
        """Write tables (`samples.csv`, a row a sample) and figures after a test; called on the first process only.

        Args:
            folder: The run folder (of this stage).
        """
        if self.evaluation is not None:
            self.evaluation.report(folder)

    def report_predictions(self, records: list[dict[str, object]], folder: Path) -> None:
        """Write a table beside `predictions.json`; called on the first process, with the trainer attached.

        Args:
            records: Of all samples, as `predict_step` returned them, with what saving added.
            folder: The run folder.
        """
