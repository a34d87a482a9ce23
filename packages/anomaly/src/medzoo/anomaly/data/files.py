"""Images and volumes that a command line names one by one, to be predicted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from medzoo.anomaly.data.cases import Case, Cases
from medzoo.anomaly.data.categories import CategoryDataModule
from medzoo.anomaly.data.intensity import Intensity
from medzoo.anomaly.data.items import Category, Item, read_colours
from medzoo.anomaly.data.nifti import read_volume
from medzoo.anomaly.data.volumes import VolumeDataModule


class CategoryFiles(CategoryDataModule):
    """Images of one category, which may be normal or not.

    Args:
        files: File of each image by its id.
        source: Name of the category.
        size: Height and width that the network sees, one number for a square; empty: what the model asks for.
    """

    kept: ClassVar[tuple[str, ...]] = ("size",)
    """Settings of the training's data that decide how an image reaches the network."""
    options: ClassVar[tuple[str, ...]] = ()
    """What the command line may say of the files."""
    maps: ClassVar[bool] = True
    """The answers have maps."""

    def __init__(self, files: dict[str, str], source: str, size: int | list[int] | None = None) -> None:
        super().__init__(size=size)
        self._files, self._source = files, source

    def make_categories(self) -> Sequence[Category]:
        """Return the one category; no file is looked at."""
        items = tuple(Item(name, partial(read_colours, path), path=path) for name, path in self._files.items())
        return [Category(self._source, (), items)]


class VolumeFiles(VolumeDataModule):
    """CT volumes in NIfTI files or folders of DICOM slices, whose lungs are found by thresholds.

    Args:
        files: File or folder of each volume by its id.
        source: What they are called together.
        intensity: See `nifti-volumes`.
        spacing: Millimetres per voxel that the network sees; empty leaves volumes as they are.
    """

    kept: ClassVar[tuple[str, ...]] = ("spacing", "intensity")
    """Settings of the training's data that decide how a volume reaches the network."""
    options: ClassVar[tuple[str, ...]] = ()
    """What the command line may say of the files."""

    maps: ClassVar[bool] = True
    """The answers have masks, in NIfTI anyway."""
    volumes: ClassVar[bool] = True
    """A folder of DICOM slices is one of the files."""

    def __init__(
        self, files: dict[str, str], source: str, intensity: Intensity = "hu", spacing: float | None = None
    ) -> None:
        super().__init__(spacing=spacing)
        self._files, self._source, self._intensity = files, source, intensity

    def make_cases(self) -> Cases:
        """Return the volumes; no file is looked at."""
        volumes = (
            (name, path, partial(read_volume, Path(path), None, None, self._intensity))
            for name, path in self._files.items()
        )
        return Cases(predict=tuple(Case(name, name, load, path) for name, path, load in volumes))
