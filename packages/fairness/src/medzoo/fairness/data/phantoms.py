"""Built-in skin lesions whose groups, prevalence, label noise and shortcut are chosen."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from medzoo.core.classifier.data.items import PARTS, UNKNOWN, Cases, Item, Loaded
from medzoo.core.classifier.data.module import ClassificationDataModule, ClassificationOptions
from medzoo.core.data.module import check_drawn
from medzoo.core.data.options import DataOptions, Unpack
from medzoo.core.errors import ConfigError

Numbers = NDArray[np.int64]
CLASSES = ("nevus", "melanoma")
SKIN, INK = ("light", "dark"), ("absent", "present")


class LesionPhantoms(ClassificationDataModule):
    """Drawn skin lesions: melanomas have a more ragged border and more mottled pigment than nevi, with an overlap.

    Dark skin scales and shifts all grey levels and lowers the contrast. With `conflict` an ink mark goes with the class
    in training; validation and test have equal numbers of all four cases. Numbers of images of each kind are exact.

    Args:
        train: Images to train on.
        val: Images for validation.
        test: Images to test on.
        pixels: Height and width that images are drawn at.
        dark: Part of the images with dark skin.
        tone: How dark that skin is, 0 (as the light one) to 1.
        prevalence: Part of the images of light skin that are melanomas.
        prevalence_dark: That of dark skin.
        overlap: Spread of raggedness within a class; at 0 the classes do not overlap.
        flipped: Part of the melanomas on dark skin that are called nevi in training (label bias).
        missing: Part of all images whose skin is not known.
        conflict: Part of the training images of each class whose ink is that of the other class; empty: no ink.
        common: Options of all data of classification.
    """

    def __init__(
        self,
        train: int = 1500,
        val: int = 300,
        test: int = 2000,
        pixels: int = 32,
        dark: float = 0.1,
        tone: float = 1.0,
        prevalence: float = 0.5,
        prevalence_dark: float = 0.5,
        overlap: float = 0.12,
        flipped: float = 0.0,
        missing: float = 0.0,
        conflict: float | None = None,
        **common: Unpack[ClassificationOptions],
    ) -> None:
        super().__init__(**common)
        check_drawn(train=train, val=val, test=test)
        check_drawn(16, pixels=pixels)
        shares = {"dark": dark, "tone": tone, "prevalence": prevalence, "prevalence_dark": prevalence_dark}
        for name, value in {**shares, "overlap": overlap, "flipped": flipped, "missing": missing}.items():
            _share(name, value)
        if conflict is not None:
            _share("conflict", conflict)
        self._counts, self._pixels = {"train": train, "val": val, "test": test}, pixels
        self._dark, self._tone, self._prevalence = dark, tone, (prevalence, prevalence_dark)
        self._overlap, self._flipped, self._missing, self._conflict = overlap, flipped, missing, conflict

    @property
    def group_names(self) -> dict[str, tuple[str, ...]]:
        """Values of each sensitive attribute, in the order of their numbers."""
        return {"skin": SKIN} if self._conflict is None else {"skin": SKIN, "ink": INK}

    @property
    def bias(self) -> str | None:
        """The attribute that goes with the class in training, if any."""
        return None if self._conflict is None else "ink"

    def make_cases(self) -> Cases:
        """Number the images."""
        return Cases("lesions", CLASSES, {part: self._part_items(part) for part in PARTS}, channels=3)

    def _part_items(self, part: str) -> tuple[Item, ...]:
        number, count = PARTS.index(part), self._counts[part]
        rng = np.random.default_rng((self.seed, number, 11))
        skin = ones(rng, count, self._dark)
        label = np.zeros(count, dtype=np.int64)
        for group, prevalence in enumerate(self._prevalence):
            rows = np.flatnonzero(skin == group)
            label[rows] = ones(rng, len(rows), prevalence)
        ink = label.copy()
        for kind in range(2) if self._conflict is not None else ():
            rows = np.flatnonzero(label == kind)
            ink[rows] ^= ones(rng, len(rows), self._conflict if part == "train" and self._conflict is not None else 0.5)
        given = label.copy()
        if part == "train":
            rows = np.flatnonzero((label == 1) & (skin == 1))
            given[rows] -= ones(rng, len(rows), self._flipped)
        known = np.where(ones(rng, count, self._missing) == 1, -1, skin)
        ragged = np.clip(rng.normal(np.where(label == 1, 0.65, 0.35), self._overlap), 0, 1)
        items = []
        for i in range(count):
            name = f"{part}{i:05}"
            groups = {"skin": int(known[i])} | ({} if self._conflict is None else {"ink": int(ink[i])})
            inked = self._conflict is not None and bool(ink[i])
            draw = partial(
                _drawn, (self.seed, number, i), self._pixels, float(ragged[i]), self._tone * int(skin[i]), inked
            )
            items.append(Item(name, draw, int(given[i]), name, groups))
        return tuple(items)


class ShortcutPhantoms(LesionPhantoms):
    """Drawn skin lesions on light skin with an ink mark that goes with the class of most training images.

    Validation and test have equal numbers of all four cases. `lesion-phantoms` has more options.

    Args:
        train: Images to train on.
        val: Images for validation.
        test: Images to test on.
        pixels: Height and width that images are drawn at.
        overlap: Spread of raggedness within a class; at 0 the classes do not overlap.
        conflict: Part of the training images of each class whose ink is that of the other class.
        augment: Strength at which training images are varied.
        common: Options of all data of classification.
    """

    def __init__(
        self,
        train: int = 2000,
        val: int = 200,
        test: int = 1000,
        pixels: int = 32,
        overlap: float = 0.06,
        conflict: float = 0.05,
        augment: float = 0.0,
        **common: Unpack[DataOptions],
    ) -> None:
        super().__init__(
            train, val, test, pixels, dark=0.0, overlap=overlap, conflict=conflict, augment=augment, **common
        )


class LesionStructures(ClassificationDataModule):
    """Drawn skin lesions with up to twelve structures of falling frequency, of which some positives are not noted.

    Structure k (from 0) is in `head · decay^k` of the images. A label is a positive that was seen and noted: in
    training `deleted` of the positives of each structure are labelled as absent; validation and test are right.

    Args:
        train: Images to train on.
        val: Images for validation.
        test: Images to test on.
        pixels: Height and width that images are drawn at.
        structures: Number of structures, 2 to 12.
        head: Part of the images with the most frequent structure.
        decay: Frequency of a structure as a part of that of the one before.
        deleted: Part of the positives that training labels lack.
        strength: Contrast of the structures.
        common: Options of all data of classification.
    """

    def __init__(
        self,
        train: int = 4000,
        val: int = 500,
        test: int = 4000,
        pixels: int = 32,
        structures: int = 12,
        head: float = 0.35,
        decay: float = 0.62,
        deleted: float = 0.3,
        strength: float = 1.0,
        **common: Unpack[ClassificationOptions],
    ) -> None:
        super().__init__(**common)
        check_drawn(train=train, val=val, test=test)
        check_drawn(16, pixels=pixels)
        for name, value in {"head": head, "decay": decay, "deleted": deleted, "strength": strength}.items():
            _share(name, value)
        if not 2 <= structures <= 12:
            raise ConfigError(f"--data.structures: expected 2 to 12, got {structures}")
        self._counts, self._pixels, self._strength = {"train": train, "val": val, "test": test}, pixels, strength
        self._shares, self._deleted = [head * decay**k for k in range(structures)], deleted

    def make_cases(self) -> Cases:
        """Number the images."""
        names = tuple(f"s{k:02}" for k in range(len(self._shares)))
        return Cases("structures", names, {part: self._part_items(part) for part in PARTS}, True, 3)

    def _part_items(self, part: str) -> tuple[Item, ...]:
        number, count = PARTS.index(part), self._counts[part]
        rng = np.random.default_rng((self.seed, number, 12))
        has = np.stack([ones(rng, count, share, at_least=2) for share in self._shares], 1)
        noted = has.copy()
        for column in noted.T if part == "train" else ():
            rows = np.flatnonzero(column)
            column[rows] -= ones(rng, len(rows), self._deleted)
        items = []
        for i in range(count):
            name, shown = f"{part}{i:05}", tuple(np.flatnonzero(has[i]).tolist())
            draw = partial(_structured, (self.seed, number, i), self._pixels, shown, self._strength)
            items.append(Item(name, draw, tuple(map(float, noted[i])), name))
        return tuple(items)


def ones(rng: np.random.Generator, count: int, share: float, at_least: int = 0) -> Numbers:
    """Return zeros and exactly `round(count · share)` ones (`at_least`, where there is room) in random order."""
    found = np.zeros(count, dtype=np.int64)
    found[: min(count, max(at_least, round(count * share)))] = 1
    return rng.permutation(found)


def _share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"--data.{name}: expected 0 to 1, got {value}")


def _drawn(seed: tuple[int, ...], pixels: int, irregular: float, tone: float, ink: bool) -> Loaded:
    from medzoo.fairness.phantoms import lesion

    return lesion(seed, pixels, irregular, tone, ink), UNKNOWN


def _structured(seed: tuple[int, ...], pixels: int, structures: tuple[int, ...], strength: float) -> Loaded:
    from medzoo.fairness.phantoms import lesion

    return lesion(seed, pixels, structures=structures, strength=strength), UNKNOWN
