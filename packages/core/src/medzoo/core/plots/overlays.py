"""Images with predicted and true landmarks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import ArrayLike, NDArray

from medzoo.core.names import figure_text
from medzoo.core.plots.figures import ERROR, PREDICTION, TRUTH

_NAMES_UP_TO = 12  # more names than this hide the image; numbers stand for them then
_OUTLINE = [patheffects.withStroke(linewidth=2.5, foreground="black")]


@dataclass(frozen=True)
class Case:
    """One image of a grid.

    Args:
        image: `(H, W)` or `(C, H, W)`.
        predictions: `(K, 2)` x, y in pixels, NaN where nothing was predicted.
        truth: `(K, 2)` true positions.
        visible: `(K,)` bool, false where no true position is known; all known if not given.
        name: Shown above the image.
        error: The image's error as it is reported (mm or px); the mean distance in pixels if not given.
    """

    image: ArrayLike
    predictions: ArrayLike
    truth: ArrayLike
    visible: ArrayLike | None = None
    name: str = ""
    error: float | None = None

    @property
    def score(self) -> float:
        """The error by which cases are compared; infinite where no point was predicted."""
        if self.error is not None:
            return self.error
        predictions, truth, known = _points(self.predictions, self.truth, self.visible)
        distances = np.hypot(*(predictions - truth)[known].T)
        found = distances[np.isfinite(distances)]
        return float(found.mean()) if len(found) else math.inf


def landmark_overlay(
    image: ArrayLike,
    predictions: ArrayLike,
    truth: ArrayLike | None = None,
    visible: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw predicted landmarks as crosses, true ones as circles, and the error between as a line.

    Args:
        image: `(H, W)` in any range of values, or `(C, H, W)` with 1 or 3 channels in [0, 1].
        predictions: `(K, 2)` x, y in pixels of the image, NaN where nothing was predicted.
        truth: `(K, 2)` true positions.
        visible: `(K,)` bool, false where no true position is known.
        names: K names, written beside the points (their numbers from 1 if there are more than 12).
        title: Written above.

    Raises:
        ValueError: Shapes that do not fit each other.
    """
    shown = _picture(image)
    height, width = shown.shape[:2]
    zoom = max(1.0, 512 / max(height, width)) / 100
    head = 0.35 if title else 0.0
    figure = Figure(figsize=(width * zoom, height * zoom + head), dpi=100)
    axes = figure.add_axes((0, 0, 1, height * zoom / (height * zoom + head)))
    _draw(axes, shown, predictions, truth, visible, names)
    if title:
        axes.set_title(figure_text(title), fontsize=11, pad=5)
    legend = axes.legend(loc="lower right", fontsize=8, framealpha=0.6, facecolor="black", labelcolor="white")
    legend.set_visible(truth is not None)
    return figure


def landmark_grid(cases: Sequence[Case], columns: int | None = None, unit: str = "px") -> Figure:
    """Draw several cases, with their errors, the best, median and worst of them framed and named.

    Args:
        cases: At least one; in the order in which they are shown.
        columns: Images per row; about the square root of their number if not given.
        unit: Unit of the errors.

    Raises:
        ValueError: No case.
    """
    if not cases:
        raise ValueError("cases is empty, expected at least one")
    columns = columns or math.ceil(math.sqrt(len(cases)))
    rows = math.ceil(len(cases) / columns)
    figure = Figure(figsize=(3.2 * columns, 3.5 * rows), dpi=100, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    roles = _roles([case.score for case in cases])
    for index, axes in enumerate(grid.flat):
        if index >= len(cases):
            axes.set_axis_off()
            continue
        case = cases[index]
        _draw(axes, _picture(case.image), case.predictions, case.truth, case.visible, None)
        error = f"{case.score:.3g} {unit}" if math.isfinite(case.score) else "nothing found"
        words = [word for word in (roles.get(index), figure_text(case.name), error) if word]
        axes.set_title("  ".join(words), fontsize=9, fontweight="bold" if index in roles else "normal")
        for spine in axes.spines.values():
            spine.set(visible=index in roles, color=PREDICTION, linewidth=3)
    return figure


def spread(errors: ArrayLike, count: int) -> list[int]:
    """Indices of `count` cases that stand evenly between the smallest and the largest error, both among them.

    Args:
        errors: `(N,)` error of each image; NaN (nothing annotated) is left out, infinity counts as the largest.
        count: How many; fewer are returned where fewer are there.
    """
    values = np.asarray(errors, dtype=np.float64)
    ranked = np.argsort(values, kind="stable")[: int((~np.isnan(values)).sum())]
    places = np.linspace(0, len(ranked) - 1, min(count, len(ranked)))
    return [int(ranked[round(float(place))]) for place in places]


def _roles(scores: list[float]) -> dict[int, str]:
    ranked = np.argsort(scores, kind="stable")
    if len(ranked) < 3:
        return {}
    return {int(ranked[0]): "best", int(ranked[(len(ranked) - 1) // 2]): "median", int(ranked[-1]): "worst"}


def _picture(image: ArrayLike) -> NDArray[np.float64]:
    """`(H, W)` or `(H, W, 3)` in [0, 1]."""
    array: NDArray[np.float64] = np.asarray(image, dtype=np.float64)
    if array.ndim == 3 and array.shape[0] in (1, 3):
        array = array[0] if array.shape[0] == 1 else np.moveaxis(array, 0, -1)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise ValueError(f"image has shape {np.shape(image)}, expected (H, W), (1, H, W) or (3, H, W)")
    if array.ndim == 3 or (array.min() >= 0 and array.max() <= 1):
        return array.clip(0, 1)
    stretched: NDArray[np.float64] = (array - array.min()) / max(float(np.ptp(array)), 1e-12)
    return stretched


def _points(
    predictions: ArrayLike, truth: ArrayLike | None, visible: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Predictions, true positions (NaN where unknown) and which of them are known."""
    found = np.asarray(predictions, dtype=np.float64)
    if found.ndim != 2 or found.shape[1] != 2:
        raise ValueError(f"predictions has shape {found.shape}, expected (K, 2)")
    real = np.full_like(found, np.nan) if truth is None else np.asarray(truth, dtype=np.float64)
    if real.shape != found.shape:
        raise ValueError(f"truth has shape {real.shape}, expected {found.shape} as the predictions")
    known: NDArray[np.bool_] = np.asarray(np.isfinite(real).all(axis=1), dtype=np.bool_)
    if visible is not None:
        seen = np.asarray(visible, dtype=bool)
        if seen.shape != known.shape:
            raise ValueError(f"visible has shape {seen.shape}, expected {known.shape}")
        known = np.asarray(known & seen, dtype=np.bool_)
    return found, real, known


def _draw(
    axes: Axes,
    picture: NDArray[np.float64],
    predictions: ArrayLike,
    truth: ArrayLike | None,
    visible: ArrayLike | None,
    names: Sequence[str] | None,
) -> None:
    found, real, known = _points(predictions, truth, visible)
    height, width = picture.shape[:2]
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest" if max(height, width) < 256 else "auto")
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.xaxis.set_major_locator(NullLocator())
    axes.yaxis.set_major_locator(NullLocator())
    for a, b in zip(found[known], real[known], strict=True):
        axes.plot([a[0], b[0]], [a[1], b[1]], color=ERROR, linewidth=1.2, path_effects=_OUTLINE)
    axes.plot(*real[known].T, "o", mfc="none", mec=TRUTH, ms=7, mew=1.4, label="truth", path_effects=_OUTLINE)
    axes.plot(*found.T, "+", color=PREDICTION, ms=7, mew=1.6, label="prediction", path_effects=_OUTLINE)
    if names is None:
        return
    if len(names) != len(found):
        raise ValueError(f"names has {len(names)} entries, expected {len(found)}, one for each prediction")
    for number, (name, point, place) in enumerate(zip(names, found, real, strict=True), start=1):
        x, y = point if np.isfinite(point).all() else place
        if np.isfinite((x, y)).all():
            left = x > 0.6 * width  # text towards the middle, so that it stays inside
            axes.annotate(
                figure_text(name) if len(names) <= _NAMES_UP_TO else str(number),
                (x, y),
                xytext=(-6 if left else 6, 4),
                textcoords="offset points",
                ha="right" if left else "left",
                fontsize=7,
                color="white",
                path_effects=_OUTLINE,
            )
