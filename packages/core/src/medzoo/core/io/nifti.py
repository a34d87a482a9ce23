"""NIfTI-1 and NIfTI-2 (`.nii`, `.nii.gz`) through nibabel; sizes are checked before anything is allocated."""

from __future__ import annotations

import gzip
import io
import math
import os
from typing import Any, BinaryIO

import nibabel
import numpy as np

from medzoo.core.errors import DataError
from medzoo.core.io.image import DAMAGED, MAX_VOXELS, Header, Image, finite

_TO_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
_DEFLATE_RATIO = 1032  # what deflate can reach at most: a header that claims more is wrong
_TRAILER = 2**20  # bytes after the voxels that are read to reach gzip's check sum


def read_nifti(path: str) -> Image:
    """Read a volume as `([C,] D, H, W)`, or `(H, W)` if it is one slice, with the scaling of the header applied."""
    nifti = _raw_header(path)
    header, shape = _check(path, nifti)
    nifti.set_data_shape(shape)
    with open(path, "rb") as file:
        source: BinaryIO = io.BytesIO(_inflate(path, file, nifti)) if _packed(path) else file
        data = nifti.data_from_fileobj(source)
    # NIfTI stores x fastest: reversing the axes gives (.., z, y, x) without moving data.
    array = np.asarray(data).T.astype(np.float32, copy=True)
    affine = np.asarray(nifti.get_best_affine(), dtype=np.float64)
    return Image(finite(path, array), header.spacing, path, affine)


def header_of_nifti(path: str) -> Header:
    """Read size, channels and spacing, and compare the claimed size with that of the file."""
    return _check(path, _raw_header(path))[0]


def _packed(path: str) -> bool:
    return path.lower().endswith(".gz")


def _raw_header(path: str) -> Any:
    """Return nibabel's header as stored: its own repair would turn a spacing of 0 into 1."""
    with open(path, "rb") as file:
        source: Any = gzip.GzipFile(fileobj=file) if _packed(path) else file
        first = source.read(540)
    if len(first) < 348:
        raise DataError(path, "is cut short within its header", DAMAGED)
    order = "<" if first[1] else ">"  # the first number is 348 or 540, both of which need two bytes
    length = int.from_bytes(first[:4], "little" if order == "<" else "big")
    if length == 348 and first[344:347] == b"n+1":
        return nibabel.Nifti1Header.from_fileobj(io.BytesIO(first), endianness=order, check=False)
    if length == 540 and first[4:7] == b"n+2":
        return nibabel.Nifti2Header.from_fileobj(io.BytesIO(first), endianness=order, check=False)
    raise DataError(path, "is no single-file NIfTI image", "convert it to .nii or .nii.gz, or correct its name")


def _check(path: str, nifti: Any) -> tuple[Header, tuple[int, ...]]:
    """Return the header and the shape `(x, y[, z[, c]])`; slices of thickness one are two-dimensional images."""
    rank = int(nifti["dim"][0])
    if not 1 <= rank <= 7:
        raise DataError(path, f"claims {rank} dimensions", DAMAGED)
    shape = [int(extent) for extent in nifti["dim"][1 : rank + 1]]
    if min(shape) < 1:
        raise DataError(path, f"has the impossible size {_times(shape)}", DAMAGED)
    while len(shape) > 2 and shape[-1] == 1:
        shape.pop()
    if not 2 <= len(shape) <= 4:
        raise DataError(
            path, f"has {len(shape)} dimensions ({_times(shape)}), expected 2 to 4", "save one volume a file"
        )
    if math.prod(shape) > MAX_VOXELS:
        raise DataError(
            path, f"claims {_times(shape)} values", "crop or resample it, or export it again if that is wrong"
        )
    kind = nifti.get_data_dtype()
    if kind.kind not in "iufb":
        raise DataError(path, f"holds values of type {kind}", "convert them to integers or floats")
    _check_extent(path, nifti, math.prod(shape) * kind.itemsize)
    nd = min(len(shape), 3)
    unit = _TO_MM.get(nifti.get_xyzt_units()[0], 1.0)
    spacing = tuple(float(nifti["pixdim"][axis + 1]) * unit for axis in range(nd))
    if not all(math.isfinite(value) and value > 0 for value in spacing):
        raise DataError(path, f"has the impossible spacing {spacing} mm", "correct pixdim in its header")
    if not np.isfinite(nifti.get_best_affine()).all():
        raise DataError(path, "has an affine with NaN or infinity", "correct its header")
    return Header(tuple(shape[:nd]), shape[3] if len(shape) == 4 else 1, spacing), tuple(shape)


def _check_extent(path: str, nifti: Any, needed: int) -> None:
    size, offset = os.path.getsize(path), float(nifti["vox_offset"])
    if not math.isfinite(offset) or not 348 <= offset <= 2**31:
        raise DataError(path, f"has its voxels at the impossible place {offset}", DAMAGED)
    if offset + needed > size * (_DEFLATE_RATIO if _packed(path) else 1):
        raise DataError(path, f"is cut short or claims too much: {size} bytes for {needed} bytes of voxels", DAMAGED)


def _inflate(path: str, file: BinaryIO, nifti: Any) -> bytes:
    """Unpack the whole file, so that gzip compares its check sum: damage inside the stream is otherwise silent."""
    needed = int(nifti["vox_offset"]) + math.prod(nifti.get_data_shape()) * nifti.get_data_dtype().itemsize
    with gzip.GzipFile(fileobj=file) as source:
        data = source.read(needed)
        if len(data) < needed:
            raise DataError(path, f"is cut short: {len(data)} of {needed} bytes", DAMAGED)
        while source.read(_TRAILER):
            pass
    return data


def _times(shape: list[int]) -> str:
    return " x ".join(map(str, shape))
