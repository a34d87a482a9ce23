"""Images that a command line names one by one, to be outlined."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar

from medzoo.core.classifier.data.items import read_file
from medzoo.core.segmenter.data.module import Drawn, MaskDataModule, MaskItem


class MaskFiles(MaskDataModule):
    """Images without masks, read in grey or colour as the attached model takes them.

    Args:
        files: File of each image by its id.
        source: What they are called together.
        size: Height and width that the network sees, one number for a square; empty: what the model asks for.
    """

    kept: ClassVar[tuple[str, ...]] = ("size",)
    """Settings of the training's data that decide how an image reaches the network."""
    options: ClassVar[tuple[str, ...]] = ()
    """What the command line may say of the files."""
    maps: ClassVar[bool] = True
    """The answers have masks."""

    def __init__(self, files: dict[str, str], source: str, size: int | list[int] | None = None) -> None:
        super().__init__(size=size)
        self._files, self.source = files, source

    def make_parts(self) -> dict[str, tuple[MaskItem, ...]]:
        """Return the images; no file is looked at."""
        model = self.trainer.lightning_module if self.trainer else None
        colour = model is not None and model.hparams.get("channels") == 3
        items = (MaskItem(name, partial(_read, Path(file), colour), path=file) for name, file in self._files.items())
        return {"train": (), "val": (), "test": tuple(items)}


def _read(path: Path, colour: bool) -> Drawn:
    return read_file(path, colour)[0], None
