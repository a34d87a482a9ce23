"""Files through a model, one after the other: what fails of one file ends that file alone."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer

from medzoo.core.data.module import MedzooDataModule
from medzoo.core.errors import ConfigError, MedzooError
from medzoo.core.method import Method
from medzoo.core.registry import Spec, load, specs
from medzoo.core.sample import collate
from medzoo.core.zoo import load_checkpoint


@dataclass(frozen=True)
class Answer:
    """What came of one file: a record, or why there is none."""

    path: str
    record: dict[str, Any] | None = None
    problem: str = ""


def load_model(path: str) -> Method:
    """Build the model of a checkpoint.

    Raises:
        CheckpointError: The file is not one.
        ConfigError: The model has no answers to samples.
    """
    model = load_checkpoint(path)
    if not isinstance(model, Method):
        raise ConfigError(f"{path}: {type(model).__name__} is not a medzoo Method; predict with --ckpt_path and --data")
    return model


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


def settings_of(reader: Spec, trained: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the training's data that decide how an image reaches the network.

    Args:
        reader: A reader of files, which names them in `kept`.
        trained: Settings of the data module in the checkpoint.
    """
    kept: tuple[str, ...] = load(reader).kept
    return {name: trained[name] for name in kept if trained.get(name) is not None}


def attach(model: LightningModule, data: MedzooDataModule, accelerator: str) -> torch.device:
    """Bring a model and its data together by a trainer, as a run does, and return the model's device."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # devices and advertisements
    trainer = Trainer(
        accelerator=accelerator,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.strategy.connect(model)
    model.trainer, data.trainer = trainer, trainer
    trainer.datamodule = data  # type: ignore[attr-defined]
    device = trainer.strategy.root_device
    model.to(device).eval()
    return device


def answers(
    model: Method, data: MedzooDataModule, paths: Iterable[str], device: torch.device, folder: Path
) -> Iterator[Answer]:
    """Answer each file of a reader in turn and save its natural files; a file that fails gives its reason.

    Args:
        model: In evaluation mode, attached to `data`.
        data: A reader of files.
        paths: The files, in the order of the reader.
        device: That of the model.
        folder: Where the files of the answers go.
    """
    dataset: Any = data.predict_dataloader().dataset
    for index, path in enumerate(paths):
        try:
            batch = collate([dataset[index]], data.sample)
            with torch.no_grad():
                moved = model.transfer_batch_to_device(batch, device, 0)
                (answer,) = model.predictions(moved, model.outputs(moved))
            saved = answer.save(folder) if answer.save is not None else {}
            yield Answer(path, {**answer.record, **saved})
        except MedzooError as error:
            yield Answer(path, problem=str(error))
