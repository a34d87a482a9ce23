"""DICOM with several frames, such as ultrasound clips, through the optional package pydicom."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medzoo.core.errors import DataError
from medzoo.core.io.dicom import LUMINANCE, claimed, decodable, frames_of, number, rescaled, unit_colour
from medzoo.core.io.dicom_stream import coded_size, undecoded
from medzoo.core.io.spacing import spacing_fault
from medzoo.core.io.types import DAMAGED

if TYPE_CHECKING:
    from pydicom import Dataset

_WANTED = ("FrameTime", "CineRate", "RecommendedDisplayFrameRate", "SequenceOfUltrasoundRegions")
_CENTIMETRES = 3  # of PhysicalUnitsXDirection, PS3.3 C.8.5.5.1.15


def header_of_dicom_clip(path: str) -> tuple[tuple[int, int], int, float, tuple[float, float]]:
    """Return width and height, how many frames there are, their rate, and mm per pixel along x, y; NaN where unknown.

    The spacing is PixelSpacing or, of ultrasound, that of the regions, where all that are in cm agree.

    Raises:
        DataError: pydicom is missing, the file is no image, is cut short, or cannot be decoded here.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header, _, data = claimed(path, moving=True, wanted=_WANTED)
        spacing = (header.spacing[0], header.spacing[1])
        if math.isnan(spacing[0]):
            spacing = _of_regions(path, data)
        return (header.size[0], header.size[1]), frames_of(path, data), _rate(path, data), spacing


def decode_dicom_clip(path: str, out: NDArray[np.uint8]) -> None:
    """Decode all frames into `out`, `(T, H, W)`, one in memory at a time beside the coded ones.

    Raises:
        DataError: One cannot be decoded or has another size than the attributes say.
    """
    from pydicom.encaps import generate_frames
    from pydicom.pixels import iter_pixels

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header, needed, _ = claimed(path, moving=True)
        data = decodable(path, needed, header, moving=True)
        syntax = data.file_meta.TransferSyntaxUID
        if syntax.is_encapsulated:
            for frame in generate_frames(data.PixelData, number_of_frames=len(out)):
                if (size := coded_size(frame)) is not None and size != header.size:
                    problem = f"claims {header.size[0]} x {header.size[1]} pixels and holds {size[0]} x {size[1]}"
                    raise DataError(path, problem, DAMAGED)
        count = 0
        try:
            for stored in iter_pixels(data):
                out[count] = np.round(255 * _grey(path, data, stored, header.channels))
                count += 1
        except DataError:
            raise
        except Exception as error:
            if syntax.is_compressed:
                raise undecoded(path, syntax) from error
            raise
    if count != len(out):
        raise DataError(path, f"holds {count} frames, its header says {len(out)}", DAMAGED)


def _grey(path: str, data: Dataset, stored: NDArray[np.generic], channels: int) -> NDArray[np.float32]:
    if channels == 3:
        grey: NDArray[np.float32] = np.dot(unit_colour(path, data, stored), LUMINANCE)
        return grey
    return np.clip(rescaled(path, data, stored), 0, 1)


def _rate(path: str, data: Dataset) -> float:
    """Return frames a second; FrameTime is in milliseconds."""
    time = number(path, data, "FrameTime", math.nan)
    for rate in (1000 / time if time > 0 else math.nan, *(number(path, data, key, math.nan) for key in _WANTED[1:3])):
        if math.isfinite(rate) and rate > 0:
            return rate
    return math.nan


def _of_regions(path: str, data: Dataset) -> tuple[float, float]:
    """Return mm per pixel of the regions of an ultrasound picture in which both axes are distances."""
    found = set()
    for region in data.get("SequenceOfUltrasoundRegions") or []:
        if {region.get(f"PhysicalUnits{axis}Direction") for axis in "XY"} == {_CENTIMETRES}:
            found.add(tuple(abs(10 * number(path, region, f"PhysicalDelta{axis}")) for axis in "XY"))
    if len(found) != 1:
        return math.nan, math.nan  # none, or several scales in one picture
    spacing = found.pop()
    if fault := spacing_fault(spacing):
        raise DataError(path, fault, "correct PhysicalDeltaX and PhysicalDeltaY")
    return spacing[0], spacing[1]
