"""What a model says of its own training images, as a table that its next stage reads."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor

from medzoo.core.distributed import gather_all
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io import Column, read_table
from medzoo.core.sample import Batch
from medzoo.core.tasks.classification import model_labels
from medzoo.fairness.method import GroupMethod


class Scores(TypedDict):
    """A training image: its class in the model, and the model's logits."""

    id: str
    label: int
    logits: list[float]


@torch.no_grad()
def training_scores(method: GroupMethod) -> list[Scores]:
    """Return `id`, `label` (number of the class in the model) and `logits` of every training image, each once, by id.

    The images are not varied. Call it on every process.

    Args:
        method: In evaluation mode, with the trainer attached.
    """
    device = method.trainer.strategy.root_device
    method.to(device)
    found: list[Scores] = []
    for batch in method.data.unvaried_loader():
        outputs = method.outputs({**batch, "image": batch["image"].to(device)})
        labels = model_labels(batch["label"], outputs, *method.given)
        rows = zip(batch["id"], labels.tolist(), outputs.logits.double().cpu().tolist(), strict=True)
        found += [{"id": name, "label": label, "logits": logits} for name, label, logits in rows]
    return sorted(gather_all(found), key=lambda row: row["id"])


def read_column(path: str | None, option: str, column: str, ids: list[str], low: int, high: int) -> dict[str, int]:
    """Return a whole number of each training image from the table of an earlier stage.

    Args:
        path: The table.
        option: That names it, for errors.
        column: Which number.
        ids: The training images.
        low: Least number.
        high: Largest.

    Raises:
        ConfigError: No table is given.
        DataError: It does not exist, lacks an image, or has another number.
    """
    if path is None:
        raise ConfigError(f"--{option}: this stage needs the table of the stage before; give it, or --model.stage all")
    if not Path(path).is_file():
        raise DataError(path, "does not exist", f"give --{option} the table that the stage before has written")
    table = read_table(path, ["id", Column(column, "integer", low=low, high=high)], unique=["id"])
    found = dict(zip(table.texts("id"), (int(v) for v in table.numbers(column)), strict=True))
    lacking = [name for name in ids if name not in found]
    if lacking:
        problem = f"has no row for {len(lacking)} of {len(ids)} training images, such as {lacking[0]!r}"
        raise DataError(path, problem, "run the stage before on the same data and seed")
    return found


def of_batch(values: dict[str, int], batch: Batch) -> Tensor:
    """Return the numbers of a batch's images, `(B,)` int64 on its device."""
    return torch.tensor([values[name] for name in batch["id"]], device=batch["image"].device)
