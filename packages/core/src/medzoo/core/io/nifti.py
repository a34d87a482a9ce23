"""NIfTI-1 and NIfTI-2 (`.nii`, `.nii.gz`) through nibabel; sizes are checked before anything is allocated."""

from __future__ import annotations

import gzip
import io
import math
import os
from dataclasses import dataclass
from typing import BinaryIO

import nibabel
import numpy as np

from medzoo.core.errors import DataError
from medzoo.core.io.orientation import Affine, Turn, back_affine, turn_of, turned
from medzoo.core.io.spacing import spacing_fault
from medzoo.core.io.types import DAMAGED, MAX_VOXELS, Header, Image, finite

_TO_MM = {1: 1000.0, 2: 1.0, 3: 0.001}  # metre, millimetre, micrometre; any other code is taken as millimetres
_DEFLATE_RATIO = 1032  # what deflate can reach at most: a header that claims more is wrong
_MAX_BYTES = 4 * MAX_VOXELS  # of voxels as stored
_MAX_EXTRA = 2**26  # bytes before or after the voxels: header extensions, padding
_STEP = 2**20
_PART = 0.01  # by which the spacing may differ from that of the affine
_APART = 0.5  # voxels at a corner by which two volumes may lie apart: affines are rounded by what writes them


@dataclass(frozen=True)
class Layout:
    """How the voxels of a file lie in memory and in the patient.

    Attributes:
        header: What is known of the volume, in the order of axes it has in memory.
        shape: `(x, y[, z[, c]])` as stored, without trailing axes of length 1.
        turn: What brings stored axes into that order; None for a plane, which is left as it is.
    """

    header: Header
    shape: tuple[int, ...]
    turn: Turn | None

    @property
    def stored(self) -> Affine:
        """`(4, 4)` from voxels `(x, y, z)` in memory to those of the file."""
        return np.eye(4) if self.turn is None else back_affine(self.turn, self.shape)


def read_nifti(path: str) -> Image:
    """Read a volume as `([C,] D, H, W)`, or `(H, W)` if it is one slice, with the scaling of the header applied."""
    nifti = _raw_header(path)
    layout = _check(path, nifti)
    nifti.set_data_shape(layout.shape)
    with open(path, "rb") as file:
        source: BinaryIO = io.BytesIO(_inflate(path, file, nifti)) if _packed(path) else file
        data = np.asarray(nifti.data_from_fileobj(source))
    if layout.turn is not None:
        data = turned(data, layout.turn)
    # NIfTI stores x fastest: reversing the axes gives (.., z, y, x) without moving data.
    array = data.T.astype(np.float32, copy=True, order="C")
    return Image(finite(path, array), layout.header.spacing, path, layout.header.affine)


def header_of_nifti(path: str) -> Header:
    """Read size, channels and spacing, and compare the claimed size with that of the file."""
    return layout_of_nifti(path).header


def layout_of_nifti(path: str) -> Layout:
    """Read what `header_of_nifti` does, and how the axes are stored."""
    return _check(path, _raw_header(path))


def same_place(first: Header, second: Header) -> bool:
    """Return whether two volumes of one size lie on one another, to half a voxel at every corner."""
    if first.size != second.size or first.affine is None or second.affine is None or len(first.size) != 3:
        return first.size == second.size
    return offset_mm(first, second) <= _APART * min(first.spacing)


def offset_mm(first: Header, second: Header) -> float:
    """Return the greatest distance in mm between the same corners of two volumes of one size."""
    if first.affine is None or second.affine is None:
        raise ValueError("both need a place in space")
    ends = [(0, extent - 1) for extent in first.size]
    corners = np.array([(x, y, z, 1) for x in ends[0] for y in ends[1] for z in ends[2]], dtype=np.float64)
    apart = corners @ (first.affine - second.affine).T
    return float(np.linalg.norm(apart, axis=1).max())


def _packed(path: str) -> bool:
    return path.lower().endswith(".gz")


def _raw_header(path: str) -> nibabel.Nifti1Header:
    """Return nibabel's header as stored: its own repair would turn a spacing of 0 into 1."""
    with open(path, "rb") as file:
        source = gzip.GzipFile(fileobj=file) if _packed(path) else file
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


def _check(path: str, nifti: nibabel.Nifti1Header) -> Layout:
    shape = _shape(path, nifti)
    kind = nifti.get_data_dtype()
    if kind.kind not in "iufb":
        raise DataError(path, f"holds values of type {kind}", "convert them to integers or floats")
    _check_extent(path, nifti, math.prod(shape) * kind.itemsize)
    unit = _TO_MM.get(int(nifti["xyzt_units"]) & 7, 1.0)
    nd = min(len(shape), 3)
    spacing = tuple(float(nifti["pixdim"][axis + 1]) * unit for axis in range(nd))
    if not all(math.isfinite(value) and value > 0 for value in spacing):
        raise DataError(path, f"has the impossible spacing {spacing} mm", "correct pixdim in its header")
    if fault := spacing_fault(spacing):
        raise DataError(path, fault, "correct pixdim and affine, or the unit code in its header")
    affine = np.asarray(nifti.get_best_affine(), dtype=np.float64)
    affine[:3] *= unit
    if not np.isfinite(affine).all():
        raise DataError(path, "has an affine with NaN or infinity", "correct its header")
    channels = shape[3] if len(shape) == 4 else 1
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    if (np.abs(steps[:nd] - spacing) > _PART * np.asarray(spacing)).any():
        stated, meant = (" x ".join(f"{value:.4g}" for value in values) for values in (spacing, steps[:nd]))
        problem = f"has two spacings: {stated} mm in pixdim, {meant} mm in its affine"
        raise DataError(path, problem, "correct the wrong one")
    if nd < 3:
        return Layout(Header(shape[:nd], channels, spacing, affine), shape, None)
    if abs(np.linalg.det(affine[:3, :3] / steps)) < _PART:
        raise DataError(path, "has an affine that folds the volume flat", "correct its header")
    turn = turn_of(affine)
    axes = np.argsort(turn[:, 0])  # the stored axis of each axis in memory
    size, steps_mm = tuple(shape[axis] for axis in axes), tuple(spacing[axis] for axis in axes)
    return Layout(Header(size, channels, steps_mm, affine @ back_affine(turn, shape)), shape, turn)


def _shape(path: str, nifti: nibabel.Nifti1Header) -> tuple[int, ...]:
    """Return the shape `(x, y[, z[, c]])`; slices of thickness one are two-dimensional images."""
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
    return tuple(shape)


def _check_extent(path: str, nifti: nibabel.Nifti1Header, needed: int) -> None:
    size, offset = os.path.getsize(path), float(nifti["vox_offset"])
    if not math.isfinite(offset) or not 348 <= offset <= _MAX_EXTRA:
        raise DataError(path, f"has its voxels at the impossible place {offset}", DAMAGED)
    if needed > _MAX_BYTES:
        raise DataError(path, f"claims {needed} bytes of voxels, more than {_MAX_BYTES}", "save it as int16 or float32")
    if offset + needed > size * (_DEFLATE_RATIO if _packed(path) else 1):
        raise DataError(path, f"is cut short or claims too much: {size} bytes for {needed} bytes of voxels", DAMAGED)


def _inflate(path: str, file: BinaryIO, nifti: nibabel.Nifti1Header) -> bytes:
    """Unpack the whole file, so that gzip compares its check sum: damage inside the stream is otherwise silent."""
    needed = int(nifti["vox_offset"]) + math.prod(nifti.get_data_shape()) * nifti.get_data_dtype().itemsize
    with gzip.GzipFile(fileobj=file) as source:
        data = source.read(needed)
        if len(data) < needed:
            raise DataError(path, f"is cut short: {len(data)} of {needed} bytes", DAMAGED)
        extra = 0
        while more := len(source.read(_STEP)):
            extra += more
            if extra > _MAX_EXTRA:
                raise DataError(path, f"inflates to far more than its {needed} bytes", DAMAGED)
    return data


def _times(shape: list[int]) -> str:
    return " x ".join(map(str, shape))
