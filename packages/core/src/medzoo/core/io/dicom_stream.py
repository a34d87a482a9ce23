"""What surrounds the pixels of a DICOM file: deflated data sets, decoders and the size that a coded image claims."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from medzoo.core.errors import DataError
from medzoo.core.io.types import DAMAGED

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

Stop = Callable[[int, str | None, int], bool]
"""Whether reading ends before an attribute: its tag, value representation and length."""

HEADER_BYTES = 2**22
"""Most bytes of a deflated data set before its pixels."""

_DEFLATED = "1.2.840.10008.1.2.1.99"
_PIXELS, _INTEGERS = 0x7FE00008, 0x7FE00010  # first tag of pixels of any kind, and that of integers or coded ones
_STEP = 2**16
_LIBJPEG, _OPENJPEG = "pylibjpeg pylibjpeg-libjpeg", "pylibjpeg pylibjpeg-openjpeg"
_PACKAGES = {
    "1.2.840.10008.1.2.4.50": _LIBJPEG,
    "1.2.840.10008.1.2.4.51": _LIBJPEG,
    "1.2.840.10008.1.2.4.57": _LIBJPEG,
    "1.2.840.10008.1.2.4.70": _LIBJPEG,
    "1.2.840.10008.1.2.4.80": _LIBJPEG,
    "1.2.840.10008.1.2.4.81": _LIBJPEG,
    "1.2.840.10008.1.2.4.90": _OPENJPEG,
    "1.2.840.10008.1.2.4.91": _OPENJPEG,
    "1.2.840.10008.1.2.4.201": _OPENJPEG,
    "1.2.840.10008.1.2.4.202": _OPENJPEG,
    "1.2.840.10008.1.2.4.203": _OPENJPEG,
}
"""What decodes each transfer syntax, by its UID."""


def attributes(path: str, tags: list[str]) -> tuple[Dataset, int | None]:
    """Return the data set with the attributes named, and how many bytes its pixels take; None for no such pixels.

    Everything else is passed over unread, however large, and no more than a header of a deflated data set is inflated.
    Coded pixels of unknown length count as 2³² − 1 bytes.

    Raises:
        DataError: The data set is deflated and reaches no pixels within `HEADER_BYTES`.
    """
    import pydicom

    reached: list[tuple[int, int]] = []

    def stop(tag: int, vr: str | None, length: int) -> bool:
        del vr
        if tag >= _PIXELS:
            reached.append((tag, length))
        return bool(reached)

    meta = pydicom.filereader.read_file_meta_info(path)
    whole = True
    if meta.get("TransferSyntaxUID") == _DEFLATED:
        content, whole = _inflated(path, HEADER_BYTES)
        data = _deflated_set(path, content, meta, stop)
    else:
        with open(path, "rb") as file:
            data = pydicom.filereader.read_partial(file, stop, specific_tags=[pydicom.tag.Tag(tag) for tag in tags])
    if not reached and not whole:
        raise DataError(path, f"inflates to more than {HEADER_BYTES} bytes before its pixels", DAMAGED)
    return data, next((length for tag, length in reached if tag == _INTEGERS), None)


def everything(path: str, pixel_bytes: int) -> Dataset:
    """Return the whole data set, inflating no more of it than a header and pixels of so many bytes.

    Raises:
        DataError: It inflates to more.
    """
    import pydicom

    meta = pydicom.filereader.read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != _DEFLATED:
        return pydicom.dcmread(path)
    content, whole = _inflated(path, HEADER_BYTES + pixel_bytes)
    if not whole:
        problem = f"inflates to more than the {pixel_bytes} bytes of its pixels and a header"
        raise DataError(path, problem, DAMAGED)
    return _deflated_set(path, content, meta, None)


def _deflated_set(path: str, content: bytes, meta: FileMetaDataset, stop: Stop | None) -> Dataset:
    import pydicom

    inner = pydicom.filereader.read_dataset(io.BytesIO(content), False, True, stop_when=stop)
    return pydicom.dataset.FileDataset(path, inner, file_meta=meta, is_implicit_VR=False, is_little_endian=True)


def check_decoder(path: str, data: Dataset) -> None:
    """Refuse coded pixels that nothing installed can decode, naming what to install."""
    from pydicom.pixels import get_decoder

    syntax = data.file_meta.get("TransferSyntaxUID") if hasattr(data, "file_meta") else None
    if not syntax:
        raise DataError(path, "names no transfer syntax", "export it again as DICOM part 10")
    try:
        decoders = set(get_decoder(syntax).available_plugins) if syntax.is_compressed else {"numpy"}
    except NotImplementedError:
        problem = f"has pixels coded as {syntax.name}, which nothing here decodes"
        raise DataError(path, problem, "save it uncompressed") from None
    # Pillow stands in for both kinds of 8-bit JPEG, but reads no more than 8 bits of them.
    if str(syntax).endswith((".4.50", ".4.51")) and int(data.get("BitsStored") or 0) > 8:
        decoders -= {"pillow"}
    if not decoders:
        raise undecoded(path, syntax)


def undecoded(path: str, syntax: UID) -> DataError:
    """Return the error for coded pixels that need another decoder."""
    packages = _PACKAGES.get(str(syntax), _LIBJPEG)
    return DataError(path, f"cannot be decoded ({syntax.name})", f"run: pip install {packages}, or decompress it")


def coded_size(frame: bytes) -> tuple[int, int] | None:
    """Return width and height that a JPEG, JPEG-LS or JPEG 2000 stream claims; None where it claims none."""
    if frame[:4] == b"\xff\x4f\xff\x51" and len(frame) >= 24:
        right, bottom, left, top = struct.unpack(">4I", frame[8:24])
        return right - left, bottom - top
    if frame[:2] != b"\xff\xd8":
        return None
    place = 2
    while place + 9 <= len(frame) and frame[place] == 0xFF:
        kind, length = frame[place + 1], int.from_bytes(frame[place + 2 : place + 4], "big")
        if kind == 0xFF:
            place += 1  # fill
            continue
        if (0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC)) or kind == 0xF7:
            height, width = struct.unpack(">2H", frame[place + 5 : place + 9])
            return width, height
        place += 2 + length
    return None


def _inflated(path: str, limit: int) -> tuple[bytes, bool]:
    """Return at most `limit` bytes of a deflated data set, and whether that is all."""
    engine, parts, left = zlib.decompressobj(-zlib.MAX_WBITS), [], limit
    with open(path, "rb") as file:
        file.seek(_meta_end(file.read(_STEP)))
        while left > 0 and not engine.eof:
            packed = engine.unconsumed_tail or file.read(_STEP)
            if not packed:
                break
            part = engine.decompress(packed, left)
            parts.append(part)
            left -= len(part)
    return b"".join(parts), engine.eof or left > 0


def _meta_end(head: bytes) -> int:
    """Return where the data set begins: behind the preamble and the elements of group 2, which are never deflated."""
    place = 132
    while head[place : place + 2] == b"\x02\0":
        long = head[place + 4 : place + 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT")
        start = place + (12 if long else 8)
        place = start + int.from_bytes(head[place + 8 if long else place + 6 : start], "little")
    return place
