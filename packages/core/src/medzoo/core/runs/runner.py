"""Fit, validate, test and predict: stage after stage, each resumable, with what it leaves in the run folder."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy

from medzoo.core.data.module import MedzooDataModule
from medzoo.core.distributed import is_first_process, print_once
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io import read_object, write_json
from medzoo.core.method import Method
from medzoo.core.runs.bar import TrainingBar
from medzoo.core.runs.callbacks import LAST, EpochTable, FiniteGuard, RunCheckpoints, StepSeed, StopSignals
from medzoo.core.runs.fits import ResumeFits
from medzoo.core.runs.folder import remove_leftovers
from medzoo.core.runs.freezing import FrozenParts
from medzoo.core.runs.initial import InitialWeights
from medzoo.core.runs.joining import JoinEvaluations
from medzoo.core.runs.parts import ModelBuilder, Results, TrainerBuilder, TrainerOptions
from medzoo.core.runs.progress import OnceItTrains
from medzoo.core.runs.results import versions, write_curves
from medzoo.core.runs.saved import restoring
from medzoo.core.runs.writers import PredictionWriter, in_order
from medzoo.core.seeding import derive_seed


@dataclass
class Run:
    """One run: what it is made of and where it goes."""

    model: str
    data: str
    seed: int
    folder: Path
    build_model: ModelBuilder
    build_trainer: TrainerBuilder
    datamodule: LightningDataModule
    test_sets: dict[str, LightningDataModule] = field(default_factory=dict)
    """Further data to test on, by name."""
    epochs: int | None = None
    """`--trainer.max_epochs` where given."""
    steps: int | None = None
    """`--trainer.max_steps` where given."""
    init_from: str | None = None
    """`--init_from` where given: a checkpoint whose weights a training starts from."""
    frozen: list[str] = field(default_factory=list)
    """Parts of the model that `--freeze` names."""
    echo: bool = False
    """Print a line an epoch (not on a terminal, which has bars)."""
    bar: bool = False
    """Show bars."""
    resume: bool = False
    signals: StopSignals = field(init=False)

    def __post_init__(self) -> None:
        self.signals = StopSignals(self.folder)

    def check(self, verb: str) -> None:
        """Look over the data of a verb, before anything is written.

        Raises:
            DataError: The first fault found.
        """
        with self.signals:
            for datamodule in (self.datamodule, *(self.test_sets.values() if verb == "test" else ())):
                check_data(datamodule, *(("fit", "test") if verb == "fit" else (verb,)))

    def fit(self, model: LightningModule, ckpt_path: str | None = None) -> dict[str, float]:
        """Train all stages (or the one that the model was built for), test each, and write `results.json`.

        Args:
            model: The model as configured; with `stage="all"` it only names the stages and is built again for each.
            ckpt_path: Checkpoint to continue from, for a model of one stage.

        Returns:
            The flat metrics, those of earlier stages prefixed with the stage's name.

        Raises:
            ConfigError: A checkpoint is given for all stages at once, or the training that it comes from is finished.
        """
        staged = isinstance(model, Method) and bool(model.stages) and model.hparams.get("stage") == "all"
        for flag, given in (("--ckpt_path", ckpt_path), ("--init_from", self.init_from), ("--freeze", self.frozen)):
            if given and staged:
                assert isinstance(model, Method)
                raise ConfigError(f"{flag} is for one stage; add --model.stage, one of {', '.join(model.stages)}")
        with self.signals:
            check_data(self.datamodule, "fit", "test")
            self._describe_data(self.datamodule)
            if isinstance(model, Method) and staged:
                return self._fit_all(model.stages)
            return self._fit_one(model, self.folder, ckpt_path)[0]

    def _fit_all(self, stages: tuple[str, ...]) -> dict[str, float]:
        metrics: dict[str, float] = {}
        carried: dict[str, object] = {}
        for stage in stages:
            last = stage == stages[-1]
            folder = self.folder if last else self.folder / stage
            done = _finished(folder)
            if self.resume and not last and done.get("status") == "ok":
                earlier, carried = done["metrics"], done["hand_over"]
                print_once(f"{stage}: already done, taken from {folder}")
            else:
                stage_model = self.build_model({**carried, "stage": stage})
                earlier, carried = self._fit_one(stage_model, folder, None, metrics if last else {})
            metrics |= earlier if last else {f"{stage}/{name}": value for name, value in earlier.items()}
        return metrics

    def _fit_one(
        self, model: LightningModule, folder: Path, ckpt_path: str | None, earlier: dict[str, float] | None = None
    ) -> tuple[dict[str, float], dict[str, object]]:
        """Train, test and hand over one stage; return its metrics and the next stage's `__init__` arguments."""
        stage = model.hparams.get("stage") if isinstance(model, Method) and model.stages else None
        if is_first_process():  # another process might make it before the first has seen that the run folder is empty
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)
        checkpoints = folder / "checkpoints"
        label = f"{self.model}{' ' + stage if stage else ''}"
        table = EpochTable(folder / "metrics.csv", label, self.echo)

        def forget_results() -> None:  # they are of earlier weights than `last.ckpt` will hold
            if is_first_process():
                (folder / "results.json").unlink(missing_ok=True)

        monitor = (model.monitor, model.monitor_mode) if isinstance(model, Method) else (Method.monitor, "min")
        self.signals.checkpoints = checkpoints
        overrides: TrainerOptions = {
            "callbacks": [
                StepSeed(self.seed),
                FiniteGuard(),
                ResumeFits(),
                JoinEvaluations(),
                table,
                self.signals,
                RunCheckpoints(checkpoints, table, self.signals, *monitor),
                *([InitialWeights(self.init_from)] if self.init_from else []),
                FrozenParts(self.frozen),
                OnceItTrains(forget_results),
                *([TrainingBar(label)] if self.bar else []),
            ],
            "default_root_dir": str(folder),
        }
        # What the user gives, epochs or steps, takes the place of what the method asks for.
        if self.epochs is None and self.steps is not None:
            overrides["max_epochs"] = -1
        elif self.epochs is None and isinstance(model, Method):
            if model.max_steps is not None:
                overrides |= {"max_steps": model.max_steps, "max_epochs": -1}
            elif model.max_epochs is not None:
                overrides["max_epochs"] = model.max_epochs
        trainer = self.build_trainer(overrides)
        in_parts = bool(self.frozen) or (isinstance(model, Method) and model.trains_in_parts)
        if in_parts and isinstance(trainer.strategy, DDPStrategy):
            trainer = self.build_trainer({**overrides, "strategy": "ddp_find_unused_parameters_true"})
        if self.resume and (checkpoints / LAST).is_file():
            ckpt_path = str(checkpoints / LAST)
        started = time.perf_counter()
        with restoring(ckpt_path, self.model):
            trainer.fit(model, datamodule=self.datamodule, ckpt_path=ckpt_path)
        seconds = time.perf_counter() - started
        if ckpt_path is not None and not self.resume and not table.stepped:
            raise ConfigError(
                f"nothing left to train: {ckpt_path} is at the end of its training; give more epochs or steps, such as "
                "--trainer.max_epochs N, or --init_from FILE to start a new training with its weights"
            )
        metrics = self._test(trainer, model, folder)
        hands_over = isinstance(model, Method) and stage is not None and stage != model.stages[-1]
        handed: dict[str, object] = {}
        if isinstance(model, Method) and hands_over:
            torch.manual_seed(
                derive_seed(self.seed)
            )  # what it draws must not depend on how often the stage was interrupted
            handed = model.eval().hand_over(folder)
            trainer.strategy.barrier("hand_over")  # the next stage reads files that another process may still write
        if is_first_process():
            write_curves(folder)
        metrics = {**(earlier or {}), **metrics}
        rate, last = table.samples / max(seconds, 1e-9), str(checkpoints / LAST)
        self._write_results(folder, stage, metrics, seconds, rate, handed, ckpt_path=last)
        return metrics, handed

    def _test(self, trainer: Trainer, model: LightningModule, folder: Path) -> dict[str, float]:
        """Test with the final weights, those of `last.ckpt`; a data module without a test set gives no metrics."""
        if not has_batches(self.datamodule, "test_dataloader"):
            return {}
        trainer.test(model, datamodule=self.datamodule, verbose=False)
        metrics = flat_metrics(trainer)
        if isinstance(model, Method) and trainer.is_global_zero:
            model.report(folder)
        return metrics

    def _evaluator(self, *more: Callback) -> Trainer:
        """Build a trainer that trains nothing."""
        bars = [TrainingBar(self.model)] if self.bar else []
        return self.build_trainer(
            {
                "callbacks": [StepSeed(self.seed), JoinEvaluations(), self.signals, *bars, *more],
                "default_root_dir": str(self.folder),
            }
        )

    def evaluate(self, verb: str, model: LightningModule, ckpt_path: str) -> dict[str, float]:
        """Run `validate` or `test` with a checkpoint and write `results.json`.

        A test goes over `test_sets` too: their figures are called `NAME/…`, their tables lie in the folder NAME.

        Raises:
            ConfigError: A set has no labelled images, or the name of a further one is that of a source of the first.
        """
        sets = {"": self.datamodule, **(self.test_sets if verb == "test" else {})}
        metrics: dict[str, float] = {}
        with self.signals, restoring(ckpt_path, self.model):
            for datamodule in sets.values():
                check_data(datamodule, verb)
            for datamodule in sets.values():
                self._describe_data(datamodule)
            started = time.perf_counter()
            for name, datamodule in sets.items():
                trainer = self._evaluator()
                getattr(trainer, verb)(model, datamodule=datamodule, ckpt_path=ckpt_path, verbose=False)
                found = flat_metrics(trainer)
                if not found:
                    raise ConfigError(f"{name or self.data} has no labelled images to {verb} with")
                taken = {source.partition("/")[0] for source in found}.intersection(self.test_sets) if not name else ()
                if taken:
                    raise ConfigError(
                        f"--test_set: {min(taken)} is what the first set's own figures are called; rename"
                    )
                metrics |= {f"{name}/{figure}" if name else figure: value for figure, value in found.items()}
                if isinstance(model, Method) and trainer.is_global_zero and verb == "test":
                    model.report(self.folder / name)
        stage = model.hparams.get("stage") if isinstance(model, Method) and model.stages else None
        seconds = time.perf_counter() - started
        more = {"test_sets": {name: str(part.hparams.get("root")) for name, part in self.test_sets.items()}}
        self._write_results(
            self.folder,
            stage,
            metrics,
            seconds,
            0.0,
            {},
            verb=verb,
            ckpt_path=ckpt_path,
            **(more if self.test_sets else {}),
        )
        return metrics

    def predict(self, model: LightningModule, ckpt_path: str) -> Path:
        """Write one record for each image to `predictions.json`, in original pixels; return the file.

        `predict_step` returns a list of `Prediction`s (or of JSON-like dictionaries), which are saved batch by batch.
        """
        with self.signals, restoring(ckpt_path, self.model):
            check_data(self.datamodule, "predict")
            writer = PredictionWriter(self.folder)
            trainer = self._evaluator(writer)
            trainer.predict(model, datamodule=self.datamodule, ckpt_path=ckpt_path, return_predictions=False)
        records = in_order(trainer, writer.records)
        path = self.folder / "predictions.json"
        if trainer.is_global_zero:
            write_json(path, {"schema": 1, "model": self.model, "checkpoint": ckpt_path, "predictions": records})
            if isinstance(model, Method):
                model.report_predictions(records, self.folder)
        return path

    def _describe_data(self, datamodule: LightningDataModule) -> None:
        """Print what a data module has, where it can."""
        summary = getattr(datamodule, "summary", None)
        if summary is not None and is_first_process():
            for line in summary():
                print_once(line)

    def _write_results(
        self,
        folder: Path,
        stage: str | None,
        metrics: dict[str, float],
        seconds: float,
        rate: float,
        handed: dict[str, object],
        **more: object,
    ) -> None:
        if not is_first_process():
            return
        results = {
            "model": self.model,
            "data": self.data,
            "seed": self.seed,
            **({"stage": stage} if stage else {}),
            **more,
            "metrics": metrics,
            "seconds": round(seconds, 3),
            "samples_per_second": round(rate, 3),
            "versions": versions(),
            **({"hand_over": handed} if handed else {}),
            "status": "ok",
        }
        write_json(folder / "results.json", results)


def _finished(folder: Path) -> Results:
    """Return what a finished stage wrote; empty where it has not finished."""
    path = folder / "results.json"
    return cast(Results, read_object(path)) if path.is_file() else {}


def flat_metrics(trainer: Trainer) -> dict[str, float]:
    """Return what the last evaluation logged, by name."""
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def has_batches(datamodule: LightningDataModule, name: str) -> bool:
    """Return whether a data module defines a loader and it is not an empty list."""
    if getattr(type(datamodule), name, None) is getattr(LightningDataModule, name):
        return False
    loaders = getattr(datamodule, name)()
    return not (isinstance(loaders, list) and not loaders)


def check_data(datamodule: LightningDataModule, *stages: str) -> None:
    """Look over the data of some stages (headers and label files) before anything is trained; each stage once.

    Args:
        datamodule: Its `check(stage)`, where it has one, returns every fault as a `DataError`.
        stages: `"fit"`, `"validate"`, `"test"` or `"predict"`.

    Raises:
        DataError: The first fault found; when its stage has more, the message counts them.
    """
    check: Callable[[str], list[DataError]] = getattr(datamodule, "check", lambda stage: [])
    if isinstance(datamodule, MedzooDataModule):
        stages = tuple(stage for stage in stages if stage not in datamodule.checked)
    for stage in stages:
        faults = check(stage)
        if not faults:
            continue
        first = faults[0]
        more = f" (and {len(faults) - 1} more: run `medzoo check`)" if len(faults) > 1 else ""
        raise DataError(first.path, first.problem + more, first.cure)
    if isinstance(datamodule, MedzooDataModule):
        datamodule.checked |= set(stages)
