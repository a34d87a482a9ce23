"""The rim of the organ, where the partial volume of the chest wall looks like disease."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor


def without_rim(image: Tensor, organ: Tensor, level: float, width: float, spacing: Sequence[float]) -> Tensor:
    """Return the organ without its rim and without thin bright bodies that touch it.

    The rim is what lies within `width` of a voxel outside, in plane. A body is thin where no square of 2 × 2 voxels in
    plane fits into it; a vessel that reaches the rim is part of a tree and stays. Where voxels are wider than `width`
    there is no rim to take away and the organ stays as it is. The border of the volume is none of the organ's.

    Args:
        image: `(D, H, W)` in [0, 1].
        organ: `(D, H, W)` bool.
        level: τ, brightness from which voxels form bodies.
        width: Millimetres.
        spacing: Millimetres per voxel along z, y, x.

    Returns:
        `(D, H, W)` bool, a part of `organ`, on its device.
    """
    reach = [int(width / s + 1e-3) for s in spacing[1:]]
    if not any(reach):
        return organ
    y, x = (np.arange(-r, r + 1) * s for r, s in zip(reach, spacing[1:], strict=True))
    disc = np.hypot(y[:, None], x[None]) <= width * (1 + 1e-6)
    whole = organ.cpu().numpy()
    kept = ndimage.binary_erosion(whole, disc[None], border_value=1)
    bright = kept & (image.cpu().numpy() >= level)
    regions, count = ndimage.label(bright, np.ones((3, 3, 3), dtype=bool))
    dropped = np.zeros(count + 1, dtype=bool)
    dropped[regions[ndimage.binary_dilation(whole & ~kept, np.ones((1, 3, 3), dtype=bool)) & bright]] = True
    dropped[regions[ndimage.binary_opening(bright, np.ones((1, 2, 2), dtype=bool))]] = False
    return torch.from_numpy(kept & ~dropped[regions]).to(organ.device)
