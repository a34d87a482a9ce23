"""The task of pre-training: outputs, and how well patches and words are filled in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medzoo.core.distributed import gather_all
from medzoo.core.io import file_name, write_image
from medzoo.core.sample import Batch
from medzoo.core.tasks.base import Evaluation, Prediction, identity
from medzoo.core.tasks.finite import places, require_finite
from medzoo.core.values import Row


@dataclass
class FilledIn:
    """What was filled in of a batch.

    Attributes:
        patches: `(B,)`, mean squared error of the hidden patches.
        plain: `(B,)`, that of the mean grey level of the visible ones.
        sharp: `(B,)`, loss of the super-resolution.
        words: `(B,)`, loss of the words.
        right: `(B,)`, hidden pieces that were found.
        hidden: `(B,)`, hidden pieces.
        entities_right: `(B,)`, hidden entities that were found.
        entities: `(B,)`, hidden entities.
        rebuilt: `(B, H, W)` grey levels in [0, 1]: visible patches, and between them what was rebuilt.
    """

    patches: Tensor
    plain: Tensor
    sharp: Tensor
    words: Tensor
    right: Tensor
    hidden: Tensor
    entities_right: Tensor
    entities: Tensor
    rebuilt: Tensor


FIGURES = tuple(field.name for field in fields(FilledIn))[:-1]


class FilledInEvaluation(Evaluation[FilledIn]):
    """Judges what was filled in; what is hidden hangs on the sample alone.

    Args:
        finish: Writes what the training leaves into a folder.
    """

    def __init__(self, finish: Callable[[Path], None]) -> None:
        self.finish = finish
        self.tested: list[Row] = []

    def update(self, batch: Batch, outputs: FilledIn) -> None:
        """Add a batch.

        Raises:
            DataError: An image has an error that is not finite.
        """
        plain = {name: getattr(outputs, name).detach().double().cpu() for name in FIGURES}
        require_finite(list(plain["patches"]), places(batch))
        for index in range(len(batch["id"])):
            values = {name: float(value[index]) for name, value in plain.items()}
            self.tested.append(
                {
                    **identity(batch, index, batch["source"][index] if "source" in batch else "all"),
                    "prediction": f"{values['right']:.0f} of {values['hidden']:.0f} words",
                    "error": values["patches"],
                    **values,
                }
            )

    def compute(self) -> dict[str, float]:
        """Return `<source>/<metric>`.

        `patches`, the mean squared error of hidden patches, and `patches_plain`, that of the mean grey level of the
        visible ones, with which it is to be compared; `sharp` and `words`, the losses; `word_accuracy` and
        `entity_accuracy`, the shares of hidden pieces and of hidden entities that were found.
        """
        self.tested = gather_all(self.tested)
        found: dict[str, float] = {}
        for source in dict.fromkeys(str(row["source"]) for row in self.tested):
            rows = sorted((row for row in self.tested if row["source"] == source), key=lambda row: str(row["id"]))
            columns = {name: np.array([row[name] for row in rows]) for name in FIGURES}
            means = {"patches": "patches", "patches_plain": "plain", "sharp": "sharp", "words": "words"}
            found |= {f"{source}/{name}": float(columns[key].mean()) for name, key in means.items()}
            for name, right, all_ in (("word", "right", "hidden"), ("entity", "entities_right", "entities")):
                if columns[all_].sum():
                    found[f"{source}/{name}_accuracy"] = float(columns[right].sum() / columns[all_].sum())
        return found

    def rows(self) -> list[Row]:
        """Return a row a sample: words that were found, error of the patches, the parts of both."""
        return self.tested

    def report(self, folder: Path) -> None:
        """Write `samples.csv`, and what the training leaves."""
        super().report(folder)
        self.finish(folder)


def predictions(batch: Batch, outputs: FilledIn) -> list[Prediction]:
    """Return for each image how well it was filled in, and the rebuilt image as `rebuilt/<id>.png`."""
    images = outputs.rebuilt.detach().float().cpu().numpy()
    return [
        Prediction(
            {
                "id": name,
                "path": batch["path"][index],
                "patches": float(outputs.patches[index]),
                "patches_plain": float(outputs.plain[index]),
                "words_found": int(outputs.right[index]),
                "words_hidden": int(outputs.hidden[index]),
            },
            partial(_save, name, images[index]),
        )
        for index, name in enumerate(batch["id"])
    ]


def _save(name: str, image: NDArray[np.float32], folder: Path) -> dict[str, object]:
    place = Path("rebuilt") / f"{file_name(name)}.png"
    write_image(folder / place, image)
    return {"rebuilt": str(place)}
