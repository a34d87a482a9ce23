"""Splits of a chosen bias by patient: it goes with the label in training, and tells nothing in validation and test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medzoo.core.errors import ConfigError

Codes = NDArray[np.int64]
_CELLS = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Label and bias of the four cases."""


@dataclass(frozen=True)
class Wanted:
    """How many images each part is to have.

    Attributes:
        aligned: Training images of each of the two aligned cases (bias = label).
        rho: Share of training images that are aligned, in (0.5, 1); each conflicting case has
            `round(aligned · (1 − ρ) / ρ)` images.
        val: Validation images of each of the four cases.
        test: Test images of each.
    """

    aligned: int
    rho: float
    val: int
    test: int

    def of(self, part: str, label: int, bias: int) -> int:
        """Return the number of images of a case in a part."""
        if part != "train":
            return self.val if part == "val" else self.test
        return self.aligned if label == bias else self.conflict

    @property
    def conflict(self) -> int:
        """Training images of each conflicting case."""
        return round(self.aligned * (1 - self.rho) / self.rho)


def biased_split(label: Codes, bias: Codes, patients: Sequence[str], wanted: Wanted, seed: int = 0) -> list[str]:
    """Return the part of each image: `train`, `val`, `test`, or empty where it is not needed.

    Patients are taken in random order; one belongs to a single part, and of it only the images that the part still
    needs are used. Test and validation are filled first, for their conflicting cases are the rarest.

    Args:
        label: `(N,)`, 0 or 1, −1 where unknown.
        bias: `(N,)`, likewise.
        patients: `(N,)` whose each image is; an image of an empty name is a patient of its own.
        wanted: Numbers of images.
        seed: Of the order.

    Raises:
        ConfigError: A case has too few images; the message has the largest number that there is room for.
    """
    own = [name or f"\0{i}" for i, name in enumerate(patients)]
    known = (label >= 0) & (bias >= 0)
    members: dict[str, list[int]] = {}
    for i in np.flatnonzero(known).tolist():
        members.setdefault(own[i], []).append(i)
    names = sorted(members)
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    parts = [""] * len(label)
    for part in ("test", "val", "train"):
        left = {cell: wanted.of(part, *cell) for cell in _CELLS}
        rest = []
        for name in order:
            used = []
            for i in members[name]:
                cell = (int(label[i]), int(bias[i]))
                if left[cell] > 0:
                    left[cell] -= 1
                    used.append(i)
            for i in used:
                parts[i] = part
            if not used:
                rest.append(name)
        lacking = next(((cell, count) for cell, count in left.items() if count), None)
        if lacking is not None:
            (y, b), count = lacking
            need = wanted.of(part, y, b)
            raise ConfigError(
                f"medzoo biased-split: {part} needs {need} images of label {y} and bias {b}, there is room for "
                f"{need - count}; ask for fewer images"
            )
        order = rest
    return parts


def shared_patients(parts: Sequence[str], patients: Sequence[str]) -> list[str]:
    """Return the patients with images in two parts, in order."""
    found: dict[str, set[str]] = {}
    for part, name in zip(parts, patients, strict=True):
        if part and name:
            found.setdefault(name, set()).add(part)
    return sorted(name for name, own in found.items() if len(own) > 1)


def tables(parts: Sequence[str], label: Codes, bias: Codes) -> dict[str, dict[str, object]]:
    """Return of each part the 2 × 2 counts `[label][bias]` and φ, the correlation of label and bias (NaN without)."""
    found: dict[str, dict[str, object]] = {}
    for part in ("train", "val", "test"):
        rows = np.array([own == part for own in parts], dtype=bool)
        counts = [[int(((label == y) & (bias == b) & rows).sum()) for b in (0, 1)] for y in (0, 1)]
        (a, b), (c, d) = counts
        spread = math.sqrt(float((a + b) * (c + d) * (a + c) * (b + d)))
        found[part] = {"counts": counts, "phi": (a * d - b * c) / spread if spread else math.nan}
    return found
