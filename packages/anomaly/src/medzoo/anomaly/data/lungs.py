"""A lung mask by thresholds, for volumes that come without one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_AIR = -400.0
_CLOSING_MM = 12.0
_SHARE = 0.1  # a second lung smaller than this part of the first is a piece of something else


def lung_mask(hu: NDArray[np.float32], spacing: Sequence[float]) -> NDArray[np.bool_]:
    """Return the two largest bodies of air that do not touch the side of the volume, closed and filled.

    Dense disease at the border of the lung is darker than no threshold and stays outside where closing by 12 mm does
    not reach it: with large consolidations give masks made by a trained lung segmenter.

    Args:
        hu: `(D, H, W)` in Hounsfield units.
        spacing: Millimetres per voxel along x, y, z.
    """
    air = hu < _AIR
    regions, count = ndimage.label(air)
    if count == 0:
        return np.zeros(hu.shape, dtype=bool)
    sizes = np.bincount(regions.ravel())
    border = np.concatenate(
        [regions[:, 0].ravel(), regions[:, -1].ravel(), regions[:, :, 0].ravel(), regions[:, :, -1].ravel()]
    )
    sizes[np.unique(border)] = 0
    sizes[0] = 0
    order = sizes.argsort()[::-1][:2]
    kept = [int(i) for i in order if sizes[i] > _SHARE * sizes[order[0]] and sizes[i]]
    lungs = np.isin(regions, kept)
    if not kept:
        return lungs
    reach = [max(1, round(_CLOSING_MM / s)) for s in reversed(tuple(spacing))]
    # A distance transform closes with a ball of any size in one pass each way.
    padded = np.pad(lungs, [(r + 1, r + 1) for r in reach])
    step = tuple(reversed(tuple(spacing)))
    near = ndimage.distance_transform_edt(~padded, sampling=step) <= _CLOSING_MM
    closed = ndimage.distance_transform_edt(near, sampling=step) > _CLOSING_MM
    inner = closed[tuple(slice(r + 1, -r - 1) for r in reach)]
    return np.asarray(ndimage.binary_fill_holes(inner | lungs), dtype=bool)
