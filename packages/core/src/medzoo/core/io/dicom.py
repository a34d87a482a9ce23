"""DICOM through the optional package pydicom: grey or RGB images; `dicom_clip` reads those with several frames."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, SupportsFloat, cast

import numpy as np
from numpy.typing import NDArray

from medzoo.core.errors import DataError
from medzoo.core.io.dicom_stream import attributes, check_decoder, coded_size, everything, undecoded
from medzoo.core.io.spacing import spacing_fault
from medzoo.core.io.types import DAMAGED, MAX_PIXELS, Channels, Header, Image, finite

if TYPE_CHECKING:
    from pydicom import Dataset

_MEASURED = {"CT", "MR", "PT", "NM"}
"""Modalities whose rescaled values mean something (Hounsfield units, activity) and are kept; others go to [0, 1]."""
_GREY = {"MONOCHROME1", "MONOCHROME2"}
_COLOUR = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}
_GROUPS = ("PixelMeasuresSequence", "PixelValueTransformationSequence")
_WANTED = [
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "Modality"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelSpacing", "ImagerPixelSpacing", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]
"""What the header pass reads; all else is passed over, however large."""
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R 601


def read_dicom(path: str, channels: Channels) -> Image:
    """Decode the file with modality rescaling; MONOCHROME1 is inverted so that more is brighter; see `read_image`."""
    _need_pydicom(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header, needed, _ = claimed(path)
        data = decodable(path, needed, header)
        if "NumberOfFrames" in data:
            data.NumberOfFrames = 1
        stored = _decoded(path, data, header)
    if header.channels == 3:
        colour = unit_colour(path, data, stored)
        # (H, W, 3) -> (H, W) or (3, H, W)
        array = np.dot(colour, LUMINANCE) if channels == "grey" else colour.transpose(2, 0, 1)
    else:
        grey = rescaled(path, data, stored)
        array = np.repeat(grey[None], 3, axis=0) if channels == "rgb" else grey  # (H, W) -> (3, H, W)
    return Image(finite(path, array), header.spacing, path)


def header_of_dicom(path: str) -> Header:
    """Read the attributes and stop before the pixels; see `read_header`."""
    _need_pydicom(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return claimed(path)[0]


def decodable(path: str, needed: int, header: Header, moving: bool = False) -> Dataset:
    """Return the checked data set with all attributes that decoders ask for, also where it leaves the usual value out.

    Args:
        path: The file.
        needed: Bytes of its pixels once decoded.
        header: Its header.
        moving: It may have several frames.
    """
    data = everything(path, needed)
    _check(path, data, moving)
    data.BitsStored = _whole(path, data, "BitsStored", int(data.BitsAllocated))
    data.PixelRepresentation = _whole(path, data, "PixelRepresentation", 0)
    data.SamplesPerPixel = header.channels
    return data


def claimed(path: str, moving: bool = False, wanted: Sequence[str] = ()) -> tuple[Header, int, Dataset]:
    """Return the header, the bytes that the pixels take once decoded, and the attributes read.

    Args:
        path: The file.
        moving: It may have several frames.
        wanted: Attributes to read beside those of the pixels.
    """
    _need_pydicom(path)
    data, held = attributes(path, [*_WANTED, *wanted])
    header = _check(path, data, moving)
    if held is None:
        raise DataError(path, "holds no pixels", "export the image, not only its header")
    samples = header.size[0] * header.size[1] * header.channels * frames_of(path, data)
    needed = (samples * _whole(path, data, "BitsAllocated") + 7) // 8
    syntax = data.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        least = needed * 2 // 3 if "422" in str(data.PhotometricInterpretation) else needed
        if least > min(held, held if syntax.is_deflated else os.path.getsize(path)):
            raise DataError(path, f"is cut short or claims too much: {held} bytes for {least} bytes of pixels", DAMAGED)
    return header, needed, data


def _decoded(path: str, data: Dataset, header: Header) -> NDArray[np.generic]:
    stored, allocated, syntax = int(data.BitsStored), int(data.BitsAllocated), data.file_meta.TransferSyntaxUID
    plain = not syntax.is_compressed and not data.get("PixelRepresentation") and allocated in (8, 16)
    if plain and (0x6000, 0x0102) not in data:
        # pydicom clears the bits above BitsStored, where old files keep an overlay; without one that loses intensities.
        raw = np.frombuffer(data.PixelData, dtype=f"{'<' if syntax.is_little_endian else '>'}u{allocated // 8}")
        if (raw >> stored).any():
            raise DataError(path, f"has values outside the {stored} bits it claims to store", "correct BitsStored")
    if syntax.is_encapsulated:
        from pydicom.encaps import get_frame

        claimed = coded_size(get_frame(data.PixelData, 0, number_of_frames=1))
        if claimed is not None and claimed != header.size:
            problem = f"claims {header.size[0]} x {header.size[1]} pixels and holds {claimed[0]} x {claimed[1]}"
            raise DataError(path, problem, DAMAGED)
    try:
        array = np.asarray(data.pixel_array)
    except Exception as error:
        if syntax.is_compressed:
            raise undecoded(path, syntax) from error
        raise
    if array.shape[:2] != header.size[::-1]:
        raise DataError(path, f"decodes to {array.shape}, expected {header.size[::-1]}", DAMAGED)
    return array


def _need_pydicom(path: str) -> None:
    try:
        import pydicom  # noqa: F401
    except ImportError as error:
        raise DataError(path, "is DICOM, which needs pydicom", 'run: pip install "medzoo-core[dicom]"') from error


def frames_of(path: str, data: Dataset) -> int:
    """Return how many frames the attributes claim."""
    return _whole(path, data, "NumberOfFrames", 1)


def _check(path: str, data: Dataset, moving: bool = False) -> Header:
    """Check everything that the attributes say of the pixels; what is missing or empty has its usual value."""
    if not data.get("Rows") or not data.get("Columns"):
        raise DataError(path, "holds no image (Rows and Columns are missing)", "give a file with pixels")
    width, height = _whole(path, data, "Columns"), _whole(path, data, "Rows")
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise DataError(path, f"has the impossible size {width} x {height}", DAMAGED)
    frames = frames_of(path, data)
    if frames != 1 and not moving:
        raise DataError(path, f"holds {frames} frames, expected 1", "save each frame as a file")
    kind = str(data.get("PhotometricInterpretation", ""))
    if kind not in _GREY | _COLOUR:
        raise DataError(path, f"has the pixel kind {kind!r}", "save it as MONOCHROME2 or RGB")
    samples = _whole(path, data, "SamplesPerPixel", 1 if kind in _GREY else 3)
    if samples != (1 if kind in _GREY else 3):
        raise DataError(path, f"has {samples} channels for {kind}", DAMAGED)
    allocated = _whole(path, data, "BitsAllocated", 0)
    stored = _whole(path, data, "BitsStored", allocated)
    if not 1 <= stored <= allocated <= 32 or (allocated > 1 and allocated % 8):
        raise DataError(path, f"stores {stored} bits in {allocated}", DAMAGED)
    if (highest := _whole(path, data, "HighBit", stored - 1)) != stored - 1:
        raise DataError(path, f"has {stored} bits that end at bit {highest}, expected {stored - 1}", "correct HighBit")
    if samples == 3 and (_whole(path, data, "PixelRepresentation", 0) or allocated > 16):
        raise DataError(path, "has colour that is signed or of more than 16 bits", "save it as 8-bit RGB")
    if data.get("ModalityLUTSequence"):
        raise DataError(path, "stores its values through a table (ModalityLUTSequence)", "export it with RescaleSlope")
    _rescaling(path, data)
    check_decoder(path, data)
    return Header((width, height), samples, _spacing(path, data))


def _spacing(path: str, data: Dataset) -> tuple[float, float]:
    """Calibrated spacing first, that of the detector second. DICOM gives (row distance, column distance) = (y, x)."""
    pair = _found(data, "PixelSpacing") or _found(data, "ImagerPixelSpacing")
    if pair is None:
        return (math.nan, math.nan)
    values = [float(value) for value in (cast(Sequence[SupportsFloat], pair) if isinstance(pair, Sequence) else ())]
    if len(values) != 2 or any(map(math.isnan, values)):
        raise DataError(path, f"has the impossible spacing {values} mm", "correct PixelSpacing")
    if fault := spacing_fault(values[::-1]):
        raise DataError(path, fault, "correct PixelSpacing")
    return (values[1], values[0])


def _rescaling(path: str, data: Dataset) -> tuple[float, float]:
    """Return slope and intercept."""
    slope, intercept = number(path, data, "RescaleSlope", 1.0), number(path, data, "RescaleIntercept", 0.0)
    if not (math.isfinite(slope) and math.isfinite(intercept) and slope != 0):
        raise DataError(path, f"has the impossible rescaling {slope} x + {intercept}", "correct RescaleSlope")
    return slope, intercept


def unit_colour(path: str, data: Dataset, stored: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return stored colour `(H, W, 3)` in [0, 1]."""
    return stored.astype(np.float32) / np.float32(2 ** _whole(path, data, "BitsStored") - 1)


def rescaled(path: str, data: Dataset, stored: NDArray[np.generic]) -> NDArray[np.float32]:
    """Apply slope and intercept; map what is no measurement from its possible range to [0, 1]; invert MONOCHROME1."""
    bits, signed = _whole(path, data, "BitsStored"), _whole(path, data, "PixelRepresentation", 0)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if stored.size and (int(stored.min()) < low or int(stored.max()) > high):
        raise DataError(path, f"has values outside the {bits} bits it claims to store", "correct BitsStored")
    slope, intercept = _rescaling(path, data)
    values = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    bottom, top = sorted((low * slope + intercept, high * slope + intercept))
    if str(data.PhotometricInterpretation) == "MONOCHROME1":
        values = np.float32(bottom + top) - values
    if str(data.get("Modality", "")) in _MEASURED:
        return values
    return (values - np.float32(bottom)) / np.float32(top - bottom)


def _found(data: Dataset, keyword: str) -> object:
    """Return an attribute, of enhanced objects from the groups that hold it; None where it is missing or empty."""
    value: object = data.get(keyword)
    if value is None or value == "" or (isinstance(value, Sequence) and len(value) == 0):
        for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
            for group in data.get(groups) or []:
                for inner in _GROUPS:
                    for item in group.get(inner) or []:
                        if item.get(keyword) not in (None, ""):
                            found: object = item.get(keyword)
                            return found
        return None
    return value


def number(path: str, data: Dataset, keyword: str, default: float | None = None) -> float:
    """Return an attribute as a number.

    Raises:
        DataError: It is none, or missing where there is no default.
    """
    value = _found(data, keyword)
    if value is None and default is not None:
        return float(default)
    try:
        return float(cast(SupportsFloat, value))
    except (TypeError, ValueError) as error:
        raise DataError(path, f"has {keyword} {str(value)[:40]!r}, expected a number", f"correct {keyword}") from error


def _whole(path: str, data: Dataset, keyword: str, default: int | None = None) -> int:
    value = number(path, data, keyword, default)
    if not value.is_integer():
        raise DataError(path, f"has {keyword} {value:g}, expected a whole number", f"correct {keyword}")
    return int(value)
