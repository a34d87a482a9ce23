"""Arrays of images and labels in one file, as MedMNIST has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medzoo.core.classifier.data.items import PARTS, UNKNOWN, Cases, Item, Loaded, filled
from medzoo.core.classifier.data.module import ClassificationDataModule, ClassificationOptions, check_classes
from medzoo.core.data.options import Unpack
from medzoo.core.data.splits import check_fractions
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io.arrays import read_labelled


class ClassesNpz(ClassificationDataModule):
    """Arrays in the layout of MedMNIST: `train_images`, `train_labels`, and the same for `val` and `test`.

    Labels are one number an image, or a row of 0 and 1 (several labels). A missing validation part is drawn from the
    training images; without a test part the validation part is the test, and validation is drawn too.

    Args:
        root: The file.
        classes: Names of the classes in the order of their numbers; empty: the numbers.
        val_fraction: Part of the training images for validation, where it is drawn.
        common: Options of all data of classification.
    """

    def __init__(
        self,
        root: str,
        classes: list[str] | None = None,
        val_fraction: float = 0.15,
        **common: Unpack[ClassificationOptions],
    ) -> None:
        super().__init__(**common)
        check_fractions(val_fraction=val_fraction)
        self.root, self._names, self._fraction = Path(root), classes, val_fraction

    def make_cases(self) -> Cases:
        """Read the arrays."""
        arrays = read_labelled(self.root, PARTS, ["train"])
        called = {part: part for part in PARTS}
        if "test" not in arrays:
            if "val" not in arrays:
                raise DataError(self.root, "has neither test_images nor val_images", "give a MedMNIST file")
            arrays["test"] = arrays.pop("val")
            called["test"] = "val"  # as the file calls it
        widths = {labels.shape[1] for _, labels in arrays.values()}
        channels = {1 if images.ndim == 3 else 3 for images, _ in arrays.values()}
        if len(widths) > 1 or len(channels) > 1:
            raise DataError(self.root, "has parts of different labels or colours", "give parts of one data set")
        multi, count = widths != {1}, widths.pop()
        top = max(int(labels.max()) for _, labels in arrays.values())
        if min(int(labels.min()) for _, labels in arrays.values()) < 0 or (multi and top > 1):
            expected = "0 and 1" if multi else "numbers from 0 on"
            raise DataError(self.root, f"has other labels than {expected}", "give a MedMNIST file")
        classes = tuple(self._names or map(str, range(count if multi else top + 1)))
        if (
            len(classes) != (count if multi else len(classes))
            or top >= len(classes)
            or len(set(classes)) < len(classes)
        ):
            wanted = count if multi else f"at least {top + 1}"
            raise ConfigError(f"--data.classes: expected {wanted} distinct names, got {len(classes)}")
        check_classes(self.root, classes)
        given = {part: _items(called[part], *pair, multi) for part, pair in arrays.items()}
        parts = filled(given, 0.0, self._fraction, self.seed)
        return Cases(self.root.stem, classes, parts, multi, channels.pop())

    def leaks(self, stage: str | None) -> list[DataError]:
        """Look for test images that are training images; a fit takes published files as they are."""
        if stage is not None:
            return []
        found = []
        parts = self.cases.parts
        for learnt, second, name in ((("train",), "val", "validation"), (("train", "val"), "test", "test")):
            known = {item.load()[0].tobytes(): item.id for part in learnt for item in reversed(parts[part])}
            items = parts[second]
            twins = [(item.id, known[p]) for item in items if (p := item.load()[0].tobytes()) in known]
            if twins:
                count, (twin, first_of) = f"{len(twins)} of its {name} images are", twins[0]
                problem = f"{count}, pixel for pixel, images to learn from, such as {twin} ({first_of})"
                cure = "remove one of each two: a test on known images shows nothing"
                found.append(DataError(self.root, problem, cure))
        return found


def _items(part: str, images: NDArray[np.uint8], labels: NDArray[np.int64], multi: bool) -> Sequence[Item]:
    """Return the images of a part; copies of one picture count as those of one patient, so that no draw parts them."""
    pixels = [image.tobytes() for image in images]
    first = {content: index for index, content in reversed(list(enumerate(pixels)))}
    twins = Counter(pixels)
    found = []
    for index, (image, row) in enumerate(zip(images, labels.tolist(), strict=True)):
        label = tuple(map(float, row)) if multi else row[0]
        patient = f"copies of {part}/{first[pixels[index]]}" if twins[pixels[index]] > 1 else ""
        found.append(Item(f"{part}/{index}", partial(_scaled, image), label, patient))
    return found


def _scaled(image: NDArray[np.uint8]) -> Loaded:
    array = image if image.ndim == 2 else np.moveaxis(image, -1, 0)
    return np.ascontiguousarray(array, dtype=np.float32) / np.float32(255), UNKNOWN
