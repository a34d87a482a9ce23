"""Files through a model, one after the other: what fails of one file ends that file alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from lightning.pytorch import Trainer

from medzoo.core.data.module import MedzooDataModule
from medzoo.core.errors import ConfigError, MedzooError
from medzoo.core.io.listing import stem
from medzoo.core.method import Method
from medzoo.core.registry import Spec, load, specs
from medzoo.core.runs.checkpoint_io import read_checkpoint
from medzoo.core.runs.saved import saved
from medzoo.core.runs.weights import located
from medzoo.core.sample import collate
from medzoo.core.tasks.base import Prediction
from medzoo.core.zoo import load_checkpoint


class Predictor:
    """Answers files with a trained model, as `medzoo predict CKPT PATH` does.

    Examples:
        >>> predictor = Predictor("runs/uod/chest/0/checkpoints/last.ckpt")
        >>> answer = predictor("film.png")
        >>> answer.record["landmarks_px"]["right apex"]

    Args:
        weights: A checkpoint, a folder of `medzoo pack`, a name of weights of `medzoo list`, or `hf://org/name`.
        source: What the files are of (anatomy, category), where the model knows several.
        accelerator: `cpu`, `gpu`, or `auto`.
        options: What the reader of the task takes on files, such as `spacing`, millimetres per pixel of
            landmarks.

    Attributes:
        model: In evaluation mode.
        spec: What the registry knows of it.
        source: What the files are of.
        volumes: Whether the model answers volumes, so that a folder of DICOM slices is one file.
        maps: Whether its answers have maps or masks.
        endings: Of the files that are looked for in folders; empty for images.
        forms: What the reader writes beside JSON and CSV, by the name for `--format`.
        settings: How the reader brings files to the network: those of the training, and `options`.

    Raises:
        CheckpointError: The weights cannot be read.
        ConfigError: The model answers no files, or the source or an option is wrong.
    """

    def __init__(
        self, weights: str | Path, source: str | None = None, accelerator: str = "auto", **options: object
    ) -> None:
        weights = located(weights)
        model = load_checkpoint(weights)
        content = read_checkpoint(weights)
        kept_model, trained = saved(content, "model"), saved(content, "datamodule")
        if not isinstance(model, Method) or kept_model is None:
            raise ConfigError(f"{weights}: {type(model).__name__} is not a medzoo Method; use --ckpt_path and --data")
        self.model, self.spec = model, kept_model.spec
        self._kind = load(reader_of(kept_model.spec.task))
        self.volumes: bool = getattr(self._kind, "volumes", False)
        self.maps: bool = getattr(self._kind, "maps", False)
        self.endings: tuple[str, ...] = getattr(self._kind, "endings", ())
        self.forms: dict[str, Callable[[Sequence[dict[str, object]], Path], None]] = getattr(self._kind, "forms", {})
        unknown = next((name for name in options if name not in self._kind.options), None)
        if unknown is not None:
            raise ConfigError(f"--{unknown}: is not for {kept_model.spec.task}")
        kept = trained.settings if trained else {}
        self.settings = {name: kept[name] for name in self._kind.kept if kept.get(name) is not None} | options
        self.source = source_of(model, source)
        for name in ("lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.WARNING)  # devices and advertisements
        self._trainer = Trainer(
            accelerator=accelerator,
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        self._trainer.strategy.connect(model)
        model.trainer = self._trainer
        self.device = self._trainer.strategy.root_device
        model.to(self.device).eval()

    def __call__(self, path: str | os.PathLike[str]) -> Prediction:
        """Answer one file.

        Args:
            path: An image; of models of volumes, a NIfTI file or a folder of DICOM slices; of signals, a record.

        Returns:
            The record of the task, as `predictions.json` has it, and how its natural files are saved.

        Raises:
            DataError: The file cannot be read.
        """
        name = os.fspath(path)
        return self._answer(self.reader({stem(name): name}), 0)

    def parts(self, path: str) -> list[str]:
        """Return the files that belong to a file beside it, such as the signals of a header."""
        beside: Callable[[str], list[str]] | None = getattr(self._kind, "companions", None)
        return beside(path) if beside else []

    def answers(self, files: Mapping[str, str]) -> Iterator[tuple[str, Prediction | MedzooError]]:
        """Answer files by id in turn; of one that fails, the reason stands in the place of its answer."""
        data = self.reader(files)
        for index, path in enumerate(files.values()):
            try:
                yield path, self._answer(data, index)
            except MedzooError as error:
                yield path, error

    def reader(self, files: Mapping[str, str]) -> MedzooDataModule:
        """Return the task's reader of files by id, attached to the model as in a run."""
        data: MedzooDataModule = self._kind(dict(files), self.source, **self.settings)
        data.trainer = self._trainer
        vars(self._trainer)["datamodule"] = data  # Lightning's types do not name it
        return data

    def _answer(self, data: MedzooDataModule, index: int) -> Prediction:
        dataset = data.predict_dataloader().dataset
        batch = collate([dataset[index]], data.sample)
        with torch.no_grad():
            moved = self.model.transfer_batch_to_device(batch, self.device, 0)
            (answer,) = self.model.predictions(moved, self.model.outputs(moved))
        return answer


def reader_of(task: str) -> Spec:
    """Return the reader of single files for a task.

    Raises:
        ConfigError: There is none.
    """
    known = specs("reader")
    found = next((spec for spec in known if spec.task == task), None)
    if found is None:
        tasks = ", ".join(sorted({spec.task for spec in known})) or "none"
        raise ConfigError(f"PATH: no reader of files for {task}, only for {tasks}; use --ckpt_path FILE --data NAME")
    return found


def source_of(model: Method, asked: str | None) -> str:
    """Return what the files are of: the domain or category that is asked for, else the only one that the model knows.

    Raises:
        ConfigError: The model knows several and none is asked for, or not the one that is.
    """
    known = model.known_sources
    if asked is None and len(known) > 1:
        raise ConfigError(f"--source NAME: the model knows {', '.join(known)}; say of which the files are")
    if asked is not None and known and asked not in known:
        raise ConfigError(f"--source {asked}: the model knows {', '.join(known)} only")
    return asked or next(iter(known), "files")
