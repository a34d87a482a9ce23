"""A lung mask by thresholds, for volumes that come without one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medzoo.core.geometry.boxes import box_of

_AIR = -400.0
_CLOSING_MM = 12.0
_COARSE_MM = 2.0  # cells of the closing, which is a matter of centimetres
_SHARE = 0.1  # a second lung smaller than this part of the first is a piece of something else


def lung_mask(hu: NDArray[np.float32], spacing: Sequence[float]) -> NDArray[np.bool_]:
    """Return the two largest bodies of air that do not touch the side of the volume, closed and filled.

    Dense disease at the border of the lung is brighter than the threshold and therefore missed where closing by 12 mm
    does not reach it: with large consolidations give masks made by a trained lung segmenter.

    Args:
        hu: `(D, H, W)` in Hounsfield units.
        spacing: Millimetres per voxel along x, y, z.
    """
    regions, count = ndimage.label(hu < _AIR)
    if count == 0:
        return np.zeros(hu.shape, dtype=bool)
    sizes = np.zeros(count + 1, np.int64)
    for plane in regions:  # counting all at once would copy the volume as 64-bit integers
        sizes += np.bincount(plane.ravel(), minlength=count + 1)
    border = np.concatenate(
        [regions[:, 0].ravel(), regions[:, -1].ravel(), regions[:, :, 0].ravel(), regions[:, :, -1].ravel()]
    )
    sizes[np.unique(border)] = 0
    sizes[0] = 0
    kept = np.zeros(count + 1, dtype=bool)
    for label in sizes.argsort()[::-1][:2]:
        kept[label] = sizes[label] > _SHARE * sizes.max()
    lungs = np.asarray(kept[regions], dtype=bool)
    del regions
    if lungs.any():
        around = box_of(lungs)
        lungs[around] |= _closed(lungs[around], tuple(reversed(tuple(spacing))))
    return lungs


def _closed(mask: NDArray[np.bool_], spacing: Sequence[float]) -> NDArray[np.bool_]:
    """Close by a ball and fill, on cells of about 2 mm; a cell counts where all of it is in the mask."""
    cells = [max(1, int(_COARSE_MM / s)) for s in spacing]
    short = [-n % c for n, c in zip(mask.shape, cells, strict=True)]
    whole = np.pad(mask, [(0, n) for n in short])
    for axis, cell in enumerate(cells):
        whole = np.logical_and.reduce([np.take(whole, range(i, whole.shape[axis], cell), axis) for i in range(cell)])
    step = [s * c for s, c in zip(spacing, cells, strict=True)]
    reach = [max(1, round(_CLOSING_MM / s)) + 1 for s in step]
    # A distance transform closes with a ball of any size in one pass each way.
    near = ndimage.distance_transform_edt(~np.pad(whole, [(r, r) for r in reach]), sampling=step) <= _CLOSING_MM
    closed = ndimage.distance_transform_edt(near, sampling=step) > _CLOSING_MM
    closed = ndimage.binary_fill_holes(closed[tuple(slice(r, -r) for r in reach)] | whole)
    for axis, cell in enumerate(cells):
        closed = closed.repeat(cell, axis)
    return np.asarray(closed[tuple(slice(n) for n in mask.shape)], dtype=bool)
