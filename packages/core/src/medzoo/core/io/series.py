"""A series of DICOM slices in a folder as one volume; of several in one folder, `FOLDER#SeriesInstanceUID` is one."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import SupportsFloat, cast

import numpy as np
from numpy.typing import NDArray

from medzoo.core.errors import DataError
from medzoo.core.io.dicom import header_of_dicom, read_dicom
from medzoo.core.io.dicom_stream import attributes
from medzoo.core.io.kinds import folder_of, slice_files
from medzoo.core.io.nifti import Layout, layout_of_nifti
from medzoo.core.io.orientation import Affine, back_affine, turn_of, turned
from medzoo.core.io.spacing import spacing_fault
from medzoo.core.io.types import MAX_VOXELS, Header, Image, finite, reading

_STEP = 0.01  # part of the distance of two slices by which others may differ: positions are rounded to 0.01 mm or so
_SHEAR = 0.5  # pixels by which the last slice may lie beside the first: a tilted gantry moves each a little
_TURN = 1e-3  # by which direction cosines may differ: they are written with few digits


@dataclass(frozen=True)
class _Slice:
    """A file, its series, the place of its first pixel in mm, and the directions of a row and of a column."""

    path: str
    series: str
    place: NDArray[np.float64]
    right: NDArray[np.float64]
    down: NDArray[np.float64]


def read_series(folder: str) -> Image:
    """Read the slices of a folder as `(D, H, W)`, z up, whatever their names; see `read_image`.

    Raises:
        DataError: A slice cannot be read, or the slices are no volume: they belong to several series, differ in size,
            direction or spacing, two lie at one place, one is missing, or the gantry was tilted.
    """
    slices = _ordered(folder)
    layout = _layout(folder, slices)
    width, height, depth = layout.shape
    stored = np.empty((depth, height, width), np.float32)
    for index, part in enumerate(slices):
        with reading(part.path):
            stored[index] = read_dicom(part.path, "grey").array
    assert layout.turn is not None
    array = turned(stored.T, layout.turn).T  # (D, H, W) -> (x, y, z) -> (D, H, W)
    return Image(finite(folder, np.ascontiguousarray(array)), layout.header.spacing, folder, layout.header.affine)


def layout_of_series(folder: str) -> Layout:
    """Read headers alone: size, spacing and place of the volume, and how its slices lie in the patient.

    Raises:
        DataError: As `read_series`, but for what only pixels show.
    """
    return _layout(folder, _ordered(folder))


def layout_of_volume(path: str) -> Layout:
    """Return how the voxels of a NIfTI file, or the slices of a folder, lie in memory and in the patient.

    Raises:
        DataError: It cannot be read.
    """
    with reading(path):
        return layout_of_series(path) if folder_of(path)[0] else layout_of_nifti(path)


def place_of_slice(path: str, spacing: Sequence[float]) -> Affine | None:
    """Return the map from pixels `(x, y, 0)` of a DICOM file to patient millimetres (right, anterior, superior).

    Args:
        path: The file.
        spacing: Millimetres per pixel along x and y.

    Returns:
        `(4, 4)`, with 1 mm along the normal; None where the file does not say where it lies, as radiographs do not.

    Raises:
        DataError: It cannot be read, or what it says cannot be.
    """
    with reading(path):
        data, _ = attributes(path, ["ImagePositionPatient", "ImageOrientationPatient"])
        if not (data.get("ImagePositionPatient") and data.get("ImageOrientationPatient")):
            return None
    return _affine(_slice(path), spacing, 1.0)


def series_uid(path: str) -> str:
    """Return the SeriesInstanceUID of a DICOM file, empty where it has none.

    Raises:
        DataError: It cannot be read.
    """
    with reading(path):
        return str(attributes(path, ["SeriesInstanceUID"])[0].get("SeriesInstanceUID") or "")


def series_files(path: str) -> list[str]:
    """Return the slices of a folder or, of `FOLDER#SeriesInstanceUID`, those of one series, in the order of names.

    Raises:
        DataError: A file of the folder does not show what it belongs to.
    """
    folder, uid = folder_of(path)
    return [file for file in slice_files(folder) if not uid or series_uid(file) == uid]


def _ordered(folder: str) -> list[_Slice]:
    """Return the slices from the first place along their normal to the last."""
    files = series_files(folder)
    if len(files) < 2:
        raise DataError(folder, f"holds {len(files)} DICOM slices, expected a series", "give the folder of a volume")
    slices = [_slice(path) for path in files]
    counts = Counter(part.series for part in slices)
    if len(counts) > 1:
        numbers = " and ".join(str(number) for _, number in counts.most_common(4))
        problem = f"holds {len(counts)} series ({numbers} slices{', …' if len(counts) > 4 else ''}), expected one"
        raise DataError(folder, problem, f"name one, such as {folder}#{slices[0].series}")
    first = slices[0]
    for part in slices:
        if max(np.abs(part.right - first.right).max(), np.abs(part.down - first.down).max()) > _TURN:
            raise DataError(part.path, f"lies in another direction than {first.path}", "leave out what is no slice")
    normal = np.cross(first.right, first.down)
    return sorted(slices, key=lambda part: float(part.place @ normal))


def _slice(path: str) -> _Slice:
    with reading(path):
        data, _ = attributes(path, ["SeriesInstanceUID", "ImagePositionPatient", "ImageOrientationPatient"])
        values = {}
        for name, count in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6)):
            found = [float(cast(SupportsFloat, value)) for value in data.get(name) or ()]
            if len(found) != count or not all(map(math.isfinite, found)):
                raise DataError(path, f"does not say where it lies ({name})", "leave it out, or use NIfTI")
            values[name] = np.array(found)
        right, down = values["ImageOrientationPatient"].reshape(2, 3)
        if abs(np.linalg.norm(right) - 1) > _STEP or abs(np.linalg.norm(down) - 1) > _STEP or abs(right @ down) > _STEP:
            raise DataError(path, "has directions that are no right angle", "correct ImageOrientationPatient")
        return _Slice(path, str(data.get("SeriesInstanceUID") or ""), values["ImagePositionPatient"], right, down)


def _layout(folder: str, slices: list[_Slice]) -> Layout:
    first, depth = slices[0], len(slices)
    with reading(first.path):
        header = header_of_dicom(first.path)
    for part in slices[1:]:
        with reading(part.path):
            own = header_of_dicom(part.path)
        if own != header and not (own.size == header.size and all(map(math.isnan, own.spacing + header.spacing))):
            raise DataError(part.path, f"differs in size or spacing from {first.path}", "leave out what is no slice")
    if header.channels != 1 or any(map(math.isnan, header.spacing)):
        raise DataError(first.path, "is no grey slice with PixelSpacing", "give the slices of a CT or MR series")
    width, height = header.size
    if width * height * depth > MAX_VOXELS:
        raise DataError(folder, f"claims {width} x {height} x {depth} values", "give fewer slices")
    normal = np.cross(first.right, first.down)
    step = _step(folder, slices, normal, min(header.spacing))
    spacing = (*header.spacing, step)
    if fault := spacing_fault(spacing):
        raise DataError(folder, fault, "correct PixelSpacing and ImagePositionPatient")
    return _turned_layout((width, height, depth), spacing, _affine(first, header.spacing, step))


def _affine(first: _Slice, spacing: Sequence[float], step: float) -> Affine:
    """Return the map from pixels and slices, counted from the first, to millimetres of NIfTI."""
    normal = np.cross(first.right, first.down)
    affine = np.eye(4)
    affine[:3] = np.column_stack([first.right * spacing[0], first.down * spacing[1], normal * step, first.place])
    affine[:2] *= -1  # DICOM counts left and back, NIfTI right and front
    return affine


def _step(folder: str, slices: list[_Slice], normal: NDArray[np.float64], pixel: float) -> float:
    """Return the distance of the slices in mm, which has to be the same everywhere and along their normal."""
    places = np.stack([part.place for part in slices])
    apart = np.diff(places @ normal)
    step = float(np.median(apart))
    if apart.min() <= _STEP * max(step, 1e-6):
        index = int(apart.argmin())
        problem = f"lies where {os.path.basename(slices[index].path)} does (several times or reconstructions?)"
        raise DataError(slices[index + 1].path, problem, "put each volume into a folder of its own")
    wrong = np.abs(apart - step) > max(_STEP * step, 0.01)
    if wrong.any():
        index = int(wrong.argmax())
        problem = f"lies {apart[index]:.4g} mm behind the slice before it, the others {step:.4g} mm"
        raise DataError(slices[index + 1].path, problem, "add the missing slices, or resample the series")
    way = places[-1] - places[0]
    if np.linalg.norm(way - (way @ normal) * normal) > _SHEAR * pixel:
        raise DataError(folder, "was taken with a tilted gantry: its slices are not above one another", "resample it")
    return float((places[-1] - places[0]) @ normal / (len(slices) - 1))


def _turned_layout(shape: tuple[int, int, int], spacing: tuple[float, ...], affine: Affine) -> Layout:
    turn = turn_of(affine)
    axes = np.argsort(turn[:, 0])  # the stored axis of each axis in memory
    size, steps = tuple(shape[axis] for axis in axes), tuple(spacing[axis] for axis in axes)
    return Layout(Header(size, 1, steps, affine @ back_affine(turn, shape)), shape, turn)
