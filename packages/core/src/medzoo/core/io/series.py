"""CT series of DICOM slices, one file a slice, put together to volumes in the patient's millimetres."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medzoo.core.errors import DataError
from medzoo.core.io.dicom import header_of_dicom
from medzoo.core.io.dicom_stream import attributes
from medzoo.core.io.image import is_image, read_image
from medzoo.core.io.spacing import spacing_fault
from medzoo.core.io.types import MAX_VOXELS, NIFTI, RASTER, Image, reading

if TYPE_CHECKING:
    from pydicom import Dataset

_PLACE = ["SeriesInstanceUID", "ImagePositionPatient", "ImageOrientationPatient"]
_UNEVEN = 0.02  # part of the slice distance by which a gap may differ: positions are rounded by what writes them
_SHIFT = 0.5  # pixels by which a slice may lie beside the normal through the first one
_TURN = 1e-3  # by which direction cosines may differ


@dataclass(frozen=True)
class Slice:
    """Where one file of a series lies.

    Attributes:
        path: The file.
        position: `(3,)` of its first pixel, millimetres (left, posterior, superior) of DICOM.
        directions: `(2, 3)` along a row and along a column, of unit length.
    """

    path: str
    position: NDArray[np.float64]
    directions: NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """The files that one series has in one folder.

    Attributes:
        name: That of the folder, with a hash of the series, for a folder may hold several.
        paths: The files, in the order of their names.
    """

    name: str
    paths: tuple[str, ...]


def is_dicom(path: str) -> bool:
    """Return whether a file is DICOM, by its ending or, for lack of one, by its first bytes."""
    return not path.lower().endswith(RASTER + NIFTI) and is_image(path)


def series_of(paths: Iterable[str]) -> tuple[list[Series], dict[str, DataError]]:
    """Tell the series of DICOM files apart, by folder and SeriesInstanceUID.

    Returns:
        The series, and for each file that names none or cannot be read, why.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    failed: dict[str, DataError] = {}
    for path in paths:
        try:
            uid = str(_attributes(path).get("SeriesInstanceUID") or "")
            if not uid:
                raise DataError(path, "names no series (SeriesInstanceUID)", "export it again, or convert it to NIfTI")
        except DataError as error:
            failed[path] = error
        else:
            groups.setdefault((os.path.dirname(os.path.abspath(path)), uid), []).append(path)
    found = []
    for (folder, uid), files in groups.items():
        name = f"{Path(folder).name}-{hashlib.sha256(uid.encode()).hexdigest()[:8]}"
        found.append(Series(name, tuple(files)))
    return found, failed


def read_series(paths: Sequence[str]) -> Image:
    """Read the slices of one series as a volume `(D, H, W)`, sorted by their place along the normal of the slices.

    Args:
        paths: The files, in any order.

    Returns:
        The volume; its affine maps voxels `(x, y, z)` to millimetres (right, anterior, superior) as NIfTI has them.
        Axes stay those of the slices, z along their normal.

    Raises:
        DataError: There are fewer than two slices; one has no place, another size or another orientation than the
            first; two have one place; the gaps are uneven (a slice is missing); or the slices are not above one
            another.
    """
    if len(paths) < 2:
        raise DataError(paths[0], "is the only slice of its series", "give all slices of the series")
    slices = [_slice(path) for path in paths]
    first = slices[0]
    normal = np.cross(*first.directions)
    slices.sort(key=lambda part: float(part.position @ normal))
    header = header_of_dicom(first.path)
    if header.channels != 1 or not np.isfinite(header.spacing).all():
        raise DataError(first.path, "is in colour, or has no PixelSpacing", "give the slices of a CT")
    if len(slices) * header.size[0] * header.size[1] > MAX_VOXELS:
        raise DataError(first.path, f"is of a series with more than {MAX_VOXELS} voxels", "give a part of the series")
    step = _step(slices, normal, header.spacing)
    array = np.empty((len(slices), header.size[1], header.size[0]), dtype=np.float32)
    for index, part in enumerate(slices):
        if np.abs(part.directions - first.directions).max() > _TURN:
            raise DataError(part.path, f"has another orientation than {first.path}", "take it out of the folder")
        image = read_image(part.path)
        if image.size != header.size or not np.allclose(image.spacing, header.spacing, rtol=1e-3):
            raise DataError(part.path, f"has another size or spacing than {first.path}", "take it out of the folder")
        array[index] = image.array
    spacing = (*header.spacing, step)
    columns = np.stack([*first.directions, normal], axis=1) * spacing  # (3, 3), along x, y, z
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = columns, slices[0].position
    affine[:2] *= -1  # left, posterior -> right, anterior
    return Image(array, spacing, first.path, affine)


def _step(slices: Sequence[Slice], normal: NDArray[np.float64], spacing: Sequence[float]) -> float:
    """Return the distance of the sorted slices in millimetres, which must be the same for all."""
    places = np.array([part.position for part in slices])
    gaps = np.diff(places @ normal)
    step = float(np.median(gaps))
    for index, gap in enumerate(gaps):
        before, after = slices[index].path, slices[index + 1].path
        if gap < _UNEVEN * spacing[0]:
            raise DataError(after, f"has the place of {before}", "keep one of the two: a volume has a slice a place")
        if abs(gap - step) > _UNEVEN * step:
            problem = f"lies {gap:.3g} mm from {os.path.basename(before)}, the others of its series {step:.3g} mm"
            raise DataError(after, problem, "add the slices that are missing, or resample the series to NIfTI")
    beside = places - places[0] - np.outer((places - places[0]) @ normal, normal)
    shift = float(np.linalg.norm(beside, axis=1).max())
    if shift > _SHIFT * min(spacing):
        problem = f"is of slices up to {shift:.3g} mm beside one another (a tilted gantry)"
        raise DataError(slices[0].path, problem, "resample the series to NIfTI")
    if fault := spacing_fault([step]):
        raise DataError(slices[0].path, fault, "correct ImagePositionPatient")
    return step


def _slice(path: str) -> Slice:
    data = _attributes(path)
    position, directions = (
        _numbers(path, data, "ImagePositionPatient", 3),
        _numbers(path, data, "ImageOrientationPatient", 6).reshape(2, 3),
    )
    lengths = np.linalg.norm(directions, axis=1)
    if np.abs(lengths - 1).max() > 0.01 or abs(float(directions[0] @ directions[1])) > 0.01:
        raise DataError(path, "has an impossible ImageOrientationPatient", "export it again")
    return Slice(path, position, directions / lengths[:, None])


def _numbers(path: str, data: Dataset, keyword: str, count: int) -> NDArray[np.float64]:
    try:
        values = np.array([float(value) for value in data.get(keyword) or ()])
    except (TypeError, ValueError):
        values = np.zeros(0)
    if values.shape != (count,) or not np.isfinite(values).all():
        raise DataError(path, f"has no {keyword} of {count} numbers", "export it again, or convert it to NIfTI")
    return values


def _attributes(path: str) -> Dataset:
    with reading(path):
        header_of_dicom(path)  # says what is wrong with a file that is no slice
        return attributes(path, _PLACE)[0]
