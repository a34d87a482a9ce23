"""Bringing stored volumes into one order of axes, and back.

Scanners and converters store volumes along any axes. In memory every volume is `(z, y, x)` with z towards the head, y
to the back and x to the patient's left, as the slices of a DICOM series are: of all ways to exchange and mirror axes
the one that comes closest to it is taken, which moves no voxel in the world.
"""

from __future__ import annotations

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray

Affine = NDArray[np.float64]
Turn = NDArray[np.float64]
"""`(3, 2)` as nibabel has it: for each stored axis the axis it becomes, and −1 where it is mirrored."""

_ORDER = axcodes2ornt(("L", "P", "S"))


def turn_of(affine: Affine) -> Turn:
    """Return how stored axes `(x, y, z)` of an invertible affine become left, back and up."""
    turn: Turn = ornt_transform(io_orientation(affine), _ORDER)
    return turn


def turned(voxels: NDArray[np.generic], turn: Turn) -> NDArray[np.generic]:
    """Return `(x, y, z[, c])` voxels with their axes exchanged and mirrored; a view."""
    return np.asarray(apply_orientation(voxels, turn))


def turned_back(voxels: NDArray[np.generic], turn: Turn) -> NDArray[np.generic]:
    """Undo `turned`; a view."""
    return np.asarray(apply_orientation(voxels, _inverse(turn)))


def back_affine(turn: Turn, shape: tuple[int, ...]) -> Affine:
    """Return the `(4, 4)` map from voxels after the turn to voxels as stored.

    Args:
        turn: The turn.
        shape: `(x, y, z)` as stored.
    """
    return np.asarray(inv_ornt_aff(turn, shape[:3]), dtype=np.float64)


def _inverse(turn: Turn) -> Turn:
    inverse = np.empty_like(turn)
    for stored, (axis, sign) in enumerate(turn):
        inverse[int(axis)] = stored, sign
    return inverse
