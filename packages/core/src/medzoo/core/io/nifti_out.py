"""Writing NIfTI volumes that lie exactly on another one."""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence

import nibabel
import numpy as np
from numpy.typing import NDArray

from medzoo.core.io.files import replacing
from medzoo.core.io.orientation import turned_back
from medzoo.core.io.series import layout_of_volume
from medzoo.core.io.types import reading


def write_nifti(
    path: str | os.PathLike[str],
    array: NDArray[np.generic],
    like: str | os.PathLike[str] | None = None,
    spacing: Sequence[float] | None = None,
) -> None:
    """Write a volume as `.nii` or `.nii.gz`, whole or not at all.

    Args:
        path: Target.
        array: `(D, H, W)`, z up, y to the back, x to the left as `read_image` returns it; bool and
            integers are stored as they are, floats as float32, neither scaled.
        like: NIfTI file whose affine, order of axes and header (orientation codes, units, description) are taken over,
            or a folder of DICOM slices, whose place and order of slices are.
        spacing: Millimetres per voxel along x, y, z, where there is no such file.

    Raises:
        DataError: `like` cannot be read, or the folder cannot be written to.
        ValueError: The array is not three-dimensional, `like` has another size, or neither it nor `spacing` is given.
    """
    if array.ndim != 3:
        raise ValueError(f"array must be (D, H, W), got {array.shape}")
    kind = np.uint8 if array.dtype == bool else np.float32 if array.dtype.kind == "f" else array.dtype
    voxels = np.asarray(array, dtype=kind).T  # NIfTI counts x first
    image = _on(voxels, os.fspath(like)) if like else _alone(voxels, spacing)
    image.set_data_dtype(kind)
    image.header.set_slope_inter(1, 0)
    data = image.to_bytes()
    if os.fspath(path).endswith(".gz"):
        data = gzip.compress(data, compresslevel=4, mtime=0)  # without a time stamp the same result is the same file
    with replacing(path) as part:
        part.write_bytes(data)


def _on(voxels: NDArray[np.generic], like: str) -> nibabel.Nifti1Image:
    layout = layout_of_volume(like)
    if layout.header.size != voxels.shape or layout.turn is None:
        raise ValueError(f"array must have the size of {like}, {layout.header.size}, got {voxels.shape}")
    voxels = turned_back(voxels, layout.turn)
    if os.path.isdir(like):
        assert layout.header.affine is not None
        image = nibabel.Nifti1Image(voxels, layout.header.affine @ np.linalg.inv(layout.stored))
        image.header.set_xyzt_units("mm")
        return image
    with reading(like):
        source = nibabel.load(like)
        header = source.header.copy()
        image = type(source)(voxels, None, header)
    image.header["cal_min"] = image.header["cal_max"] = 0  # the display window of another kind of value
    return image


def _alone(voxels: NDArray[np.generic], spacing: Sequence[float] | None) -> nibabel.Nifti1Image:
    if spacing is None:
        raise ValueError("give like or spacing")
    image = nibabel.Nifti1Image(voxels, np.diag([-spacing[0], -spacing[1], spacing[2], 1.0]))
    image.header.set_xyzt_units("mm")
    return image
