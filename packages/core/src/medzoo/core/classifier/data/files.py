"""Images that a command line names one by one, to be classified."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from medzoo.core.classifier.data.items import PARTS, Cases, file_item
from medzoo.core.classifier.data.module import ClassificationDataModule


class ClassFiles(ClassificationDataModule):
    """Images without classes, read in grey or colour as the attached model takes them.

    Args:
        files: File of each image by its id.
        source: What they are called together.
        size: Height and width that the network sees, one number for a square; empty: what the model asks for.
    """

    kept: ClassVar[tuple[str, ...]] = ("size",)
    """Settings of the training's data that decide how an image reaches the network."""
    options: ClassVar[tuple[str, ...]] = ()
    """What the command line may say of the files."""

    def __init__(self, files: dict[str, str], source: str, size: int | list[int] | None = None) -> None:
        super().__init__(size=size)
        self._files, self._source = files, source

    def make_cases(self) -> Cases:
        """Return the images; no file is looked at."""
        model = self.trainer.lightning_module if self.trainer else None
        channels = 1 if model is None else int(model.hparams.get("channels") or 1)
        items = tuple(file_item(Path(path), channels == 3, name) for name, path in self._files.items())
        return Cases(self._source, (), dict.fromkeys(PARTS, ()), channels=channels, unlabelled=items)
