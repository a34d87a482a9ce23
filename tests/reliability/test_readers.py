"""F15-F18 and F21: damaged files either read or cost one line that names them, quickly and without much memory."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import resource
import struct
import time
from collections.abc import Callable
from io import BytesIO
from itertools import count as numbers
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.core.errors import DataError
from medzoo.core.io import Column, read_header, read_image, read_json, read_table
from medzoo.core.testing.damage import KINDS, mutant

HEADERS = {".nii": 352, ".dcm": 600, "IM0": 600, ".csv": 30, ".json": 30}  # bytes of a header; 100 for others
LIMIT_S, LIMIT_MB = 1.0, 512


def pillow(mode: str, ending: str, **options: object) -> bytes:
    rng = np.random.default_rng(7)
    smooth = np.add.outer(np.arange(48), np.arange(40)) * 2 + rng.integers(0, 20, (48, 40))
    image = Pillow.fromarray(smooth.astype(np.uint8))
    if mode == "I;16":
        image = Pillow.fromarray((smooth * 256).astype(np.uint16))
    elif mode != "L":
        image = image.convert("RGB").convert(mode)
    file = BytesIO()
    formats = {"jpg": "JPEG", "tif": "TIFF"}
    exif = Pillow.Exif()
    exif[0x0112] = 6
    image.save(file, format=formats.get(ending, ending.upper()), exif=exif, **options)
    return file.getvalue()


def nifti() -> bytes:
    volume = np.random.default_rng(7).integers(-1000, 1000, (16, 12, 10)).astype(np.int16)
    return bytes(nibabel.Nifti1Image(volume, np.diag([0.5, 0.5, 2, 1])).to_bytes())


def sagittal() -> bytes:
    volume = np.random.default_rng(7).integers(-1000, 1000, (16, 12, 10)).astype(np.float32)
    affine = np.array([[0, 0, 0.8, -9], [-0.5, 0.01, 0, 7], [0.01, -0.6, 0, 3], [0, 0, 0, 1]])
    return bytes(nibabel.Nifti1Image(volume, affine).to_bytes())


def plain_tiff(kind: int, values: np.ndarray) -> bytes:
    """Return an uncompressed TIFF of numbers that Pillow does not write."""
    height, width = values.shape
    tags = ((256, width), (257, height), (258, values.itemsize * 8), (259, 1), (262, 1), (273, 8), (277, 1))
    tags = (*tags, (278, height), (279, values.nbytes), (339, kind))
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    front = b"II*\0" + struct.pack("<I", 8 + values.nbytes) + values.tobytes()
    return front + struct.pack("<H", len(tags)) + table + bytes(4)


def pictures() -> bytes:
    file = BytesIO()
    first = Pillow.fromarray(np.add.outer(np.arange(48), np.arange(40)).astype(np.uint8))
    first.save(file, "MPO", save_all=True, append_images=[first])
    return file.getvalue()


def dicom(coding: str = "") -> bytes:
    pytest.importorskip("pydicom", reason='pip install "medzoo-core[dicom]"')
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1"
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.Modality, data.PhotometricInterpretation, data.PixelSpacing = "DX", "MONOCHROME1", [0.1, 0.2]
    data.Rows, data.Columns, data.SamplesPerPixel = 24, 20, 1
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelData = np.random.default_rng(7).integers(0, 4096, (24, 20)).astype(np.uint16).tobytes()
    if coding:
        from pydicom.encaps import encapsulate
        from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit

        meta.TransferSyntaxUID = JPEGBaseline8Bit if coding == "jpeg" else DeflatedExplicitVRLittleEndian
    if coding == "jpeg":
        data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
        frame = BytesIO()
        Pillow.fromarray(np.add.outer(np.arange(24), np.arange(20)).astype(np.uint8)).save(frame, "JPEG")
        data.PixelData = encapsulate([frame.getvalue()])
        data["PixelData"].VR = "OB"
    file = BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


def table() -> bytes:
    rows = [f"{i:03},{i * 1.5},{100 - i},note {i}" for i in range(20)]
    return "\n".join(["id,x,y,note", *rows]).encode()


FORMATS: dict[str, Callable[[], bytes]] = {
    "grey8.png": lambda: pillow("L", "png"),
    "grey16.png": lambda: pillow("I;16", "png"),
    "palette.png": lambda: pillow("P", "png"),
    "rgba.png": lambda: pillow("RGBA", "png"),
    "grey.jpg": lambda: pillow("L", "jpg"),
    "cmyk.jpg": lambda: pillow("CMYK", "jpg"),
    "rgb.bmp": lambda: pillow("RGB", "bmp"),
    "grey16.tif": lambda: pillow("I;16", "tif"),
    "lzw.tif": lambda: pillow("RGB", "tif", compression="tiff_lzw"),
    "deflate.tif": lambda: pillow("L", "tif", compression="tiff_adobe_deflate"),
    "jpeg.tif": lambda: pillow("RGB", "tif", compression="jpeg"),
    "signed8.tif": lambda: plain_tiff(2, np.arange(-100, 100, dtype=np.int8).reshape(10, 20)),
    "float64.tif": lambda: plain_tiff(3, np.linspace(-5, 5, 200).reshape(10, 20)),
    "progressive.jpg": lambda: pillow("RGB", "jpg", progressive=True),
    "pictures.jpg": pictures,
    "sagittal.nii": sagittal,
    "volume.nii": nifti,
    "volume.nii.gz": lambda: gzip.compress(nifti(), mtime=0),
    "inner.nii.gz": nifti,  # damaged first, then packed: the stream is sound, what it holds is not
    "radiograph.dcm": dicom,
    "jpeg.dcm": lambda: dicom("jpeg"),
    "deflated.dcm": lambda: dicom("deflated"),
    "IM000001": dicom,
    "table.csv": table,
    "labels.json": lambda: json.dumps({"points": [[i, i + 0.5] for i in range(20)]}, indent=1).encode(),
}
COLUMNS = (Column("id"), Column("x", "number"), Column("y", "number"))


def read(path: Path) -> None:
    """Read a file; whatever of it can be read must make sense."""
    if path.suffix == ".csv":
        assert np.isfinite(read_table(path, COLUMNS, unique=("id",)).numbers("x", "y")).all()
    elif path.suffix == ".json":
        read_json(path)
    else:
        try:
            header = read_header(path)
        except DataError:
            with pytest.raises(DataError):  # what is wrong with a header is wrong with the image
                read_image(path)
            raise
        image = read_image(path)
        assert image.size == header.size
        assert image.spacing == pytest.approx(header.spacing, nan_ok=True)
        assert image.array.dtype == np.float32
        assert np.isfinite(image.array).all()


def survive(folder: Path, name: str, kind: str, seeds: range) -> None:
    content = FORMATS[name]()
    path = folder / name
    header = next((length for ending, length in HEADERS.items() if ending in name), 100)
    path.write_bytes(gzip.compress(content) if name == "inner.nii.gz" else content)
    read(path)  # the sound file
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in seeds:
        damaged = mutant(content, kind, seed, header)
        path.write_bytes(gzip.compress(damaged, 1) if name == "inner.nii.gz" else damaged)
        start, refused = time.process_time(), ""
        try:
            read(path)
        except DataError as error:
            refused = str(error)
            same = pickle.loads(pickle.dumps(error))  # as a loader's worker sends it
        except Exception as error:
            raise AssertionError(f"{name} {kind} seed {seed}: {type(error).__name__}: {error}") from error
        if refused:
            assert refused.startswith(str(path)), f"seed {seed}: {refused}"
            assert "\n" not in refused, f"seed {seed}: {refused}"
            assert len(refused) < len(str(path)) + 400, f"seed {seed}: {refused}"
            assert str(same) == refused, f"seed {seed}"
        assert time.process_time() - start < 2 * LIMIT_S, f"seed {seed}"  # header and image, twice where refused
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < LIMIT_MB, f"{name} {kind}: {grown:.0f} MB"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_read_or_cost_one_line(
    tmp_path: Path, name: str, kind: str, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    survive(tmp_path, name, kind, range(10))
    printed = capfd.readouterr()
    assert printed.out == ""
    if not name.endswith(".tif"):  # libtiff, within Pillow, writes to the terminal itself
        assert printed.err == ""
    assert not list(recwarn)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FORMATS)
def test_a_hundred_damaged_files_of_each_kind_read_or_cost_one_line(tmp_path: Path, name: str, kind: str) -> None:
    survive(tmp_path, name, kind, range(10, 110))


FAMILIES = {
    "raster": ("png", "jpg", "bmp"),
    "tiff": ("tif",),
    "dicom": ("dcm", "IM000001"),
    "nifti": ("nii", "gz"),
    "tables": ("csv", "json"),
}
SECONDS = float(os.environ.get("MEDZOO_FUZZ_SECONDS", "5"))
"""How long each family of files is tried; each time anew from the same seed."""


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_damaged_files_of_a_family_for_a_time(tmp_path: Path, family: str, figure: Any) -> None:
    names = [name for name in FORMATS if name.rpartition(".")[2] in FAMILIES[family]]
    stop = time.monotonic() + SECONDS
    with figure("F15", f"fuzz: {family}") as count:
        for seed in numbers(1000, 10):
            for name in names:
                for kind in KINDS:
                    try:
                        survive(tmp_path, name, kind, range(seed, seed + 10))
                        count.held += 10
                    except AssertionError as error:
                        count(False, f"{name} {kind} {seed}…: {str(error)[:300]}")
            if time.monotonic() > stop:
                break


@pytest.mark.parametrize(
    ("name", "reason"),
    [("empty.png", "is empty"), ("folder.nii", "not a file"), ("a.exe", "unknown"), ("no.jpg", "exist")],
)
def test_what_is_no_image_file_at_all_is_named(tmp_path: Path, name: str, reason: str) -> None:
    path = tmp_path / name
    if name.startswith("folder"):
        path.mkdir()
    elif not name.startswith("no"):
        path.touch()
    for reader in (read_image, read_header):
        with pytest.raises(DataError, match=reason):
            reader(path)


def test_one_damaged_file_among_many_is_found_by_headers_alone_in_5_ms_a_file(tmp_path: Path) -> None:
    sound = {
        name: FORMATS[name]() for name in ("grey8.png", "grey.jpg", "rgb.bmp", "lzw.tif", "volume.nii", "volume.nii.gz")
    }
    for number in range(50):
        for name, content in sound.items():
            (tmp_path / f"{number:03}_{name}").write_bytes(content)
    bad = {f"017_{name}" for name in sound}
    for name in bad:
        content = (tmp_path / name).read_bytes()
        # Half of the stream of a .nii.gz may still hold the whole header: that one is cut within it.
        (tmp_path / name).write_bytes(content[: 40 if name.endswith(".gz") else len(content) // 2])
    files = sorted(tmp_path.iterdir())
    found = set()
    start = time.process_time()
    for path in files:
        try:
            read_header(path)
        except DataError:
            found.add(path.name)
    assert (time.process_time() - start) / len(files) < 0.005
    assert found == bad
