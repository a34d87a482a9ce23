"""Points of an image that a matcher should be able to find in other images, proposed without any label."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medzoo.core.geometry import resample, resize_affine

Grey = NDArray[np.float32]
"""`(H, W)` in [0, 1]."""
Points = NDArray[np.float64]
"""`(P, 2)` x, y in pixels, the most salient first."""
KeypointProposal = Callable[[Grey], Points]

_SCALES = 3
"""Scales an octave on which extrema are looked for."""
_SIGMA, _BLUR = 1.6, 0.5
"""Standard deviations of the first scale of an octave, and of what the camera has blurred, in pixels."""


def difference_of_gaussians(image: Grey, contrast: float = 0.04, edge: float = 10.0) -> Points:
    """Propose extrema in space and scale of differences of Gaussians: the detector of SIFT (Lowe, IJCV 2004).

    The image is enlarged twice, then halved octave by octave, as in SIFT. Points stay on the pixels of their octave
    (SIFT also refines them between pixels), and no descriptor is made: SCP uses place and response only.

    Args:
        image: The image.
        contrast: Least response, divided by the three scales of an octave as OpenCV does.
        edge: Largest ratio of the two curvatures; above it a point lies on an edge.
    """
    size = (2 * image.shape[1], 2 * image.shape[0])
    octave = resample(image, resize_affine(image.shape[::-1], size), size)
    octave = ndimage.gaussian_filter(octave, np.sqrt(_SIGMA**2 - (2 * _BLUR) ** 2))
    found: list[NDArray[np.float64]] = []
    step = 0.5  # pixels of the image for each of the octave
    while min(octave.shape) >= 16:
        levels = [octave]
        for level in range(1, _SCALES + 3):
            before, after = (_SIGMA * 2 ** (i / _SCALES) for i in (level - 1, level))
            levels.append(ndimage.gaussian_filter(levels[-1], np.sqrt(after**2 - before**2)))
        stack = np.diff(np.stack(levels), axis=0)  # (scales + 2, h, w)
        extreme = (stack == ndimage.maximum_filter(stack, 3)) & (stack > 0)
        extreme |= (stack == ndimage.minimum_filter(stack, 3)) & (stack < 0)
        extreme &= np.abs(stack) >= contrast / _SCALES
        extreme[[0, -1]] = extreme[:, [0, -1]] = extreme[:, :, [0, -1]] = False
        scale, y, x = np.nonzero(extreme)
        sharp = ~_on_edge(stack, scale, y, x, edge)
        # The first pixels of all octaves have one centre, that of the first pixel of the enlarged image.
        places = np.stack([x, y], axis=1)[sharp] * step - 0.25
        found.append(np.column_stack([places, np.abs(stack[extreme])[sharp]]))
        octave, step = levels[_SCALES][::2, ::2], 2 * step
    points = np.concatenate(found) if found else np.empty((0, 3))
    return points[np.argsort(-points[:, 2], kind="stable"), :2]


def _on_edge(
    stack: Grey, s: NDArray[np.int64], y: NDArray[np.int64], x: NDArray[np.int64], ratio: float
) -> NDArray[np.bool_]:
    here = stack[s, y, x]
    dxx = stack[s, y, x + 1] + stack[s, y, x - 1] - 2 * here
    dyy = stack[s, y + 1, x] + stack[s, y - 1, x] - 2 * here
    corners = stack[s, y + 1, x + 1] + stack[s, y - 1, x - 1] - stack[s, y - 1, x + 1] - stack[s, y + 1, x - 1]
    determinant = dxx * dyy - (corners / 4) ** 2
    edges: NDArray[np.bool_] = (determinant <= 0) | ((dxx + dyy) ** 2 * ratio >= (ratio + 1) ** 2 * determinant)
    return edges


def grid(image: Grey, cells: int = 12) -> Points:
    """Propose the centres of a grid of cells, whatever the image shows.

    Args:
        image: The image.
        cells: Cells along each side.
    """
    height, width = image.shape
    y, x = np.meshgrid(*((np.arange(cells) + 0.5) * side / cells - 0.5 for side in (height, width)), indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=1)


def thin(points: Points, size: tuple[int, int], border: float = 0.1, distance: float = 10 / 384) -> Points:
    """Drop points near the border, then those near one that comes before (the public code: 38.4 and 10 px of 384).

    The public code forgets the lower border.

    Args:
        points: The most salient first.
        size: Width and height of the image.
        border: Least distance from the four borders, as a part of width or height.
        distance: Least distance between points, as a part of the longer side.
    """
    extent = np.array(size, np.float64)
    low, high = border * extent - 0.5, (1 - border) * extent - 0.5
    least = (distance * extent.max()) ** 2
    kept: list[NDArray[np.float64]] = []
    for point in points[((points >= low) & (points <= high)).all(axis=1)]:
        if all(((point - other) ** 2).sum() >= least for other in kept):
            kept.append(point)
    return np.array(kept, np.float64).reshape(-1, 2)
