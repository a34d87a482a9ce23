"""Images that a command line names one by one, to be predicted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from medzoo.core.data.splits import Split
from medzoo.core.io.point_tables import LabelTable
from medzoo.core.tasks.landmark_types import Domain
from medzoo.landmark.data.datasets import Resize
from medzoo.landmark.data.folder import TableSource
from medzoo.landmark.data.module import LandmarkDataModule
from medzoo.landmark.data.sources import FileImages, LandmarkSource


class LandmarkFiles(LandmarkDataModule):
    """Images without labels, all of one domain.

    Args:
        files: File of each image by its id.
        source: Name of the domain.
        spacing: Millimetres per pixel of all images; empty: what the files say.
        size: Height and width that the network sees, one number for a square; empty: what the model asks for.
        resize: "stretch" or "pad", see `LandmarkDataModule`.
    """

    kept: ClassVar[tuple[str, ...]] = ("size", "resize")
    """Settings of the training's data that decide how an image reaches the network."""
    options: ClassVar[tuple[str, ...]] = ("spacing",)
    """What the command line may say of the files."""

    def __init__(
        self,
        files: dict[str, str],
        source: str,
        spacing: float | None = None,
        size: int | list[int] | None = None,
        resize: Resize = "stretch",
    ) -> None:
        super().__init__(size=size, resize=resize)
        self._files, self._source, self._spacing = files, source, spacing

    def make_sources(self) -> Sequence[LandmarkSource]:
        """Return the one domain; no file is looked at."""
        names = tuple(self._files)
        images = FileImages(self._files, None if self._spacing is None else (self._spacing, self._spacing))
        domain = Domain(self._source, (), "px", (4.0, 8.0, 16.0))
        return [TableSource(domain, images, Split(test=names), LabelTable(()), Path(), names)]
