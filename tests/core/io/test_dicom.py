from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medzoo.core.errors import DataError
from medzoo.core.io import read_header, read_image

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
        ({"Rows": 500}, "cannot be read"),
    ],
)
def test_faulty_files_are_named_with_the_reason(tmp_path: Path, attributes: dict[str, Any], reason: str) -> None:
    path = save(tmp_path / "a.dcm", **attributes)
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
    data.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(40)])
    data["PixelData"].VR = "OB"
    pydicom.dcmwrite(path, data)
    with pytest.raises(DataError, match=r"JPEG 2000.*pip install"):
        read_image(path)


def test_without_pydicom_one_line_tells_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM")
    with pytest.raises(DataError, match=r'pip install "medzoo-core\[dicom\]"'):
        read_image(tmp_path / "a.dcm")
