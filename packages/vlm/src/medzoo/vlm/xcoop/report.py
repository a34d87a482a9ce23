"""The evaluation of a classification, with a table of what the learnt prompts are near to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from medzoo.core.io import write_csv
from medzoo.core.tasks.classification import ClassificationEvaluation
from medzoo.core.values import Row
from medzoo.vlm.xcoop.network import SoftPrompts


class PromptEvaluation(ClassificationEvaluation):
    """Judges classes, and writes the prompts that found them.

    Args:
        prompts: A row a learnt vector.
        classes: Those of the data.
        multi_label: Whether several may hold at once.
        spread: Give intervals.
    """

    def __init__(self, prompts: Sequence[Row], classes: Sequence[str], multi_label: bool, spread: bool = True) -> None:
        super().__init__(classes, multi_label, spread)
        self.prompts = prompts

    def report(self, folder: Path) -> None:
        """Write what every classification does, and `prompts.csv`."""
        super().report(folder)
        write_csv(folder / "prompts.csv", list(self.prompts))


def nearest_words(soft: SoftPrompts, table: Tensor, vocabulary: Sequence[str], classes: Sequence[str]) -> list[Row]:
    """Return a row a context vector: class, prompt, place, the nearest piece of the vocabulary and its cosine.

    Args:
        soft: The prompts, of presence and then, where several labels may hold at once, of absence.
        table: `(V, d)`, the embeddings of the pieces.
        vocabulary: The pieces.
        classes: Names of the classes.
    """
    found, cosines = soft.nearest(table)
    return [
        {
            "class": classes[row % len(classes)],
            "says": "absent" if row >= len(classes) else "present",
            "prompt": number,
            "place": place,
            "nearest": vocabulary[int(found[number, index])],
            "cosine": float(cosines[number, index]),
        }
        for number in range(soft.count)
        for index, (row, place) in enumerate(zip(soft.rows, soft.columns, strict=True))
    ]
