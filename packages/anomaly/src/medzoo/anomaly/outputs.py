"""What a segmentation leaves: score map and mask in the input's geometry, a table of lesions, a mosaic of overlays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from medzoo.core.errors import DataError
from medzoo.core.geometry.boxes import box_of
from medzoo.core.names import listed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LESION_COLUMNS = ("id", "lesion", "volume_ml", "x_mm", "y_mm", "z_mm", "x", "y", "z", "mean_score", "max_score")
_AIR, _TISSUE = -1000.0, 200.0


def require_finite(scores: Sequence[Tensor], places: Sequence[str]) -> None:
    """Refuse scores that are NaN or infinite, which no ranking can place.

    Args:
        scores: Of each image, its score, its score map or both in one tensor of any shape.
        places: File or name of each image.

    Raises:
        DataError: An image has such a score; the message names it, and the next ones.
    """
    bad = [place for score, place in zip(scores, places, strict=True) if not bool(torch.isfinite(score).all())]
    if bad:
        others = f", as {len(bad) - 1} more: {listed(bad[1:])}" if len(bad) > 1 else ""
        cure = "look at its values, or train again with --trainer.precision 32-true"
        raise DataError(bad[0], f"gets a score that is not finite{others}", cure)


def places(batch: dict[str, Any]) -> list[str]:
    """Return the file of each image of a batch, or its name where it has none."""
    return [path or name for path, name in zip(batch["path"], batch["id"], strict=True)]


def lesion_table(
    name: str,
    mask: NDArray[np.bool_],
    score: NDArray[np.float32],
    spacing: Sequence[float],
    world: NDArray[Any],
    stored: NDArray[Any],
) -> list[dict[str, Any]]:
    """Return one row a connected lesion, the largest first.

    Args:
        name: Of the volume.
        mask: `(D, H, W)`.
        score: `(D, H, W)`, larger is more abnormal.
        spacing: Millimetres per voxel along x, y, z.
        world: `(4, 4)` from voxel `(x, y, z)` to the scanner's millimetres.
        stored: `(4, 4)` from voxel `(x, y, z)` to that of the file, in which the table counts.
    """
    if not mask.any():
        return []
    box = box_of(mask)
    corner, mask, score = np.array([part.start for part in box]), mask[box], score[box]
    labels, count = ndimage.label(mask, np.ones((3, 3, 3), dtype=bool))
    numbers = np.arange(1, count + 1)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    centres = (np.array(ndimage.center_of_mass(mask, labels, numbers)).reshape(count, 3) + corner)[:, ::-1]  # x, y, z
    means, tops = ndimage.mean(score, labels, numbers), ndimage.maximum(score, labels, numbers)
    places, centres = (centres @ frame[:3, :3].T + frame[:3, 3] for frame in (world, stored))
    litre = float(np.prod(np.asarray(spacing, dtype=float))) / 1000
    rows = []
    for rank, i in enumerate(np.argsort(-sizes, kind="stable")):
        values = (sizes[i] * litre, *places[i], *centres[i], means[i], tops[i])
        figures = [round(float(v), 4) for v in values]
        rows.append(dict(zip(LESION_COLUMNS, (name, rank + 1, *figures), strict=True)))
    return rows


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

    from medzoo.core.io import figure_text

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


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all."""
    from medzoo.core.io import replacing

    with replacing(path) as part:
        figure.savefig(part, format="png", dpi=100)


def _slices(mask: NDArray[np.bool_], count: int) -> list[int]:
    filled = mask.sum((1, 2))
    if not filled.any():
        spread = np.linspace(0.25, 0.75, min(count, len(filled))) * (len(filled) - 1)
        return sorted({int(i) for i in spread})
    return sorted(np.argsort(-filled, kind="stable")[:count].tolist())
