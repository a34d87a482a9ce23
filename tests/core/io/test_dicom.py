from __future__ import annotations

import importlib.util
import struct
import sys
import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medzoo.core.errors import DataError
from medzoo.core.io import is_image, read_header, read_image

STORED = np.array([[0, 1000, 4095], [1, 2, 3]], np.uint16)


def save(path: Path, stored: np.ndarray = STORED, **attributes: Any) -> Path:
    pydicom = pytest.importorskip("pydicom", reason='pip install "medzoo-core[dicom]"')
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["medzoo"])
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.Rows, data.Columns = stored.shape[:2]
    data.SamplesPerPixel = 3 if stored.ndim == 3 else 1
    data.PhotometricInterpretation = "RGB" if stored.ndim == 3 else "MONOCHROME2"
    data.BitsAllocated = stored.dtype.itemsize * 8
    data.BitsStored = 12 if stored.dtype.itemsize == 2 else 8
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = 0
    data.Modality = "DX"
    data.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    if stored.ndim == 3:
        data.PlanarConfiguration = 0
    for name, value in attributes.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    pydicom.dcmwrite(path, data)
    return path


def test_radiograph_is_scaled_by_the_bits_it_stores(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.dcm", PixelSpacing=[0.2, 0.1], ImagerPixelSpacing=[9, 9]))
    np.testing.assert_allclose(image.array, STORED / 4095.0, atol=1e-6)
    assert image.spacing == (0.1, 0.2)  # the file tells rows first, that is y
    assert read_header(tmp_path / "a.dcm").spacing == (0.1, 0.2)
    assert image.size == read_header(tmp_path / "a.dcm").size == (3, 2)


def test_detector_spacing_stands_in_for_missing_pixel_spacing(tmp_path: Path) -> None:
    assert read_header(save(tmp_path / "a.dcm", ImagerPixelSpacing=[0.3, 0.4])).spacing == (0.4, 0.3)
    assert all(np.isnan(read_header(save(tmp_path / "b.dcm")).spacing))


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.dcm", PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_allclose(image.array, 1 - STORED / 4095.0, atol=1e-6)


def test_ct_keeps_hounsfield_units(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.dcm", Modality="CT", RescaleSlope=2, RescaleIntercept=-1024))
    np.testing.assert_allclose(image.array, STORED * 2.0 - 1024)


def test_rescaling_of_a_radiograph_keeps_it_between_zero_and_one(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.dcm", RescaleSlope=-1, RescaleIntercept=4095))
    np.testing.assert_allclose(image.array, 1 - STORED / 4095.0, atol=1e-6)


def test_colour_follows_the_rule_of_photographs(tmp_path: Path) -> None:
    colour = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 14
    path = save(tmp_path / "a.dcm", colour)
    np.testing.assert_allclose(read_image(path, "rgb").array, colour.transpose(2, 0, 1) / 255.0, atol=1e-6)
    np.testing.assert_allclose(read_image(path).array, colour @ [0.299, 0.587, 0.114] / 255, atol=1e-6)
    assert read_header(path).channels == 3


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"PixelData": None}, "holds no pixels"),
        ({"Rows": None}, "Rows and Columns are missing"),
        ({"BitsStored": 8, "HighBit": 7}, "outside the 8 bits"),
        ({"BitsStored": 20}, "stores 20 bits in 16"),
        ({"NumberOfFrames": 3}, "holds 3 frames"),
        ({"PixelSpacing": [0, 0.1]}, "impossible spacing"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "pixel kind 'PALETTE COLOR'"),
        ({"SamplesPerPixel": 3}, "has 3 channels for MONOCHROME2"),
        ({"Rows": 60000, "Columns": 60000}, "impossible size"),
        ({"RescaleSlope": 0}, "impossible rescaling"),
        ({"Rows": 500}, "cut short or claims too much: 12 bytes for 3000 bytes"),
        ({"HighBit": 15}, "end at bit 15"),
        ({"PixelSpacing": [143, 143]}, "143 x 143 mm a pixel.*micrometres"),
        ({"SamplesPerPixel": None, "BitsAllocated": 12}, "stores 12 bits in 12"),
    ],
)
def test_faulty_files_are_named_with_the_reason(tmp_path: Path, attributes: dict[str, Any], reason: str) -> None:
    path = save(tmp_path / "a.dcm", **attributes)
    if reason != "outside the 8 bits":  # which the pixels tell
        with pytest.raises(DataError, match=reason):
            read_header(path)
    with pytest.raises(DataError, match=reason) as caught:
        read_image(path)
    assert caught.value.path == str(path)
    assert "\n" not in str(caught.value)


def test_compressed_pixels_without_a_decoder_name_the_cure(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm")
    import pydicom
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEG2000Lossless

    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = JPEG2000Lossless
    data.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(4) + struct.pack(">4I", 3, 2, 0, 0) + bytes(40)])
    data["PixelData"].VR = "OB"
    pydicom.dcmwrite(path, data)
    with pytest.raises(DataError, match=r"JPEG 2000.*pip install"):
        read_image(path)


def test_without_pydicom_one_line_tells_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM")
    with pytest.raises(DataError, match=r'pip install "medzoo-core\[dicom\]"'):
        read_image(tmp_path / "a.dcm")


def deflated(path: Path, source: Path, more: bytes) -> Path:
    """Deflate the data set of a file, with `more` added behind it."""
    raw = source.read_bytes()
    start = raw.index(b"\x08\0\x60\0CS")  # Modality comes first
    place, syntax = raw.index(b"1.2.840.10008.1.2.1\0"), b"1.2.840.10008.1.2.1.99"
    meta = raw[: place - 2] + len(syntax).to_bytes(2, "little") + syntax + raw[place + 20 : start]
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(meta + engine.compress(raw[start:] + more) + engine.flush())
    return path


def test_deflated_data_sets_are_read_and_inflate_no_further_than_their_image(tmp_path: Path) -> None:
    plain = save(tmp_path / "plain.dcm", PixelSpacing=[0.2, 0.1])
    sound = deflated(tmp_path / "a.dcm", plain, b"")
    np.testing.assert_array_equal(read_image(sound).array, read_image(plain).array)
    assert read_header(sound).spacing == (0.1, 0.2)
    element = b"\xe1\x7f\x10\x00OB\0\0" + (2**26).to_bytes(4, "little")
    behind = deflated(tmp_path / "behind.dcm", plain, element + bytes(2**26))
    with pytest.raises(DataError, match="inflates to more than the 12 bytes"):
        read_image(behind)
    read_header(behind)  # which stops before its pixels
    bomb, raw = tmp_path / "bomb.dcm", plain.read_bytes()
    start = raw.index(b"\x28\0\x02\0US")
    bomb.write_bytes(raw[:start] + b"\x09\0\x10\x10OB\0\0" + (2**26).to_bytes(4, "little"))
    deflated(tmp_path / "before.dcm", bomb, bytes(2**26))
    for read in (read_header, read_image):
        tracemalloc.start()
        with pytest.raises(DataError, match="before its pixels"):
            read(tmp_path / "before.dcm")
        assert tracemalloc.get_traced_memory()[1] < 2**25
        tracemalloc.stop()


def test_empty_values_have_their_usual_meaning(tmp_path: Path) -> None:
    empty = {"RescaleSlope": "", "RescaleIntercept": None, "NumberOfFrames": None, "PixelSpacing": None}
    path = save(tmp_path / "a.dcm")
    import pydicom

    data = pydicom.dcmread(path)
    for name, value in {**empty, "PixelRepresentation": None, "ImagerPixelSpacing": None}.items():
        setattr(data, name, value)
    pydicom.dcmwrite(path, data)
    assert all(np.isnan(read_header(path).spacing))
    np.testing.assert_allclose(read_image(path).array, STORED / 4095.0, atol=1e-6)


@pytest.mark.parametrize("name", ["RescaleSlope", "RescaleIntercept"])
def test_the_header_alone_tells_of_values_that_the_pixels_need(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / "a.dcm", **{name: [1, 2]})
    for read in (read_header, read_image):
        with pytest.raises(DataError, match=f"has {name} .*expected a number"):
            read(path)


def test_a_file_without_an_ending_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm").rename(tmp_path / "IM000001")
    np.testing.assert_allclose(read_image(path).array, STORED / 4095.0, atol=1e-6)
    assert read_header(path).size == (3, 2)
    assert is_image(path)
    (tmp_path / "notes").write_text("x" * 200)
    (tmp_path / "DICOMDIR").write_bytes(path.read_bytes())
    assert not is_image(tmp_path / "notes")
    assert not is_image(tmp_path / "DICOMDIR")
    assert not is_image(tmp_path)


def coded(path: Path, syntax: str, frame: bytes, **attributes: Any) -> Path:
    import pydicom
    from pydicom.encaps import encapsulate

    data = pydicom.dcmread(save(path, **attributes))
    data.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    data.PixelData = encapsulate([frame])
    data["PixelData"].VR = "OB"
    pydicom.dcmwrite(path, data)
    return path


@pytest.mark.parametrize(
    ("syntax", "told"),
    [
        ("1.2.840.10008.1.2.4.57", "JPEG Lossless.*pip install pylibjpeg pylibjpeg-libjpeg"),
        ("1.2.840.10008.1.2.4.80", "JPEG-LS.*pip install pylibjpeg pylibjpeg-libjpeg"),
        ("1.2.840.10008.1.2.4.201", "High-Throughput.*pip install pylibjpeg pylibjpeg-openjpeg"),
        ("1.2.840.10008.1.2.4.51", "JPEG Extended.*pip install pylibjpeg pylibjpeg-libjpeg"),
        ("1.2.840.10008.1.2.4.100", "MPEG2.*save it uncompressed"),
    ],
)
def test_the_header_alone_names_the_decoder_that_is_missing(tmp_path: Path, syntax: str, told: str) -> None:
    if importlib.util.find_spec("libjpeg") or importlib.util.find_spec("openjpeg"):
        pytest.skip("the decoders are installed")
    path = coded(tmp_path / "a.dcm", syntax, b"\xff\xd8" + bytes(40))
    with pytest.raises(DataError, match=told):
        read_header(path)


def test_coded_pixels_are_read_and_their_own_size_must_be_that_of_the_header(tmp_path: Path) -> None:
    from PIL import Image as Pillow

    smooth = np.add.outer(np.arange(24), np.arange(20)).astype(np.uint8) * 5
    for syntax, kind, options in (
        ("1.2.840.10008.1.2.4.50", "JPEG", {"quality": 100}),
        ("1.2.840.10008.1.2.4.90", "JPEG2000", {"no_jp2": True}),
    ):
        file = BytesIO()
        Pillow.fromarray(smooth).save(file, kind, **options)
        told = {"Rows": 24, "Columns": 20, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
        image = read_image(coded(tmp_path / "a.dcm", syntax, file.getvalue(), **told))
        np.testing.assert_allclose(image.array * 255, smooth, atol=2)
        wrong = coded(tmp_path / "b.dcm", syntax, file.getvalue(), **{**told, "Rows": 12})
        with pytest.raises(DataError, match="claims 20 x 12 pixels and holds 20 x 24"):
            read_image(wrong)


def test_an_enhanced_image_has_spacing_and_slope_in_its_groups(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", Modality="CT")
    import pydicom
    from pydicom.dataset import Dataset

    data, group, measures, values = pydicom.dcmread(path), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [0.5, 0.7]
    values.RescaleSlope, values.RescaleIntercept = 2, -1024
    group.PixelMeasuresSequence, group.PixelValueTransformationSequence = [measures], [values]
    data.SharedFunctionalGroupsSequence = [group]
    pydicom.dcmwrite(path, data)
    assert read_header(path).spacing == (0.7, 0.5)
    np.testing.assert_allclose(read_image(path).array, STORED * 2.0 - 1024)


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL"])
def test_colour_is_read_in_every_layout(tmp_path: Path, kind: str, planar: int) -> None:
    from PIL import Image as Pillow

    colour = np.random.default_rng(0).integers(60, 200, (2, 4, 3)).astype(np.uint8)
    stored = np.asarray(Pillow.fromarray(colour).convert("YCbCr")) if kind == "YBR_FULL" else colour
    data = stored.transpose(2, 0, 1).tobytes() if planar else stored.tobytes()
    path = save(tmp_path / "a.dcm", colour, PhotometricInterpretation=kind, PlanarConfiguration=planar, PixelData=data)
    np.testing.assert_allclose(
        read_image(path, "rgb").array * 255, colour.transpose(2, 0, 1), atol=4
    )  # pydicom cuts fractions
