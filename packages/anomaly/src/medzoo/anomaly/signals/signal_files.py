"""Records that a command line names one by one, to be scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from medzoo.anomaly.signals.annotations import write_annotations
from medzoo.anomaly.signals.formats import READERS, companions, read_record
from medzoo.anomaly.signals.leads import STANDARD
from medzoo.anomaly.signals.module import Item, Items, SignalDataModule


class SignalFiles(SignalDataModule):
    """Records in WFDB, CSV, NumPy, DICOM or EDF files; of a longer one, the stretch in its middle.

    Args:
        files: File of each record by its id.
        source: What they are called together.
        hertz: Samples a second of a table that does not say.
        rate: Samples a second that the network sees; empty: what the model asks for.
        seconds: Length of a stretch; empty: what the model asks for.
        leads: Names of the leads in the order that the network sees; empty: those that the model was trained with.
        band: Lower and upper limit in Hz of a zero-phase filter.
    """

    kept: ClassVar[tuple[str, ...]] = ("rate", "seconds", "leads", "band")
    """Settings of the training's data that decide how a record reaches the network."""
    options: ClassVar[tuple[str, ...]] = ("hertz",)
    """What the command line may say of the files."""
    endings: ClassVar[tuple[str, ...]] = tuple(READERS)
    """Of the files that are looked for in folders."""
    companions = staticmethod(companions)
    forms: ClassVar[dict[str, Callable[[Sequence[dict[str, object]], Path], None]]] = {"wfdb": write_annotations}
    """What `--format` may ask for beside JSON, CSV and pictures."""

    def __init__(
        self,
        files: dict[str, str],
        source: str,
        hertz: float | None = None,
        rate: float | None = None,
        seconds: float | None = None,
        leads: list[str] | None = None,
        band: list[float] = [0.5, 40.0],  # noqa: B006 - a parser wants JSON-like defaults, never changed
    ) -> None:
        super().__init__(rate, seconds, leads, band)
        self._files, self._source, self._hertz = files, source, hertz

    @property
    def standard(self) -> tuple[str, ...]:
        """The 12 leads for a model of 12 that does not say which, else those of each record."""
        size = self.wants.size
        return STANDARD if size is None or size[0] == len(STANDARD) else ()

    def make_items(self) -> Items:
        """Name the records; no file is looked at."""
        return Items(predict=tuple(self._item(name, path) for name, path in self._files.items()))

    def _item(self, name: str, path: str) -> Item:
        return Item(name, "", partial(read_record, Path(path), self._hertz), path, source=self._source)
