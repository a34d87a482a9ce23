"""PNG, JPEG, BMP and TIFF through Pillow, at the full depth of the file."""

from __future__ import annotations

import math
import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from medzoo.core.errors import DataError
from medzoo.core.io.kinds import page_of
from medzoo.core.io.raster_kinds import jpeg_ends, unread
from medzoo.core.io.spacing import LARGEST_MM, spacing_fault
from medzoo.core.io.tiff import PlainTiff, is_tiff
from medzoo.core.io.types import DAMAGED, MAX_PIXELS, Channels, Header, Image, finite

FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF")
_GREY = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"}
_COLOUR = {"RGB", "RGBA", "RGBX", "RGBa", "P", "PA", "CMYK", "YCbCr"}
_ORIENTATION, _BITS, _SAMPLE_FORMAT, _PHOTOMETRIC, _X_RES, _Y_RES, _UNIT = 0x0112, 258, 339, 262, 282, 283, 296
_COMPRESSION, _FAX = 259, {2, 3, 4, 7, 32773}  # which may make one bit of a line, or hold JPEG
# Pixels that a byte can stand for: LZW reaches 1365, deflate 1032 bytes, of one bit a pixel; in JPEG each block of 64
# pixels takes at least the bit of its mean.
_MOST_PIXELS = {"PNG": 8 * 1366, "TIFF": 8 * 1366, "JPEG": 8 * 64, "MPO": 8 * 64}
_TRANSPOSED = {5, 6, 7, 8}  # EXIF orientations that exchange x and y

# Densities that programs write when they know nothing, or that say how to print: no measure of the patient. One dot
# an inch or a centimetre is a ratio of the sides.
_NO_DPI = (
    1,
    2.54,
    72,
    75,
    90,
    96,
    100,
    110,
    120,
    144,
    150,
    180,
    192,
    200,
    216,
    220,
    240,
    288,
    300,
    350,
    360,
    400,
    480,
    600,
    720,
    1200,
    2400,
)
_SPACING_RANGE = (0.005, 5.0)


def read_raster(path: str, channels: Channels) -> Image:
    """Decode the file; see `read_image`."""
    try:
        with _opened(path) as image:
            header = _header(path, image)
            decoded: Pillow.Image = image
            if _orientation(image) > 1:
                decoded = ImageOps.exif_transpose(image)
            array = _values(path, image, decoded, channels)
    except UnidentifiedImageError as error:
        plain = _plain(path, error)
        header, grey = _plain_header(plain), plain.values()
        array = np.repeat(grey[None], 3, axis=0) if channels == "rgb" else grey  # (H, W) -> (3, H, W)
    return Image(finite(path, array), header.spacing, path)


def header_of_raster(path: str) -> Header:
    """Read size and spacing and check the file's structure; see `read_header`."""
    try:
        with _opened(path) as image:
            return _header(path, image)
    except UnidentifiedImageError as error:
        return _plain_header(_plain(path, error))


@contextmanager
def _opened(path: str) -> Iterator[Pillow.Image]:
    # Pillow is given the open file, not its name: by name it maps uncompressed TIFF into memory, then scrambles those
    # whose orientation tag turns them (seen in Pillow 13.0).
    name, page = page_of(path)
    with warnings.catch_warnings(), open(name, "rb") as file:
        warnings.simplefilter("ignore")  # what Pillow only warns of (bombs, cut files) is refused here
        try:
            image = Pillow.open(file, formats=FORMATS)
        except Pillow.DecompressionBombError as error:
            raise _too_large(path, "claims a huge size") from error
        with image:
            if page:
                pages = int(getattr(image, "n_frames", 1)) if image.format == "TIFF" else 0
                if page > pages:
                    raise DataError(path, f"does not exist: the file has {pages} pages", "name one of these")
                image.seek(page - 1)
            yield image


def _plain(path: str, error: UnidentifiedImageError) -> PlainTiff:
    """Return the TIFF that Pillow does not know, or say what the file is instead."""
    if is_tiff(page_of(path)[0]):
        return PlainTiff(path)
    raise DataError(path, *unread(path)) from error


def _plain_header(plain: PlainTiff) -> Header:
    def density(tag: int) -> float:
        above, below = plain.tags.get(tag, (0, 1))[:2]
        return float(above) / float(below) if below else 0.0

    unit = int((plain.tags.get(_UNIT) or (2,))[0])
    factor = {2: 1.0, 3: 2.54}.get(unit, 0.0)
    return Header(plain.size, 1, _of_density(plain.path, (density(_X_RES) * factor, density(_Y_RES) * factor)))


def _header(path: str, image: Pillow.Image) -> Header:
    """Check everything that can be known before pixels are decoded."""
    width, height = image.size
    if width < 1 or height < 1:
        raise DataError(path, f"has the impossible size {width} x {height}", DAMAGED)
    if width * height > MAX_PIXELS:
        raise _too_large(path, f"has {width} x {height} pixels")
    if image.mode not in _GREY | _COLOUR:
        raise DataError(path, f"has the pixel kind {image.mode!r}", "save it as grey or RGB")
    if image.format == "TIFF" and image.mode == "F" and _tag(image, _PHOTOMETRIC, 1) == 0:
        raise DataError(path, "holds floats of which white is zero", "save it with photometric interpretation 1")
    if image.format == "TIFF" and not page_of(path)[1] and (pages := int(getattr(image, "n_frames", 1))) > 1:
        raise DataError(path, f"holds {pages} pages, expected 1", f"name one, such as {os.path.basename(path)}#1")
    _check_end(path, image)
    if _bits(path, image) > 8 and image.mode not in _GREY - {"LA", "La"}:
        # Pillow would cut such pixels to 8 bits without a word.
        raise DataError(
            path, "has more than 8 bits a channel in colour or with alpha", "save it as 16-bit grey or 8-bit RGB"
        )
    spacing = _spacing(path, image)
    if _orientation(image) in _TRANSPOSED:
        spacing = (spacing[1], spacing[0])
        if image.format != "TIFF":  # of which Pillow gives the size after the turn
            width, height = height, width
    return Header((width, height), 1 if image.mode in _GREY else 3, spacing)


def _values(path: str, source: Pillow.Image, decoded: Pillow.Image, channels: Channels) -> NDArray[np.float32]:
    """Return `(H, W)` or `(3, H, W)` float32."""
    if decoded.mode in _GREY:
        array = _grey(path, source, decoded)
        return np.repeat(array[None], 3, axis=0) if channels == "rgb" else array  # (H, W) -> (3, H, W)
    if decoded.mode != "RGB":
        decoded = decoded.convert("RGB")
    if channels == "grey":
        return _scaled(np.asarray(decoded.convert("L")), 255)
    return _scaled(np.asarray(decoded).transpose(2, 0, 1), 255)  # (H, W, 3) -> (3, H, W)


def _grey(path: str, source: Pillow.Image, decoded: Pillow.Image) -> NDArray[np.float32]:
    if decoded.mode in ("LA", "La"):
        decoded = decoded.getchannel("L")
    if decoded.mode == "1":
        return np.asarray(decoded).astype(np.float32)
    if decoded.mode == "F":
        return np.asarray(decoded, dtype=np.float32)
    bits = _bits(path, source)
    values = np.asarray(decoded)
    if decoded.mode == "L" and source.format == "TIFF" and _tag(source, _SAMPLE_FORMAT, 1) == 2:
        return values.view(np.int8).astype(np.float32)
    if decoded.mode == "I":
        if source.format != "PNG":
            if _tag(source, _SAMPLE_FORMAT, 1) == 2:
                return values.astype(np.float32)
            values = values.view(np.uint32)  # Pillow has no unsigned 32-bit kind and keeps the bits
        return (values / (2.0**bits - 1)).astype(np.float32)
    array = _scaled(values, 2 ** max(bits, 8) - 1)
    if bits > 8 and source.format == "TIFF" and _tag(source, _PHOTOMETRIC, 1) == 0:
        np.subtract(np.float32(1), array, out=array)  # Pillow inverts "white is zero" for 8 bits only
    return array


def _scaled(values: NDArray[np.generic], top: int) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = np.divide(values, np.float32(top), dtype=np.float32, casting="unsafe", order="C")
    return scaled


def _bits(path: str, image: Pillow.Image) -> int:
    """Bits a channel as stored in the file, which Pillow's mode hides."""
    if image.format == "PNG":
        with open(path, "rb") as file:
            return file.read(25)[24]
    if image.format == "TIFF":
        return int(max(_entries(image, _BITS) or (1,)))
    return 8


def _entries(image: Pillow.Image, tag: int) -> tuple[int, ...]:
    """Return the values of a tag of TIFF, empty where there is none; those of densities are fractions."""
    value = getattr(image, "tag_v2", {}).get(tag)
    return () if value is None else value if isinstance(value, tuple) else (value,)


def _tag(image: Pillow.Image, tag: int, default: int) -> int:
    return (_entries(image, tag) or (default,))[0]


def _orientation(image: Pillow.Image) -> int:
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # looking further, Pillow would decode the whole image
    try:
        value = image.getexif().get(_ORIENTATION, 1)
        return value if isinstance(value, int) and 1 <= value <= 8 else 1
    except (SyntaxError, ValueError, struct.error, TypeError, KeyError):
        return 1  # a damaged EXIF block says nothing about the pixels


def _spacing(path: str, image: Pillow.Image) -> tuple[float, float]:
    """Millimetres per pixel from the density of PNG or TIFF, where it can be a physical measure.

    A wrong millimetre is worse than none: JPEG and BMP densities are defaults of the program that saved them, and so
    are the round print and screen densities of any format.
    """
    dots: tuple[float, ...] = ()
    try:
        if image.format == "PNG" and "dpi" in image.info:
            dots = tuple(float(value) for value in image.info["dpi"])
        elif image.format == "TIFF" and _tag(image, _UNIT, 2) in (2, 3):
            factor = 1.0 if _tag(image, _UNIT, 2) == 2 else 2.54
            dots = tuple(float(_tag(image, tag, 0)) * factor for tag in (_X_RES, _Y_RES))
    except (TypeError, ValueError, ZeroDivisionError):
        pass
    return _of_density(path, dots)


def _of_density(path: str, dots: tuple[float, ...]) -> tuple[float, float]:
    """Return millimetres per pixel of dots an inch; NaN where they are those of a program, or finer than any scanner.

    Raises:
        DataError: The pixels would be centimetres large: micrometres were taken for millimetres.
    """
    if len(dots) != 2 or any(not value > 0 or any(abs(value - d) < 0.02 for d in _NO_DPI) for value in dots):
        return (math.nan, math.nan)
    spacing = (25.4 / dots[0], 25.4 / dots[1])
    if max(spacing) > LARGEST_MM and (fault := spacing_fault(spacing)):
        raise DataError(path, fault, "correct its density (dpi), or remove it")
    plausible = all(_SPACING_RANGE[0] <= value <= _SPACING_RANGE[1] for value in spacing)
    return spacing if plausible else (math.nan, math.nan)


def _check_end(path: str, image: Pillow.Image) -> None:
    """Find files that were cut short or claim more than they can hold, without decoding them."""
    size = os.path.getsize(page_of(path)[0])
    if image.format == "PNG":
        _check_png_end(path, size)
    if image.format in ("JPEG", "MPO") and not jpeg_ends(Path(path).read_bytes()):
        raise DataError(path, "is cut short (no end marker)", DAMAGED)
    if image.format in ("BMP", "DIB", "TIFF") and _last_byte(image) > size:
        raise DataError(path, f"is cut short: {size} of {_last_byte(image)} bytes", DAMAGED)
    pixels = image.size[0] * image.size[1]
    ratio = math.inf if _tag(image, _COMPRESSION, 1) in _FAX else _MOST_PIXELS.get(image.format or "", math.inf)
    if pixels > ratio * size:
        raise DataError(path, f"claims {pixels} pixels in {size} bytes", DAMAGED)
    if image.format == "TIFF" and _tag(image, _COMPRESSION, 1) == 1:
        held = sum(_entries(image, 279)) or size
        if held < image.size[1] * ((image.size[0] * _bits(path, image) + 7) // 8):
            raise DataError(path, f"is cut short or claims too much: {held} bytes for {pixels} pixels", DAMAGED)


def _check_png_end(path: str, size: int) -> None:
    with open(path, "rb") as file:
        place = 8
        while place + 12 <= size:
            file.seek(place)
            length, kind = struct.unpack(">I4s", file.read(8))
            place += 12 + length
            if kind == b"IEND" and place <= size:
                return
    raise DataError(path, "is cut short", DAMAGED)


def _last_byte(image: Pillow.Image) -> int:
    """Return how long the file must be to hold all strips or tiles that its header lists."""
    if image.format == "TIFF":
        starts = _entries(image, 273) + _entries(image, 324)
        lengths = _entries(image, 279) + _entries(image, 325)
        return max((start + length for start, length in zip(starts, lengths, strict=False)), default=0)
    return max((start + length * image.size[1] for start, length in _raw_lines(image)), default=0)


def _raw_lines(image: Pillow.Image) -> list[tuple[int, int]]:
    """Return where unpacked pixels start in the file, and the bytes of a line."""
    raw = [tile for tile in getattr(image, "tile", []) if tile[0] == "raw" and isinstance(tile[3], tuple)]
    return [(tile[2], tile[3][1]) for tile in raw if isinstance(tile[3][1], int)]


def _too_large(path: str, problem: str) -> DataError:
    side = math.isqrt(MAX_PIXELS)
    return DataError(path, problem, f"make it no larger than {side} x {side} pixels")
