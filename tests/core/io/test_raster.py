from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.core.errors import DataError
from medzoo.core.io import read_header, read_image, write_image

rng = np.random.default_rng(0)
EIGHT = rng.integers(0, 256, (7, 5), dtype=np.uint8)
EIGHT[0, :2] = 0, 255
COLOUR = rng.integers(0, 256, (7, 5, 3), dtype=np.uint8)
SIXTEEN = rng.integers(0, 65536, (7, 5)).astype(np.uint16)
SIXTEEN[0, :2] = 0, 65535


def png(path: Path, width: int, height: int, depth: int, kind: int, data: bytes) -> Path:
    """Write a PNG chunk by chunk, for what Pillow cannot write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    )
    return path


def saved(image: Pillow.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    assert read_header(path).size == read_image(path).size
    return path


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".tiff", ".PNG"])
def test_eight_bits_are_divided_by_255(tmp_path: Path, ending: str) -> None:
    array = read_image(saved(Pillow.fromarray(EIGHT), tmp_path / f"a{ending}")).array
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, EIGHT / np.float32(255))
    assert array.min() == 0
    assert array.max() == 1


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_sixteen_bits_keep_their_full_depth(tmp_path: Path, ending: str) -> None:
    array = read_image(saved(Pillow.fromarray(SIXTEEN), tmp_path / f"a{ending}")).array
    np.testing.assert_array_equal(np.rint(array * 65535), SIXTEEN)
    assert array.max() == 1


def test_sixteen_bit_tiff_in_which_white_is_zero_is_inverted(tmp_path: Path) -> None:
    path = saved(Pillow.fromarray(SIXTEEN), tmp_path / "a.tif", tiffinfo={262: 0})
    raw = path.read_bytes()
    # Pillow may insist on photometric 1 when it saves; set the tag's value in the file.
    place = raw.index(struct.pack("<HHI", 262, 3, 1))
    path.write_bytes(raw[: place + 8] + b"\0\0" + raw[place + 10 :])
    np.testing.assert_allclose(read_image(path).array, 1 - SIXTEEN / 65535.0, atol=1e-6)


def test_one_bit_becomes_zero_and_one(tmp_path: Path) -> None:
    bits = EIGHT > 127
    array = read_image(saved(Pillow.fromarray(bits), tmp_path / "a.png")).array
    np.testing.assert_array_equal(array, bits.astype(np.float32))


@pytest.mark.parametrize("depth", [2, 4])
def test_grey_png_of_few_bits_reaches_from_zero_to_one(tmp_path: Path, depth: int) -> None:
    row = b"\0" + bytes([0b11110000 if depth == 4 else 0b11000000])
    path = png(tmp_path / "a.png", 2, 1, depth, 0, row)
    np.testing.assert_array_equal(read_image(path).array, [[1, 0]])


def test_float_tiff_with_nan_is_refused(tmp_path: Path) -> None:
    values = np.ones((3, 3), np.float32)
    values[1, 1] = np.nan
    Pillow.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match="1 values that are NaN"):
        read_image(tmp_path / "a.tif")


def test_colour_becomes_luminance_by_default(tmp_path: Path) -> None:
    array = read_image(saved(Pillow.fromarray(COLOUR), tmp_path / "a.png")).array
    expected = COLOUR @ np.array([0.299, 0.587, 0.114]) / 255
    assert array.shape == (7, 5)
    np.testing.assert_allclose(array, expected, atol=0.51 / 255)


def test_grey_stored_as_rgb_reads_exactly_as_grey(tmp_path: Path) -> None:
    path = saved(Pillow.fromarray(np.stack([EIGHT] * 3, axis=-1)), tmp_path / "a.bmp")
    np.testing.assert_array_equal(read_image(path).array, EIGHT / np.float32(255))
    assert read_header(path).channels == 3


def test_channels_may_be_asked_for(tmp_path: Path) -> None:
    grey, colour = tmp_path / "g.png", tmp_path / "c.png"
    saved(Pillow.fromarray(EIGHT), grey)
    saved(Pillow.fromarray(COLOUR), colour)
    planes = COLOUR.transpose(2, 0, 1) / np.float32(255)
    np.testing.assert_array_equal(read_image(colour, channels="rgb").array, planes)
    np.testing.assert_array_equal(read_image(colour, channels="native").array, planes)
    assert read_image(colour, channels="native").array.flags.c_contiguous
    assert read_image(grey, channels="native").array.shape == (7, 5)
    np.testing.assert_array_equal(read_image(grey, channels="rgb").array, np.stack([EIGHT / np.float32(255)] * 3))
    with pytest.raises(ValueError, match="channels must be"):
        read_image(grey, channels="gray")  # type: ignore[arg-type]


def test_alpha_is_dropped_not_blended(tmp_path: Path) -> None:
    alpha = np.zeros((7, 5, 1), np.uint8)
    saved(Pillow.fromarray(np.concatenate([EIGHT[..., None], alpha], -1), "LA"), tmp_path / "la.png")
    saved(Pillow.fromarray(np.concatenate([COLOUR, alpha], -1), "RGBA"), tmp_path / "rgba.png")
    np.testing.assert_array_equal(read_image(tmp_path / "la.png").array, EIGHT / np.float32(255))
    np.testing.assert_array_equal(
        read_image(tmp_path / "rgba.png", "rgb").array, COLOUR.transpose(2, 0, 1) / np.float32(255)
    )


def test_palette_and_cmyk_are_read_as_their_colours(tmp_path: Path) -> None:
    flat = np.zeros((8, 8, 3), np.uint8)
    flat[:4] = 200, 30, 90
    palette = Pillow.fromarray(flat).quantize(4)
    saved(palette, tmp_path / "p.png", transparency=0)
    saved(Pillow.fromarray(flat).convert("CMYK"), tmp_path / "c.jpg", quality=100)
    for name, tolerance in (("p.png", 1.1), ("c.jpg", 6)):
        array = read_image(tmp_path / name, "rgb").array * 255
        np.testing.assert_allclose(array.transpose(1, 2, 0), flat, atol=tolerance)


@pytest.mark.parametrize("kind", [2, 6, 4])
def test_sixteen_bit_colour_is_refused_rather_than_cut_to_eight(tmp_path: Path, kind: int) -> None:
    channels = {2: 3, 6: 4, 4: 2}[kind]
    path = png(tmp_path / "a.png", 2, 2, 16, kind, (b"\0" + b"\x12\x34" * channels * 2) * 2)
    for read in (read_image, read_header):
        with pytest.raises(DataError, match="more than 8 bits"):
            read(path)


ORIENTED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif"])
def test_orientation_tag_is_applied_to_pixels_and_header(tmp_path: Path, ending: str, orientation: int) -> None:
    blocks = np.kron(np.array([[0, 255, 60], [120, 30, 200]], np.uint8), np.ones((16, 16), np.uint8))
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{ending}"
    Pillow.fromarray(blocks).save(path, exif=exif, quality=100)
    image = read_image(path)
    np.testing.assert_allclose(image.array * 255, ORIENTED[orientation](blocks), atol=2)
    assert read_header(path).size == image.size == image.array.shape[::-1]


def test_orientation_that_turns_the_image_exchanges_its_spacing(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    Pillow.fromarray(EIGHT).save(tmp_path / "a.png", exif=exif, dpi=(25.4 / 0.2, 25.4 / 0.5))
    assert read_header(tmp_path / "a.png").spacing == pytest.approx((0.5, 0.2), rel=1e-3)


def test_spacing_is_that_of_png_and_tiff_only_where_it_is_no_print_density(tmp_path: Path) -> None:
    image = Pillow.fromarray(EIGHT)
    fine = (25.4 / 0.143, 25.4 / 0.2)
    for name in ("a.png", "a.tif"):
        image.save(tmp_path / name, dpi=fine)
        assert read_header(tmp_path / name).spacing == pytest.approx((0.143, 0.2), rel=1e-3)
        assert read_image(tmp_path / name).spacing == read_header(tmp_path / name).spacing
    image.save(tmp_path / "cm.tif", resolution_unit="cm", x_resolution=50.0, y_resolution=100.0)
    assert read_header(tmp_path / "cm.tif").spacing == pytest.approx((0.2, 0.1), rel=1e-3)
    image.save(tmp_path / "a.jpg", dpi=(178, 178))
    image.save(tmp_path / "a.bmp", dpi=(178, 178))
    image.save(tmp_path / "none.png")
    names = ["a.jpg", "a.bmp", "none.png"]
    for dots in (72, 96, 150, 300, 1, 100000):
        image.save(tmp_path / f"{dots}.png", dpi=(dots, dots))
        image.save(tmp_path / f"{dots}.tif", dpi=(dots, dots))
        names += [f"{dots}.png", f"{dots}.tif"]
    for name in names:
        assert all(math.isnan(value) for value in read_header(tmp_path / name).spacing), name


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_a_density_in_micrometres_is_told(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    Pillow.fromarray(EIGHT).save(path, dpi=(25.4 / 143, 25.4 / 143))
    for read in (read_header, read_image):
        with pytest.raises(DataError, match=r"mm a pixel, which cannot be.*micrometres.*dpi"):
            read(path)


def test_content_decides_between_raster_formats_when_the_name_is_wrong(tmp_path: Path) -> None:
    Pillow.fromarray(EIGHT).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg").array, EIGHT / np.float32(255))


@pytest.mark.parametrize("read", [read_image, read_header])
def test_what_is_no_readable_image_is_named_with_a_cure(tmp_path: Path, read: object) -> None:
    assert callable(read)
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "text.png").write_text("hello, this is no image")
    (tmp_path / "a.gif").write_bytes(b"GIF89a")
    Pillow.fromarray(EIGHT).save(tmp_path / "pages.tif", save_all=True, append_images=[Pillow.fromarray(EIGHT)])
    Pillow.fromarray(COLOUR, "LAB").save(tmp_path / "lab.tif")
    png(tmp_path / "bomb.png", 60000, 60000, 8, 0, b"\0" * 1000)
    png(tmp_path / "big.png", 8192, 8193, 8, 0, b"\0" * 1000)
    cases = {
        "empty.png": "is empty",
        "folder.png": "is not a file",
        "text.png": "is no PNG, JPEG, BMP or TIFF",
        "a.gif": "unknown kind",
        "none.png": "does not exist",
        "no\0ne.png": "is no path",
        "x" * 300 + ".png": "cannot be opened|does not exist",
        "pages.tif": "holds 2 pages",
        "lab.tif": "pixel kind 'LAB'",
        "bomb.png": "claims a huge size",
        "big.png": "has 8192 x 8193 pixels",
    }
    for name, reason in cases.items():
        with pytest.raises(DataError, match=reason) as caught:
            read(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert name.replace("\0", "\\0") in str(caught.value)
        assert caught.value.cure


@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp", ".tif"])
@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_files_cut_short_are_found_by_the_header_alone(tmp_path: Path, ending: str, keep: float) -> None:
    path = tmp_path / f"a{ending}"
    noise = rng.integers(0, 256, (64, 48), dtype=np.uint8)
    Pillow.fromarray(noise).save(path, **({"compression": "tiff_lzw"} if ending == ".tif" else {}))
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * keep)])
    for read in (read_header, read_image):
        with pytest.raises(DataError, match=path.name):
            read(path)


def test_written_images_read_back(tmp_path: Path) -> None:
    values = rng.random((9, 4))
    write_image(tmp_path / "8.png", values, spacing=(0.175, 0.21))
    write_image(tmp_path / "16.png", values, bits=16)
    write_image(tmp_path / "rgb.png", rng.random((3, 9, 4)).astype(np.float32))
    assert np.abs(read_image(tmp_path / "8.png").array - values).max() <= 0.5001 / 255
    assert np.abs(read_image(tmp_path / "16.png").array - values).max() <= 0.5001 / 65535
    assert read_image(tmp_path / "8.png").spacing == pytest.approx((0.175, 0.21), rel=1e-4)
    assert read_image(tmp_path / "rgb.png", "rgb").array.shape == (3, 9, 4)
    for wrong in (np.full((2, 2), np.nan), np.zeros((2, 2, 2)), np.zeros(3)):
        with pytest.raises(ValueError, match="array must be"):
            write_image(tmp_path / "x.png", wrong)
    with pytest.raises(ValueError, match=r"end in \.png"):
        write_image(tmp_path / "x.jpg", values)
