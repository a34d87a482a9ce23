"""Writing NIfTI volumes that lie exactly on another one, and maps that lie on a plane image."""

from __future__ import annotations

import gzip
import math
import os
from collections.abc import Sequence

import nibabel
import numpy as np
from numpy.typing import NDArray

from medzoo.core.io.files import replacing
from medzoo.core.io.image import read_header
from medzoo.core.io.kinds import folder_of, page_of
from medzoo.core.io.orientation import turned_back
from medzoo.core.io.series import layout_of_volume, place_of_slice
from medzoo.core.io.types import RASTER, reading


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
            or a folder of DICOM slices, or `FOLDER#SeriesInstanceUID`, whose place and order of slices are.
        spacing: Millimetres per voxel along x, y, z, where there is no such file.

    Raises:
        DataError: `like` cannot be read, or the folder cannot be written to.
        ValueError: The array is not three-dimensional, `like` has another size, or neither it nor `spacing` is given.
    """
    if array.ndim != 3:
        raise ValueError(f"array must be (D, H, W), got {array.shape}")
    voxels = _voxels(array)
    _write(path, _on(voxels, os.fspath(like)) if like else _alone(voxels, spacing))


def write_plane(path: str | os.PathLike[str], array: NDArray[np.generic], like: str | os.PathLike[str]) -> None:
    """Write a map of a plane image as `.nii` or `.nii.gz` of one slice, which lies on the image in a viewer.

    A DICOM image that says where it lies in the patient is taken at its word. Others lie at the origin as other
    programs take them, x to the left and y to the back, with their spacing or, where that is unknown, 1 and no unit.

    Args:
        path: Target.
        array: `(H, W)`, stored as `write_nifti` does.
        like: File of the image, or a page of one.

    Raises:
        DataError: `like` cannot be read, or the folder cannot be written to.
        ValueError: The image has another size than the array.
    """
    name = os.fspath(like)
    header = read_header(name)
    if header.size != array.shape[::-1]:
        raise ValueError(f"array must have the size of {name}, {header.size}, got {array.shape[::-1]}")
    known = not any(map(math.isnan, header.spacing))
    spacing = header.spacing if known else (1.0, 1.0)
    raster = page_of(name)[0].lower().endswith(RASTER)
    place = None if raster or not known else place_of_slice(name, spacing)
    affine = np.diag([-spacing[0], -spacing[1], 1.0, 1.0]) if place is None else place
    image = nibabel.Nifti1Image(_voxels(array)[..., None], affine)
    image.header.set_xyzt_units("mm" if known else "unknown")
    _write(path, image)


def _voxels(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return an array with x first, as NIfTI counts, and of a type that it can hold."""
    kind = np.uint8 if array.dtype == bool else np.float32 if array.dtype.kind == "f" else array.dtype
    return np.asarray(array, dtype=kind).T


def _write(path: str | os.PathLike[str], image: nibabel.Nifti1Image) -> None:
    image.set_data_dtype(np.asarray(image.dataobj).dtype)
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
    if folder_of(like)[0]:
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
