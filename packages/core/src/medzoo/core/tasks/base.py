"""What all tasks have: outputs with gradients, an evaluation with a row a sample, predictions that can be saved."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from torch import Tensor

from medzoo.core.io import write_csv
from medzoo.core.sample import Batch
from medzoo.core.values import Row

Outputs = TypeVar("Outputs", contravariant=True)
"""What a model of a task gives for a batch: a dataclass of batched tensors, with gradients.

`Evaluation[Never]` is the type of an evaluation of any task.
"""


class Evaluation(ABC, Generic[Outputs]):
    """Judges the outputs of a model on one data set; equal for any size and order of batches and for any processes."""

    @abstractmethod
    def update(self, batch: Batch, outputs: Outputs) -> None:
        """Add a batch with its labels."""

    @abstractmethod
    def compute(self) -> Mapping[str, float | Tensor]:
        """Return all figures by name, `<source>/<metric>`; to be called on every process, which it gathers from."""

    @abstractmethod
    def rows(self) -> list[Row]:
        """After `compute`, return a row a sample of all processes, with its id, prediction and error."""

    def report(self, folder: Path) -> None:
        """After `compute`, write `samples.csv`; a task adds its tables and figures. For the first process only.

        Args:
            folder: The run folder.
        """
        rows = self.rows()
        if rows:
            write_csv(folder / "samples.csv", rows, list(dict.fromkeys(key for row in rows for key in row)))


@dataclass(frozen=True)
class Prediction:
    """The answer for one sample.

    Attributes:
        record: JSON-like, with the sample's `id` and `path`; a line of `predictions.json`.
        save: Writes the natural files of the answer (a map, a mask, a picture) below a folder and returns what the
            record should say of them, such as their paths; None where the record is all.
    """

    record: Mapping[str, object]
    save: Callable[[Path], dict[str, object]] | None = None


def identity(batch: Batch, index: int, source: str) -> Row:
    """Return the beginning of a sample's row: id, source, patient, sensitive groups where known, path.

    Args:
        batch: As `medzoo.core.sample.collate` made it.
        index: Place of the sample in it.
        source: What it comes from.
    """
    groups = batch["groups"][index] if "groups" in batch else {}
    return {
        "id": batch["id"][index],
        "source": source,
        "patient": batch["patient"][index] if "patient" in batch else "",
        **{f"group_{name}": value for name, value in groups.items()},
        "path": batch["path"][index],
    }
