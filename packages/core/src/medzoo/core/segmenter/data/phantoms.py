"""Built-in images of one structure, a part of them by a scanner of lower contrast."""

from __future__ import annotations

from functools import partial

import numpy as np

from medzoo.core.classifier.data.items import PARTS
from medzoo.core.data.module import check_drawn
from medzoo.core.data.options import DataOptions, Unpack
from medzoo.core.errors import ConfigError
from medzoo.core.phantoms.blobs import blob
from medzoo.core.segmenter.data.module import MaskDataModule, MaskItem

SCANNERS = ("a", "b")


class MaskPhantoms(MaskDataModule):
    """Drawn structures with ragged borders; the images of scanner b have another contrast and other grey levels.

    Args:
        train: Images to train on.
        val: Images for validation.
        test: Images to test on.
        pixels: Height and width that images are drawn at.
        minority: Part of the images of scanner b, in each part of the data.
        contrast: Contrast of scanner b, beside that of scanner a.
        offset: What scanner b adds to all grey levels.
        common: Options of all data modules.
    """

    source: str = "structures"

    def __init__(
        self,
        train: int = 400,
        val: int = 100,
        test: int = 400,
        pixels: int = 48,
        minority: float = 0.2,
        contrast: float = 0.4,
        offset: float = 0.2,
        **common: Unpack[DataOptions],
    ) -> None:
        super().__init__(**common)
        check_drawn(train=train, val=val, test=test)
        check_drawn(16, pixels=pixels)
        for name, value in {"minority": minority, "contrast": contrast, "offset": offset}.items():
            if not 0 <= value <= 1:
                raise ConfigError(f"--data.{name}: expected 0 to 1, got {value}")
        self._counts, self._pixels = {"train": train, "val": val, "test": test}, pixels
        self._minority, self._contrast, self._offset = minority, contrast, offset
        self.group_names = {"scanner": SCANNERS}

    def make_parts(self) -> dict[str, tuple[MaskItem, ...]]:
        """Number the images; exactly `round(minority · images)` are of scanner b."""
        return {part: self._part(number, part) for number, part in enumerate(PARTS)}

    def _part(self, number: int, part: str) -> tuple[MaskItem, ...]:
        count = self._counts[part]
        scanner = np.zeros(count, dtype=int)
        scanner[: round(count * self._minority)] = 1
        scanner = np.random.default_rng((self.seed, number, 13)).permutation(scanner)
        items = []
        for i, own in enumerate(scanner.tolist()):
            contrast, offset = (self._contrast, self._offset) if own else (1.0, 0.0)
            draw = partial(blob, (self.seed, number, i), self._pixels, contrast, offset)
            items.append(MaskItem(f"{part}{i:05}", draw, f"{part}{i:05}", {"scanner": own}))
        return tuple(items)
