"""Plain grey TIFF of the kinds that Pillow does not know: floats of 16 and 64 bits, integers of odd byte orders."""

from __future__ import annotations

import math
import os
import struct
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from medzoo.core.errors import DataError
from medzoo.core.io.kinds import page_of
from medzoo.core.io.types import DAMAGED, MAX_PIXELS

_LETTERS = {1: "B", 3: "H", 4: "I", 5: "II", 6: "b", 8: "h", 9: "i", 10: "ii", 13: "I", 16: "Q"}  # whole numbers
_MOST = 2**20  # entries of one tag, which are as many as there are strips
_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_KINDS = {1: "u", 2: "i", 3: "f"}
_NAMES = {1: "unsigned", 2: "signed", 3: "float", 4: "untyped", 5: "complex", 6: "complex"}
_CURE = "save it as grey of 8 or 16 bits, or RGB of 8 bits"


class PlainTiff:
    """A page of a TIFF file, its header checked; of `FILE.tif#3` the third, else the only one.

    Attributes:
        size: Width and height.
        tags: Values by number.

    Raises:
        DataError: The file is TIFF of a kind that is not read, or damaged.
    """

    def __init__(self, path: str) -> None:
        self.path, (self._file, page) = path, page_of(path)
        high_first, self.tags = _tags(path, self._file, page)
        bits, kind = self._one(258, 1), self._one(339, 1)
        samples, coding, white = self._one(277, 1), self._one(259, 1), self._one(262, 1)
        self.size = (self._one(256, 0), self._one(257, 0))
        if min(self.size) < 1 or self.size[0] * self.size[1] > MAX_PIXELS:
            raise DataError(path, f"has the impossible size {self.size[0]} x {self.size[1]}", DAMAGED)
        name = f"{bits}-bit {_NAMES.get(kind, 'unknown')} values in {samples} channels"
        if samples != 1 or (kind, bits) not in {(1, b) for b in (8, 16, 32, 64)} | {
            *((2, b) for b in (8, 16, 32, 64)),
            *((3, b) for b in (16, 32, 64)),
        }:
            raise DataError(path, f"is TIFF of {name}, which is not read", _CURE)
        if coding != 1 or 324 in self.tags or self._one(274, 1) != 1:
            raise DataError(path, f"is packed, tiled or turned TIFF of {name}, which is not read", _CURE)
        if white not in (0, 1) or (white == 0 and kind != 1):
            raise DataError(
                path, f"is TIFF of {name} with photometric interpretation {white}, which is not read", _CURE
            )
        order = ">" if high_first else "<"
        self.dtype, self.inverted = np.dtype(f"{order}{_KINDS[kind]}{bits // 8}"), white == 0
        needed, held = math.prod(self.size) * self.dtype.itemsize, sum(self.tags.get(279, ()))
        ends = [start + count for start, count in zip(self.tags.get(273, ()), self.tags.get(279, ()), strict=False)]
        if held < needed or max(ends) > os.path.getsize(self._file):
            raise DataError(path, f"is cut short or claims too much: {held} bytes for {needed} of pixels", DAMAGED)

    def values(self) -> NDArray[np.float32]:
        """Return `(H, W)`: unsigned values divided by their largest, others as they are."""
        parts = []
        with open(self._file, "rb") as file:
            for start, count in zip(self.tags[273], self.tags[279], strict=True):
                file.seek(start)
                parts.append(file.read(count))
        count = math.prod(self.size)
        stored: NDArray[np.integer | np.floating] = np.frombuffer(b"".join(parts), self.dtype, count).reshape(
            self.size[::-1]
        )
        if self.dtype.kind != "u":
            return stored.astype(np.float32)
        scaled = (stored / float(np.iinfo(self.dtype).max)).astype(np.float32)
        return np.float32(1) - scaled if self.inverted else scaled

    def _one(self, tag: int, default: int) -> int:
        values = self.tags.get(tag) or (default,)
        return int(max(values)) if tag in (258, 339) else int(values[0])


def is_tiff(path: str) -> bool:
    """Return whether a file begins as TIFF or BigTIFF does."""
    with open(path, "rb") as file:
        return file.read(4) in _MARKS


def page_count(path: str) -> int:
    """Return how many pages a TIFF file has; their contents are not looked at.

    Raises:
        DataError: The list of pages is damaged.
    """
    with open(path, "rb") as file:
        _, order, wide = _mark(path, file)
        starts: set[int] = set()
        while start := _unpacked(path, file, order + wide)[0]:
            if start in starts:
                raise DataError(path, "lists its pages in a circle", DAMAGED)
            starts.add(start)
            file.seek(start)
            _skip(path, file, order, wide)
    return len(starts)


def _mark(path: str, file: BinaryIO) -> tuple[bool, str, str]:
    """Return whether the last byte of a number is its lowest, the letters of this order and of a place in the file."""
    mark = file.read(4)
    big = b"+" in mark
    if big:
        file.seek(8)
    return mark[:2] != b"II", "<" if mark[:2] == b"II" else ">", "Q" if big else "I"


def _count(path: str, file: BinaryIO, order: str, wide: str) -> int:
    (count,) = _unpacked(path, file, order + ("Q" if wide == "Q" else "H"))
    if count > 4096:
        raise DataError(path, f"claims {count} tags", DAMAGED)
    return count


def _skip(path: str, file: BinaryIO, order: str, wide: str) -> None:
    """Go from the tags of a page to the place of the next."""
    file.seek(_count(path, file, order, wide) * (20 if wide == "Q" else 12), os.SEEK_CUR)


def _tags(path: str, name: str, page: int) -> tuple[bool, dict[int, tuple[int, ...]]]:
    """Return whether the last byte of a number is its lowest, and the tags of a page, 0 being the only one."""
    with open(name, "rb") as file:
        high_first, order, wide = _mark(path, file)
        for at in range(max(page, 1)):
            (start,) = _unpacked(path, file, order + wide)
            if not start:
                raise DataError(path, f"does not exist: the file has {at} pages", "name one of these")
            file.seek(start)
            if at + 1 < page:
                _skip(path, file, order, wide)
        size = 8 if wide == "Q" else 4
        tags: dict[int, tuple[int, ...]] = {}
        for _ in range(_count(path, file, order, wide)):
            number, code, length = _unpacked(path, file, f"{order}HH{wide}")
            place = file.tell()
            letters = _LETTERS.get(code)
            if letters is not None and length <= _MOST:
                pattern = order + letters * length
                if struct.calcsize(pattern) > size:
                    file.seek(_unpacked(path, file, order + wide)[0])
                tags[number] = _unpacked(path, file, pattern)
            file.seek(place + size)
        if not page and _unpacked(path, file, order + wide)[0]:
            raise DataError(path, "holds several pages, expected 1", f"name one, such as {os.path.basename(path)}#1")
    return high_first, tags


def _unpacked(path: str, file: BinaryIO, pattern: str) -> tuple[int, ...]:
    content = file.read(struct.calcsize(pattern))
    if len(content) < struct.calcsize(pattern):
        raise DataError(path, "is cut short within its header", DAMAGED)
    return struct.unpack(pattern, content)
