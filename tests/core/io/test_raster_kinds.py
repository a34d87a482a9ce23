"""Whatever a raster file says of its values is applied or refused in one line, for every kind that programs write."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.core.errors import DataError
from medzoo.core.io import read_header, read_image

BLOCKS = np.kron(np.array([[0, 255, 60], [120, 30, 200]], np.uint8), np.ones((16, 16), np.uint8))
UNSIGNED = {np.dtype(kind): np.array([[0, 1], [np.iinfo(kind).max, 7]], kind) for kind in ("u1", "u2", "u4", "u8")}
SIGNED = {
    np.dtype(kind): np.array([[np.iinfo(kind).min, 1], [np.iinfo(kind).max, -7]], kind) for kind in ("i1", "i2", "i4")
}
FLOATS = {np.dtype(kind): np.array([[-1.5, 0], [1000, 0.25]], kind) for kind in ("f2", "f4", "f8")}


def tiff(
    stored: bytes,
    size: tuple[int, int],
    bits: tuple[int, ...] = (8,),
    kind: int = 1,
    photometric: int = 1,
    order: str = "<",
    big: bool = False,
    planar: int = 1,
    **tags: Any,
) -> bytes:
    """Return an uncompressed TIFF of one strip (of one for each plane), its pixels as given.

    Args:
        stored: Pixels in the byte order of the file.
        size: Width and height.
        bits: Of each channel.
        kind: Sample format: 1 unsigned, 2 signed, 3 float.
        photometric: 0 white is zero, 1 black is zero, 2 RGB.
        order: Byte order as `struct` has it.
        big: Write BigTIFF.
        planar: 1 interleaved, 2 plane by plane.
        tags: Further tags as `t<number>=value`.
    """
    wide = "Q" if big else "I"
    head = 16 if big else 8
    planes = len(bits) if planar == 2 else 1
    part = len(stored) // planes
    entries: dict[int, tuple[str, list[int]]] = {
        256: ("I", [size[0]]),
        257: ("I", [size[1]]),
        258: ("H", list(bits)),
        259: ("H", [1]),
        262: ("H", [photometric]),
        273: (wide, [head + part * plane for plane in range(planes)]),
        277: ("H", [len(bits)]),
        278: ("I", [size[1]]),
        279: (wide, [part] * planes),
        284: ("H", [planar]),
        339: ("H", [kind] * len(bits)),
    }
    entries.update({int(name[1:]): ("H", [value]) for name, value in tags.items()})
    code, width = {"H": 3, "I": 4, "Q": 16}, 8 if big else 4
    start = head + len(stored)
    start += start % 2
    table = struct.pack(order + ("Q" if big else "H"), len(entries))
    extra, after = b"", start + len(table) + len(entries) * (20 if big else 12) + width
    for tag, (letter, values) in sorted(entries.items()):
        content = struct.pack(f"{order}{len(values)}{letter}", *values)
        table += struct.pack(f"{order}HH{wide}", tag, code[letter], len(values))
        if len(content) <= width:
            table += content.ljust(width, b"\0")
        else:
            table += struct.pack(order + wide, after + len(extra))
            extra += content
    mark = b"II" if order == "<" else b"MM"
    front = mark + struct.pack(f"{order}HHHQ", 43, 8, 0, start) if big else mark + struct.pack(f"{order}HI", 42, start)
    return (front + stored).ljust(start, b"\0") + table + struct.pack(order + wide, 0) + extra


def grey(values: np.ndarray, order: str = "<", **options: Any) -> bytes:
    """Return a TIFF of `(H, W)` values, stored as they are."""
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    stored = values.astype(values.dtype.newbyteorder(order)).tobytes()
    size = (values.shape[1], values.shape[0])
    return tiff(stored, size, (values.dtype.itemsize * 8,), kind, order=order, **options)


def both(path: Path) -> np.ndarray:
    image, header = read_image(path), read_header(path)
    assert image.size == header.size
    return image.array


def refused(path: Path, told: str) -> None:
    for read in (read_header, read_image):
        with pytest.raises(DataError, match=told):
            read(path)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_tiff_of_every_number_type_is_scaled_by_its_sign_or_kept(tmp_path: Path, order: str, big: bool) -> None:
    path = tmp_path / "a.tif"
    for kind, values in {**UNSIGNED, **SIGNED, **FLOATS}.items():
        path.write_bytes(grey(values, order, big=big))
        expected = values / np.iinfo(kind).max if kind in UNSIGNED else values
        np.testing.assert_allclose(both(path), expected, rtol=1e-6, err_msg=str(kind))


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_in_which_white_is_zero_is_turned_or_refused(tmp_path: Path, order: str) -> None:
    path = tmp_path / "a.tif"
    for kind, values in UNSIGNED.items():
        path.write_bytes(grey(values, order, photometric=0))
        np.testing.assert_allclose(both(path), 1 - values / np.iinfo(kind).max, atol=1e-6, err_msg=str(kind))
    for values in (*SIGNED.values(), *FLOATS.values()):
        path.write_bytes(grey(values, order, photometric=0))
        refused(path, "white is zero|photometric interpretation 0")


def test_tiff_of_few_bits_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for content, expected in (
        (tiff(bytes([0b10100000]), (3, 1), (1,)), [1, 0, 1]),
        (tiff(bytes([0b10100000]), (3, 1), (1,), photometric=0), [0, 1, 0]),
        (tiff(bytes([0b00011011]), (4, 1), (2,)), [0, 1 / 3, 2 / 3, 1]),
        (tiff(bytes([0x0F, 0x50]), (3, 1), (4,)), [0, 1, 1 / 3]),
        (tiff(bytes([0xFF, 0xF8, 0x00]), (2, 1), (12,)), [1, 2048 / 4095]),
    ):
        path.write_bytes(content)
        np.testing.assert_allclose(both(path), [expected], atol=1e-6)


def test_tiff_colour_is_read_interleaved_and_plane_by_plane(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    path = tmp_path / "a.tif"
    for planar, stored in ((1, colour), (2, colour.transpose(2, 0, 1))):
        path.write_bytes(tiff(stored.tobytes(), (4, 5), (8, 8, 8), photometric=2, planar=planar))
        np.testing.assert_allclose(read_image(path, "rgb").array * 255, colour.transpose(2, 0, 1), atol=1e-4)
    path.write_bytes(tiff(colour.tobytes(), (4, 5), (8, 8, 8), kind=2, photometric=2))
    refused(path, "8-bit signed values in 3 channels")


@pytest.mark.parametrize("packing", ["tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "jpeg", "group4"])
def test_tiff_is_read_in_every_packing(tmp_path: Path, packing: str) -> None:
    path = tmp_path / "a.tif"
    values = BLOCKS > 100 if packing == "group4" else BLOCKS
    Pillow.fromarray(values).save(path, compression=packing)
    np.testing.assert_allclose(both(path) * 255, values * 255 if packing == "group4" else values, atol=3)


def test_tiff_that_is_not_read_is_told_by_its_kind(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for content, told in (
        (tiff(bytes(16), (1, 1), (128,), kind=6), "128-bit complex"),
        (tiff(bytes(16), (2, 2), (32,), kind=5), "32-bit complex"),
        (grey(FLOATS[np.dtype("f8")], t274=6), "turned TIFF of 64-bit float"),
        (grey(FLOATS[np.dtype("f8")], t259=5), "packed"),
        (tiff(bytes(6), (300, 200), (64,), kind=3), "claims"),
        (tiff(bytes(6), (30, 10)), "claims"),
        (tiff(bytes(6), (8000, 8000)), "claims 64000000 pixels"),
        (tiff(bytes(6), (8000, 8000), (64,), kind=3), "claims"),
        (grey(FLOATS[np.dtype("f8")])[:90], "cut short"),
    ):
        path.write_bytes(content)
        refused(path, told)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("tail", [0, 10, 70_000])
def test_jpeg_of_every_kind_is_read_whatever_follows_its_end(
    tmp_path: Path, mode: str, options: dict[str, object], tail: int
) -> None:
    path, file = tmp_path / "a.jpg", BytesIO()
    Pillow.fromarray(BLOCKS).convert("RGB").convert(mode).save(file, "JPEG", quality=95, **options)
    path.write_bytes(file.getvalue() + bytes(tail))
    np.testing.assert_allclose(both(path) * 255, BLOCKS, atol=8)
    path.write_bytes(file.getvalue()[:-2] + bytes(tail))
    refused(path, "cut short")


def test_several_pictures_in_a_jpeg_give_the_first(tmp_path: Path) -> None:
    second = Pillow.fromarray(255 - BLOCKS)
    Pillow.fromarray(BLOCKS).save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second], quality=95)
    assert Pillow.open(tmp_path / "a.jpg").format == "MPO"
    np.testing.assert_allclose(both(tmp_path / "a.jpg") * 255, BLOCKS, atol=3)


def test_an_end_marker_within_a_thumbnail_is_no_end(tmp_path: Path) -> None:
    file, small = BytesIO(), BytesIO()
    Pillow.fromarray(BLOCKS).save(file, "JPEG")
    Pillow.fromarray(BLOCKS[:8, :8]).save(small, "JPEG")
    inner = b"Exif\0\0" + small.getvalue()
    whole = b"\xff\xd8\xff\xe1" + (len(inner) + 2).to_bytes(2, "big") + inner + file.getvalue()[2:]
    (tmp_path / "a.jpg").write_bytes(whole)
    np.testing.assert_allclose(both(tmp_path / "a.jpg") * 255, BLOCKS, atol=30)
    (tmp_path / "a.jpg").write_bytes(whole[:-2])
    refused(tmp_path / "a.jpg", "cut short")


def test_jpeg_and_foreign_files_that_are_not_read_are_told_by_their_kind(tmp_path: Path) -> None:
    file, path = BytesIO(), tmp_path / "a.jpg"
    Pillow.fromarray(BLOCKS).save(file, "JPEG")
    frame = file.getvalue().index(b"\xff\xc0")
    deep = bytearray(file.getvalue())
    deep[frame + 1], deep[frame + 4] = 0xC1, 12
    path.write_bytes(bytes(deep))
    refused(path, "JPEG of 12 bits a channel.*16-bit PNG")
    for kind, told in (
        ("GIF", "is GIF by its content"),
        ("WEBP", "is WebP"),
        ("JPEG2000", "is JPEG 2000"),
        ("PDF", "PDF"),
    ):
        Pillow.fromarray(BLOCKS).save(path, kind)
        refused(path, told)
    path.write_bytes(bytes(128) + b"DICM" + bytes(100))
    refused(path, "is DICOM by its content.*ending")


def chunked(
    width: int, height: int, depth: int, kind: int, data: bytes, interlaced: int = 0, more: bytes = b""
) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced)
    extra = chunk(more[:4], more[4:]) if more else b""
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    )


def test_png_is_read_interlaced_and_with_a_transparent_value(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(chunked(2, 2, 8, 0, bytes([0, 10, 0, 20, 0, 30, 40]), interlaced=1))
    np.testing.assert_allclose(both(path) * 255, [[10, 20], [30, 40]], atol=1e-4)
    row = b"\0" + struct.pack(">2H", 65535, 300)
    path.write_bytes(chunked(2, 1, 16, 0, row, more=b"tRNS" + struct.pack(">H", 300)))
    np.testing.assert_allclose(both(path) * 65535, [[65535, 300]], rtol=1e-5)
    deep = b"\0" + struct.pack(">H", 1000) + b"\0" + struct.pack(">H", 2000) + b"\0" + struct.pack(">2H", 3000, 65535)
    path.write_bytes(chunked(2, 2, 16, 0, deep, interlaced=1))
    np.testing.assert_allclose(both(path) * 65535, [[1000, 2000], [3000, 65535]], rtol=1e-5)
    for depth in (1, 2, 4):
        levels = 2**depth - 1
        path.write_bytes(chunked(1, 1, depth, 0, bytes([0, 1 << (8 - depth)]), more=b"tRNS\0\x01"))
        np.testing.assert_allclose(both(path), [[1 / levels]], atol=1e-6)


def test_a_file_that_claims_more_than_its_bytes_can_hold_is_refused_by_the_header(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(chunked(8000, 8000, 8, 0, bytes(100)))
    refused(tmp_path / "a.png", "claims 64000000 pixels in")
    flat = np.zeros((4000, 4000), bool)
    Pillow.fromarray(flat).save(tmp_path / "flat.png", optimize=True)
    assert both(tmp_path / "flat.png").max() == 0
    for options in ({"optimize": True}, {"progressive": True}):
        Pillow.fromarray(np.zeros((2000, 2000), np.uint8)).save(tmp_path / "flat.jpg", quality=1, **options)
        assert both(tmp_path / "flat.jpg").max() < 0.01
    content = bytearray((tmp_path / "flat.jpg").read_bytes())
    frame = content.index(b"\xff\xc2")
    content[frame + 5 : frame + 9] = struct.pack(">2H", 8000, 8000)
    (tmp_path / "a.jpg").write_bytes(bytes(content))
    refused(tmp_path / "a.jpg", "claims 64000000 pixels in")
