"""Whether a model looks where findings are: the pointing game, beside a guess that looks at no image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medzoo.core.geometry import apply, compose, invert, resize_affine
from medzoo.core.metrics.grounding import points_at
from medzoo.core.sample import Batch

Box = tuple[float, ...]


class Pointed(NamedTuple):
    """A finding with boxes in one image, and where it was looked for.

    Attributes:
        source: Of the image.
        id: Of the image.
        label: The finding.
        peak: x and y of the middle of the map's highest cell, in pixels of the original.
        boxes: Of the finding: x and y of the first and of the last pixel.
        size: Width and height of the original.
    """

    source: str
    id: str
    label: str
    peak: tuple[float, float]
    boxes: tuple[Box, ...]
    size: tuple[float, float]


def pointed(batch: Batch, maps: NDArray[np.float32], classes: Sequence[str]) -> list[Pointed]:
    """Return where the maps of a batch are highest, of the findings that have boxes.

    Args:
        batch: With `boxes`, see `medzoo.vlm.data.module.ReportSample`.
        maps: `(B, C, rows, columns)` over the network's images.
        classes: C names.
    """
    found = []
    cells = resize_affine((maps.shape[3], maps.shape[2]), tuple(batch["image"].shape[:1:-1]))
    for index, own in enumerate(batch["boxes"]):
        back = compose(cells, invert(batch["affine"][index].double().cpu().numpy()))
        for label, boxes in own.items():
            each = maps[index, classes.index(label)]
            row, column = np.unravel_index(int(each.argmax()), each.shape)
            (point,) = apply(back, np.array([[column, row]], dtype=np.float64))
            width, height = batch["original_size"][index].tolist()
            source = batch["source"][index] if "source" in batch else "all"
            peak = float(point[0]), float(point[1])
            found.append(Pointed(source, batch["id"][index], label, peak, tuple(map(tuple, boxes)), (width, height)))
    return found


def pointing(found: Sequence[Pointed]) -> dict[str, float]:
    """Return the figures of the pointing game (as in RadZero and CARZero): how often the peak lies in a box.

    `pointing` is the mean over the findings, `pointing/<finding>` each of them, `pointing_micro` that of all findings
    of all images. `pointing_middle` is the mean over the findings of a guess that looks at no image: the middle of all
    of a finding's boxes, as parts of width and height; what a model sees in an image is what it has beyond that.
    """
    if not found:
        return {}
    labels = dict.fromkeys(one.label for one in sorted(found, key=lambda one: (one.label, one.id)))
    each, guesses, hits = {}, [], []
    for label in labels:
        own = [one for one in found if one.label == label]
        middle = np.mean([_middle(box, one.size) for one in own for box in one.boxes], axis=0)
        hit = [points_at(one.peak, one.boxes) for one in own]
        guess = [points_at((middle[0] * one.size[0], middle[1] * one.size[1]), one.boxes) for one in own]
        each[f"pointing/{label}"] = float(np.mean(hit))
        guesses.append(float(np.mean(guess)))
        hits += hit
    return {
        "pointing": float(np.mean(list(each.values()))),
        "pointing_micro": float(np.mean(hits)),
        "pointing_middle": float(np.mean(guesses)),
        **each,
    }


def _middle(box: Box, size: tuple[float, float]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2 / size[0], (box[1] + box[3]) / 2 / size[1]
