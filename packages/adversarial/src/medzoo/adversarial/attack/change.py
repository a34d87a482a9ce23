"""How an attack changed the answer of a model, by the kind of its outputs: what a picture of it shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medzoo.core.io import figure_text
from medzoo.core.tasks.anomaly import AnomalyOutputs
from medzoo.core.tasks.classification import ClassificationOutputs
from medzoo.core.tasks.landmark_types import LandmarkOutputs
from medzoo.core.tasks.lesions import LesionOutputs
from medzoo.core.tasks.segmentation import SegmentationOutputs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_CLASSES = 8


@dataclass(frozen=True)
class Answer:
    """The answer for one image.

    Attributes:
        values: `(K, 2)` points (x, y) in pixels of the network's image, `(H, W)` or `(D, H, W)` scores, or `(C,)`
            probabilities.
        kind: `"points"`, `"map"`, `"classes"`, or `"none"` where nobody knows how to show it.
        names: Of the classes.
    """

    values: NDArray[np.float64]
    kind: str
    names: tuple[str, ...] = ()


@singledispatch
def answer_of(outputs: object, index: int) -> Answer:
    """Return the answer for an image of a batch; a plug-in's outputs are registered with `answer_of.register`.

    Args:
        outputs: Of the batch.
        index: Place of the image in it.
    """
    del outputs, index
    return Answer(np.empty(0), "none")


@answer_of.register
def _points(outputs: LandmarkOutputs, index: int) -> Answer:
    return Answer(_array(outputs.points[index]), "points")


@answer_of.register
def _classes(outputs: ClassificationOutputs, index: int) -> Answer:
    return Answer(_array(outputs.probabilities[index]), "classes", outputs.classes)


@answer_of.register
def _map(outputs: AnomalyOutputs, index: int) -> Answer:
    return Answer(_array(outputs.maps[index]), "map")


@answer_of.register
def _volume(outputs: LesionOutputs, index: int) -> Answer:
    del index  # a batch holds one volume
    return Answer(_array(outputs.score), "map")


@answer_of.register
def _mask(outputs: SegmentationOutputs, index: int) -> Answer:
    return Answer(_array(outputs.probabilities[index, 0]), "map")


def draw_change(axes: Axes, before: Answer, after: Answer, image: NDArray[np.float32]) -> None:
    """Draw what became of an answer: arrows on the attacked image, a signed map, or bars.

    Args:
        axes: Where.
        before: For the clean image.
        after: For the attacked one.
        image: `(H, W)` attacked image, below points.
    """
    if before.kind == "points":
        _draw_arrows(axes, before.values, after.values, image)
    elif before.kind == "map":
        _draw_map(axes, after.values - before.values)
    elif before.kind == "classes":
        _draw_bars(axes, before, after)
    else:
        axes.set_axis_off()
        axes.set_title("answer: no picture", fontsize=8)


def _draw_arrows(
    axes: Axes, before: NDArray[np.float64], after: NDArray[np.float64], image: NDArray[np.float32]
) -> None:
    known = np.isfinite(before).all(1) & np.isfinite(after).all(1)
    start, way = before[known], (after - before)[known]
    axes.imshow(image, cmap="gray", vmin=image.min(), vmax=image.max())
    axes.quiver(*start.T, *way.T, angles="xy", scale_units="xy", scale=1, color="tab:red", width=0.006)
    axes.scatter(start[:, 0], start[:, 1], s=8, color="tab:cyan")
    farthest = float(np.linalg.norm(way, axis=1).max(initial=0))
    axes.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
    axes.set_axis_off()
    axes.set_title(f"points moved, up to {farthest:.3g} px", fontsize=8)


def _draw_map(axes: Axes, change: NDArray[np.float64]) -> None:
    place = ""
    if change.ndim == 3:
        at = int(np.abs(change).sum((1, 2)).argmax())
        change, place = change[at], f" (slice {at})"
    largest = float(np.nanmax(np.abs(change), initial=0))
    axes.imshow(change, cmap="coolwarm", vmin=-(largest or 1), vmax=largest or 1)
    axes.set_axis_off()
    axes.set_title(f"score map changed, up to {largest:.3g}{place}", fontsize=8)


def _draw_bars(axes: Axes, before: Answer, after: Answer) -> None:
    chosen = np.sort(np.argsort(-np.abs(after.values - before.values), kind="stable")[:_MOST_CLASSES])
    place = np.arange(len(chosen))
    axes.barh(place - 0.2, before.values[chosen], 0.4, color="tab:cyan", label="clean")
    axes.barh(place + 0.2, after.values[chosen], 0.4, color="tab:red", label="attacked")
    axes.set(xlim=(0, 1), ylim=(len(chosen) - 0.5, -0.5), yticks=place)
    axes.set_yticklabels([figure_text(before.names[i]) for i in chosen], fontsize=7)
    axes.legend(fontsize=6)
    axes.set_title("probability", fontsize=8)


def _array(values: Tensor) -> NDArray[np.float64]:
    return np.asarray(values.detach().to("cpu", torch.float64).numpy())
