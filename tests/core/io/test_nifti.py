from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medzoo.core.errors import DataError
from medzoo.core.io import read_header, read_image
from medzoo.core.io.nifti import layout_of_nifti

rng = np.random.default_rng(0)
VOLUME = rng.integers(-1000, 1000, (5, 4, 3)).astype(np.int16)
AFFINE = np.array([[0.0, -1.5, 0, 10], [2.0, 0, 0, -7], [0, 0, 3.0, 1], [0, 0, 0, 1]])


def save(path: Path, array: np.ndarray = VOLUME, affine: np.ndarray = AFFINE, **header: object) -> Path:
    image = nibabel.Nifti1Image(array, affine)
    for key, value in header.items():
        image.header[key] = value
    nibabel.save(image, path)
    return path


def patched(path: Path, offset: int, content: bytes) -> Path:
    raw = path.read_bytes()
    packed = path.name.endswith(".gz")
    raw = gzip.decompress(raw) if packed else raw
    raw = raw[:offset] + content + raw[offset + len(content) :]
    path.write_bytes(gzip.compress(raw) if packed else raw)
    return path


def canonical(image: nibabel.Nifti1Image) -> np.ndarray:
    """What nibabel makes of it: (z up, y to the back, x to the left)."""
    values: np.ndarray = nibabel.as_closest_canonical(image).get_fdata()
    return values[::-1, ::-1].swapaxes(0, 2)


ENDINGS = pytest.mark.parametrize("ending", [".nii", ".nii.gz"])


@ENDINGS
def test_volume_is_indexed_z_y_x_and_keeps_its_values(tmp_path: Path, ending: str) -> None:
    image = read_image(save(tmp_path / f"v{ending}"))
    # The first stored axis runs to the front, the second to the left: they become y mirrored, and x as it is.
    assert image.array.shape == (3, 5, 4)
    assert image.array[2, 0, 1] == VOLUME[4, 1, 2]
    np.testing.assert_array_equal(image.array, canonical(nibabel.load(tmp_path / f"v{ending}")))
    assert image.array.flags.c_contiguous
    assert image.array.flags.writeable
    assert image.size == (4, 5, 3)
    assert image.spacing == pytest.approx((1.5, 2.0, 3.0))  # length of the affine's columns
    assert image.affine is not None
    np.testing.assert_allclose(image.affine @ [1, 0, 2, 1], AFFINE @ [4, 1, 2, 1])
    header = read_header(tmp_path / f"v{ending}")
    assert (header.size, header.channels, header.spacing) == ((4, 5, 3), 1, image.spacing)
    assert header.affine is not None
    np.testing.assert_array_equal(header.affine, image.affine)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "ASL", "SRP", "IPL"])
def test_every_storage_order_of_one_volume_reads_alike(tmp_path: Path, codes: str) -> None:
    from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

    tilted = np.array([[-0.7, 0.02, 0, 9], [0.02, -0.8, 0.1, 4], [0, -0.09, 2.5, 3], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(VOLUME, tilted)
    first = image.as_reoriented(ornt_transform(io_orientation(tilted), axcodes2ornt("LPS")))
    other = image.as_reoriented(ornt_transform(io_orientation(tilted), axcodes2ornt(codes)))
    nibabel.save(first, tmp_path / "lps.nii")
    nibabel.save(other, tmp_path / "other.nii")
    left, right = read_image(tmp_path / "lps.nii"), read_image(tmp_path / "other.nii")
    np.testing.assert_array_equal(left.array, VOLUME.T)
    np.testing.assert_array_equal(right.array, left.array)
    assert right.spacing == pytest.approx(left.spacing)
    np.testing.assert_allclose(right.affine, left.affine, atol=1e-5)  # type: ignore[arg-type]
    layout = layout_of_nifti(str(tmp_path / "other.nii"))
    np.testing.assert_allclose(other.affine @ layout.stored, left.affine, atol=1e-5)  # type: ignore[arg-type]


def test_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VOLUME, AFFINE)
    image.header.set_slope_inter(0.5, -3)
    path = tmp_path / "v.nii"
    nibabel.save(image, path)
    stored = nibabel.load(path)
    np.testing.assert_allclose(read_image(path).array, canonical(stored), rtol=1e-6)


def test_one_slice_is_a_plane_and_a_fourth_axis_becomes_channels(tmp_path: Path) -> None:
    plane = read_image(save(tmp_path / "p.nii", VOLUME[:, :, :1]))
    assert (plane.array.shape, plane.size, len(plane.spacing)) == ((4, 5), (5, 4), 2)
    series = save(tmp_path / "s.nii.gz", rng.random((5, 4, 3, 2)).astype(np.float32))
    assert read_image(series).array.shape == (2, 3, 5, 4)
    assert (read_header(series).channels, read_header(series).size) == (2, (4, 5, 3))
    frame = read_image(save(tmp_path / "f.nii.gz", VOLUME[..., None]))
    np.testing.assert_array_equal(frame.array, read_image(save(tmp_path / "v.nii.gz")).array)


def test_units_other_than_millimetres_are_converted(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VOLUME, np.diag([500.0, 500, 1000, 1]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "v.nii")
    read = read_image(tmp_path / "v.nii")
    assert read.spacing == pytest.approx((0.5, 0.5, 1.0))
    np.testing.assert_allclose(np.abs(read.affine[:3, :3]), np.diag([0.5, 0.5, 1.0]))  # type: ignore[index]


def test_an_unknown_unit_is_taken_as_millimetres(tmp_path: Path) -> None:
    path = patched(save(tmp_path / "v.nii"), 123, bytes([7]))
    assert read_header(path).spacing == read_image(path).spacing == pytest.approx((1.5, 2.0, 3.0))


def test_a_spacing_that_cannot_be_or_that_the_affine_contradicts_is_refused(tmp_path: Path) -> None:
    def sizes(*values: float) -> bytes:
        return np.array(values, np.float32).tobytes()

    flat = AFFINE.copy()
    flat[:3, 0], flat[:3, 1] = (0, 2, 0), (0, -1.5, 0)
    cases = {
        "two spacings: 1 x 1.5 x 3 mm in pixdim, 2 x 1.5 x 3 mm in its affine": (80, sizes(1.0)),
        "2000 x 1500 x 3000 mm a pixel.*micrometres": (80, sizes(2000, 1500, 3000)),
        "folds the volume flat": (280, flat[:3].astype(np.float32).tobytes()),
    }
    for number, (reason, (offset, content)) in enumerate(cases.items()):
        path = patched(save(tmp_path / f"{number}.nii"), offset, content)
        for read in (read_header, read_image):
            with pytest.raises(DataError, match=reason):
                read(path)


def test_a_stream_that_inflates_without_end_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "v.nii.gz")
    path.write_bytes(path.read_bytes() + gzip.compress(bytes(2**20)) * 80)
    with pytest.raises(DataError, match="inflates to far more"):
        read_image(path)


def test_nifti_2_and_big_endian_files_are_read(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti2Image(VOLUME, AFFINE), tmp_path / "two.nii")
    big = nibabel.Nifti1Image(VOLUME, AFFINE, nibabel.Nifti1Header(endianness=">"))
    nibabel.save(big, tmp_path / "big.nii.gz")
    for name in ("two.nii", "big.nii.gz"):
        np.testing.assert_array_equal(read_image(tmp_path / name).array, canonical(nibabel.load(tmp_path / name)))


@ENDINGS
def test_impossible_headers_are_refused_by_the_header_alone(tmp_path: Path, ending: str) -> None:
    nan = np.float32(np.nan).tobytes()
    cases = {
        "claims .* values": (40, np.array([3, 32767, 32767, 32767], np.int16).tobytes()),
        "cut short or claims too much": (40, np.array([3, 1000, 1000, 500], np.int16).tobytes()),
        "impossible size": (40, np.array([3, 5, 0, 3], np.int16).tobytes()),
        "5 dimensions": (40, np.array([5, 5, 2, 2, 1, 2], np.int16).tobytes()),
        "claims 9 dimensions": (40, np.array([9], np.int16).tobytes()),
        "impossible spacing": (80, np.zeros(1, np.float32).tobytes()),
        "impossible spacing .*nan": (84, nan),
        "affine with NaN": (280, nan),
        "impossible place": (108, nan),
        "type complex": (70, np.array([32, 64], np.int16).tobytes()),
        "no single-file NIfTI": (344, b"ni1\0"),
    }
    for number, (reason, (offset, content)) in enumerate(cases.items()):
        path = patched(save(tmp_path / f"{number}{ending}"), offset, content)
        for read in (read_header, read_image):
            with pytest.raises(DataError, match=reason) as caught:
                read(path)
            assert caught.value.path == str(path)


@ENDINGS
def test_short_files_and_foreign_content_are_refused(tmp_path: Path, ending: str) -> None:
    path = save(tmp_path / f"v{ending}")
    raw = path.read_bytes()
    for length in (1, 20, len(raw) // 2, len(raw) - 1):
        path.write_bytes(raw[:length])
        with pytest.raises(DataError, match=path.name):
            read_image(path)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    with pytest.raises(DataError, match=path.name):
        read_header(path)


def test_damage_inside_a_gzip_stream_is_found_by_its_check_sum(tmp_path: Path) -> None:
    path = save(tmp_path / "v.nii.gz", rng.integers(0, 1000, (20, 20, 20)).astype(np.int16))
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 1  # the check sum itself: the voxels inflate without complaint
    path.write_bytes(bytes(raw))
    with pytest.raises(DataError, match="CRC"):
        read_image(path)


def test_voxels_that_are_not_finite_are_counted_and_refused(tmp_path: Path) -> None:
    values = np.zeros((3, 3, 3), np.float32)
    values[0, 0, 0], values[1, 1, 1] = np.inf, -np.inf
    with pytest.raises(DataError, match="2 values that are NaN or infinite"):
        read_image(save(tmp_path / "v.nii", values))


def test_reading_agrees_with_nibabel_for_every_numeric_type(tmp_path: Path) -> None:
    for kind in (np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.float32, np.float64):
        path = save(tmp_path / f"{np.dtype(kind).name}.nii", rng.integers(0, 100, (4, 3, 2)).astype(kind))
        np.testing.assert_array_equal(read_image(path).array, canonical(nibabel.load(path)))
