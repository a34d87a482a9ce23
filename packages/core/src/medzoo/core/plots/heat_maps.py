"""Score maps over images and volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medzoo.core.names import figure_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_AIR, _TISSUE = -1000.0, 200.0  # HU


class HeatPicture(NamedTuple):
    """An image with its score map, both in the image's shape."""

    image: NDArray[np.float32]
    """`(3, h, w)` in [0, 1]."""
    heat: NDArray[np.float32]
    """`(h, w)`, larger is more abnormal."""
    mask: NDArray[np.bool_] | None
    """`(h, w)`, where the known defect is."""


def heat_grid(pictures: list[HeatPicture], title: str) -> Figure:
    """Draw images above and their score maps below, the known defect outlined."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.4 * len(pictures), 5), layout="constrained")
    axes = figure.subplots(2, len(pictures), squeeze=False)
    low = min(float(picture.heat.min()) for picture in pictures)
    high = max(float(picture.heat.max()) for picture in pictures)
    for column, (image, heat, mask) in enumerate(pictures):
        axes[0, column].imshow(image.transpose(1, 2, 0).clip(0, 1))
        axes[1, column].imshow(image.mean(0), cmap="gray", vmin=0, vmax=1)
        axes[1, column].imshow(heat, cmap="inferno", vmin=low, vmax=max(high, low + 1e-9), alpha=0.6)
        if mask is not None and mask.any():
            axes[1, column].contour(mask, [0.5], colors="lime", linewidths=0.8)
        for row in range(2):
            axes[row, column].set_axis_off()
    figure.suptitle(figure_text(title), fontsize=9)
    return figure


def mosaic(
    hu: NDArray[np.float32],
    score: NDArray[np.float32],
    mask: NDArray[np.bool_],
    truth: NDArray[np.bool_] | None = None,
    slices: int = 4,
    title: str = "",
) -> Figure:
    """Draw axial slices with the most of the mask (or evenly spread ones): above the image, below score and outlines.

    Args:
        hu: `(D, H, W)`.
        score: `(D, H, W)`.
        mask: Predicted lesions, outlined in red.
        truth: Known lesions, outlined in green.
        slices: How many.
        title: Above the picture.
    """
    from matplotlib.figure import Figure

    chosen = _slices(mask if truth is None else mask | truth, slices)
    figure = Figure(figsize=(3 * len(chosen), 0.8 + 6 * hu.shape[1] / hu.shape[2]), layout="constrained")
    axes = figure.subplots(2, len(chosen), squeeze=False)
    top = float(score.max()) or 1.0
    for column, index in enumerate(chosen):
        for row in range(2):
            ax = axes[row, column]
            ax.imshow(hu[index], cmap="gray", vmin=_AIR, vmax=_TISSUE)
            ax.set_axis_off()
        shown = np.ma.masked_less_equal(score[index], 0.05 * top)
        axes[1, column].imshow(shown, cmap="inferno", vmin=0, vmax=top, alpha=0.6)
        for part, colour in ((mask, "red"), (truth, "lime")):
            if part is not None and part[index].any():
                axes[1, column].contour(part[index], [0.5], colors=colour, linewidths=0.8)
        axes[0, column].set_title(f"slice {index}", fontsize=8)
    figure.suptitle(figure_text(title), fontsize=9)
    return figure


def _slices(mask: NDArray[np.bool_], count: int) -> list[int]:
    filled = mask.sum((1, 2))
    if not filled.any():
        spread = np.linspace(0.25, 0.75, min(count, len(filled))) * (len(filled) - 1)
        return sorted({int(i) for i in spread})
    return sorted(np.argsort(-filled, kind="stable")[:count].tolist())
