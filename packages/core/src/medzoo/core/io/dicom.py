"""DICOM through the optional package pydicom: single-frame grey or RGB images."""

from __future__ import annotations

import math
import warnings
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.core.errors import DataError
from medzoo.core.io.image import DAMAGED, MAX_PIXELS, Channels, Header, Image, finite

_MEASURED = {"CT", "MR", "PT", "NM"}
"""Modalities whose rescaled values mean something (Hounsfield units, activity) and are kept; others go to [0, 1]."""
_GREY = {"MONOCHROME1", "MONOCHROME2"}
_COLOUR = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R 601


def read_dicom(path: str, channels: Channels) -> Image:
    """Decode the file with modality rescaling; MONOCHROME1 is inverted so that more is brighter; see `read_image`."""
    pydicom = _pydicom(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = pydicom.dcmread(path)
        header = _check(path, data)
        if "PixelData" not in data:
            raise DataError(path, "holds no pixels", "export the image, not only its header")
        stored = _decoded(path, data)
    if header.channels == 3:
        colour = stored.astype(np.float32) / np.float32(2 ** int(data.BitsStored) - 1)  # (H, W, 3)
        # (H, W, 3) -> (H, W) or (3, H, W)
        array = np.dot(colour, _LUMINANCE) if channels == "grey" else colour.transpose(2, 0, 1)
    else:
        grey = _rescaled(path, data, stored)
        array = np.repeat(grey[None], 3, axis=0) if channels == "rgb" else grey  # (H, W) -> (3, H, W)
    return Image(finite(path, array), header.spacing, path)


def header_of_dicom(path: str) -> Header:
    """Read the attributes and stop before the pixels; see `read_header`."""
    pydicom = _pydicom(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _check(path, pydicom.dcmread(path, stop_before_pixels=True))


def _decoded(path: str, data: Any) -> NDArray[Any]:
    stored, allocated, syntax = int(data.BitsStored), int(data.BitsAllocated), data.file_meta.TransferSyntaxUID
    plain = not syntax.is_compressed and not data.PixelRepresentation and allocated in (8, 16)
    if plain and (0x6000, 0x0102) not in data:
        # pydicom clears the bits above BitsStored, where old files keep an overlay; without one that loses intensities.
        raw = np.frombuffer(data.PixelData, dtype=f"{'<' if syntax.is_little_endian else '>'}u{allocated // 8}")
        if (raw >> stored).any():
            raise DataError(path, f"has values outside the {stored} bits it claims to store", "correct BitsStored")
    try:
        return np.asarray(data.pixel_array)
    except Exception as error:
        if syntax.is_compressed:
            problem = f"cannot be decoded ({syntax.name})"
            raise DataError(path, problem, "run: pip install pylibjpeg pylibjpeg-libjpeg, or decompress it") from error
        raise


def _pydicom(path: str) -> ModuleType:
    try:
        import pydicom
    except ImportError as error:
        raise DataError(path, "is DICOM, which needs pydicom", 'run: pip install "medzoo-core[dicom]"') from error
    module: ModuleType = pydicom
    return module


def _check(path: str, data: Any) -> Header:
    if "Rows" not in data or "Columns" not in data:
        raise DataError(path, "holds no image (Rows and Columns are missing)", "give a file with pixels")
    width, height = int(data.Columns), int(data.Rows)
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise DataError(path, f"has the impossible size {width} x {height}", DAMAGED)
    frames = int(data.get("NumberOfFrames") or 1)
    if frames != 1:
        raise DataError(path, f"holds {frames} frames, expected 1", "save each frame as a file")
    kind = str(data.get("PhotometricInterpretation", ""))
    if kind not in _GREY | _COLOUR:
        raise DataError(path, f"has the pixel kind {kind!r}", "save it as MONOCHROME2 or RGB")
    samples = int(data.get("SamplesPerPixel", 1))
    if samples != (1 if kind in _GREY else 3):
        raise DataError(path, f"has {samples} channels for {kind}", DAMAGED)
    allocated, stored = int(data.get("BitsAllocated", 0)), int(data.get("BitsStored", 0))
    if not 1 <= stored <= allocated <= 32:
        raise DataError(path, f"stores {stored} bits in {allocated}", DAMAGED)
    return Header((width, height), samples, _spacing(path, data))


def _spacing(path: str, data: Any) -> tuple[float, float]:
    """Calibrated spacing first, that of the detector second. DICOM tells (row distance, column distance) = (y, x)."""
    pair = data.get("PixelSpacing") or data.get("ImagerPixelSpacing")
    if pair is None:
        return (math.nan, math.nan)
    values = [float(value) for value in pair]
    if len(values) != 2 or not all(math.isfinite(value) and value > 0 for value in values):
        raise DataError(path, f"has the impossible spacing {values} mm", "correct PixelSpacing")
    return (values[1], values[0])


def _rescaled(path: str, data: Any, stored: NDArray[Any]) -> NDArray[np.float32]:
    """Apply slope and intercept; map what is no measurement from its possible range to [0, 1]; invert MONOCHROME1."""
    bits = int(data.BitsStored)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if int(data.PixelRepresentation) else (0, 2**bits - 1)
    if stored.size and (int(stored.min()) < low or int(stored.max()) > high):
        raise DataError(path, f"has values outside the {bits} bits it claims to store", "correct BitsStored")
    slope, intercept = float(data.get("RescaleSlope", 1)), float(data.get("RescaleIntercept", 0))
    if not (math.isfinite(slope) and math.isfinite(intercept) and slope != 0):
        raise DataError(path, f"has the impossible rescaling {slope} x + {intercept}", "correct RescaleSlope")
    values = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    bottom, top = sorted((low * slope + intercept, high * slope + intercept))
    if str(data.PhotometricInterpretation) == "MONOCHROME1":
        values = np.float32(bottom + top) - values
    if str(data.get("Modality", "")) in _MEASURED:
        return values
    return (values - np.float32(bottom)) / np.float32(top - bottom)
