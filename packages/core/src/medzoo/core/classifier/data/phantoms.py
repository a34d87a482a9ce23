"""Built-in chest radiographs of two or three classes, or with two labels."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from medzoo.core.classifier.data.items import PARTS, UNKNOWN, Cases, Item, Loaded
from medzoo.core.classifier.data.module import ClassificationDataModule, ClassificationOptions
from medzoo.core.data.module import check_drawn
from medzoo.core.data.options import Unpack
from medzoo.core.errors import ConfigError

_CLEAR = "clear"


class ClassPhantoms(ClassificationDataModule):
    """Drawn chests: clear, with nodules, or with a mesh of fine lines; their mean grey level says nothing of it.

    Args:
        train: Images to train on.
        val: Images for validation.
        test: Images to test on.
        pixels: Height and width that images are drawn at.
        classes: 2 (clear, nodules) or 3 (and mesh).
        multi_label: Give the labels nodules and mesh instead, each with one half of the images.
        missing: Part of these labels that was not looked for.
        common: Options of all data of classification.
    """

    def __init__(
        self,
        train: int = 400,
        val: int = 100,
        test: int = 200,
        pixels: int = 64,
        classes: int = 3,
        multi_label: bool = False,
        missing: float = 0.0,
        **common: Unpack[ClassificationOptions],
    ) -> None:
        super().__init__(**common)
        check_drawn(train=train, test=test, val=val)
        check_drawn(16, pixels=pixels)
        if classes not in (2, 3):
            raise ConfigError(f"--data.classes: expected 2 or 3, got {classes}")
        if not 0 <= missing < 1 or (missing and not multi_label):
            raise ConfigError(f"--data.missing: expected 0 to below 1, of several labels only, got {missing}")
        self._counts, self._pixels = {"train": train, "val": val, "test": test}, pixels
        self._classes, self._multi, self._missing = classes, multi_label, missing

    def make_cases(self) -> Cases:
        """Number the images."""
        from medzoo.core.phantoms.findings import FINDINGS

        names = FINDINGS if self._multi else (_CLEAR, *FINDINGS)[: self._classes]
        parts = {p: tuple(self._item(p, k, i) for i in range(self._counts[p])) for k, p in enumerate(PARTS)}
        return Cases("phantoms", names, parts, self._multi)

    def _item(self, part: str, number: int, index: int) -> Item:
        from medzoo.core.phantoms.findings import FINDINGS

        seed, name = (self.seed, number, index), f"{part}{index:05}"
        if not self._multi:
            label = index % self._classes
            return Item(
                name, partial(_drawn, FINDINGS[label - 1 : label] if label else (), seed, self._pixels), label, name
            )
        rng = np.random.default_rng((*seed, 7))
        has, unknown = rng.random(len(FINDINGS)) < 0.5, rng.random(len(FINDINGS)) < self._missing
        findings = tuple(finding for finding, yes in zip(FINDINGS, has, strict=True) if yes)
        labels = tuple(math.nan if hidden else float(yes) for yes, hidden in zip(has, unknown, strict=True))
        return Item(name, partial(_drawn, findings, seed, self._pixels), labels, name)


def _drawn(findings: tuple[str, ...], seed: tuple[int, ...], pixels: int) -> Loaded:
    from medzoo.core.phantoms.findings import chest_with

    return chest_with(findings, seed, (pixels, pixels)), UNKNOWN
