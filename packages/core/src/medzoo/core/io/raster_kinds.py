"""What a file is by its first bytes where it is no image that is read, and where a JPEG stream ends."""

from __future__ import annotations

import re

from medzoo.core.io.types import DAMAGED

_PNG = "save it as PNG"
_OTHERS = (
    (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WebP"),
    (4, b"ftyp", "HEIC, AVIF or video"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"%PDF", "PDF"),
    (0, b"8BPS", "Photoshop"),
    (128, b"DICM", "DICOM"),
    (0, b"\x1f\x8b", "gzip"),
)
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # what is no part of coded pixels


def unread(path: str) -> tuple[str, str]:
    """Return problem and cure for a file that no reader of rasters knows."""
    with open(path, "rb") as file:
        head = file.read(2**16)
    for place, mark, name in _OTHERS:
        if head[place : place + len(mark)] == mark:
            cure = "give it an ending that says so" if name in ("DICOM", "gzip") else _PNG
            return f"is {name} by its content, expected PNG, JPEG, BMP or TIFF", cure
    frame = _frame(head)
    if frame is not None and frame[1] != 8:
        return f"is JPEG of {frame[1]} bits a channel, which is not read", "save it as 16-bit PNG"
    if frame is not None and frame[0] in (0xC3, 0xC7, 0xCB, 0xCF, 0xF7):
        return "is lossless JPEG, which is not read", _PNG
    return "is no PNG, JPEG, BMP or TIFF image", DAMAGED


def jpeg_ends(content: bytes) -> bool:
    """Return whether the first picture of a JPEG file is whole, whatever follows its end."""
    place = 2
    while found := _MARKER.search(content, place):
        kind = content[found.start() + 1]
        if kind == 0xD9:
            return True
        # Segments give their length, and may hold anything; coded pixels follow the header of a scan.
        length = 0 if kind in (0x01, 0xD8) else int.from_bytes(content[found.start() + 2 : found.start() + 4], "big")
        place = found.start() + 2 + length
    return False


def _frame(head: bytes) -> tuple[int, int] | None:
    """Return kind and bits a channel of a JPEG frame."""
    place = 2
    while head[:2] == b"\xff\xd8" and (found := _MARKER.search(head, place)):
        start = found.start()
        kind = head[start + 1]
        if (0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC)) or kind == 0xF7:
            return (kind, head[start + 4]) if start + 4 < len(head) else None
        place = start + 2 + (0 if kind in (0x01, 0xD8) else int.from_bytes(head[start + 2 : start + 4], "big"))
    return None
