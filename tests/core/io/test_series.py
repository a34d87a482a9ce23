"""A folder of DICOM slices is the volume that the same voxels are as NIfTI, and what is no volume costs one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medzoo.core.errors import DataError
from medzoo.core.io import read_header, read_image
from medzoo.core.io.nifti_out import write_nifti

pydicom = pytest.importorskip("pydicom", reason='pip install "medzoo-core[dicom]"')

VOXELS = np.random.default_rng(0).integers(0, 4096, (5, 4, 3)).astype(np.uint16)  # (slices, rows, columns)
WAYS = {
    "axial": ([1, 0, 0, 0, 1, 0], [0, 0, 1]),
    "axial, from the head": ([1, 0, 0, 0, 1, 0], [0, 0, -1]),
    "coronal": ([1, 0, 0, 0, 0, -1], [0, 1, 0]),
    "sagittal": ([0, 1, 0, 0, 0, -1], [1, 0, 0]),
    "oblique": ([0.8, 0.6, 0, -0.6, 0.8, 0], [0, 0, 1]),
}


def write(folder: Path, way: str = "axial", step: float = 2.5) -> Path:
    """Write slices under names that say nothing of their order, HU being the stored value minus 1024."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    folder.mkdir()
    directions, along = WAYS[way]
    for index, plane in enumerate(VOXELS):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[f"medzoo {index}"])
        data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        data.Rows, data.Columns = plane.shape
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
        data.Modality, data.RescaleSlope, data.RescaleIntercept = "CT", 1, -1024
        data.SeriesInstanceUID, data.PixelSpacing = "1.2.3", [0.7, 0.5]
        data.ImageOrientationPatient = directions
        data.ImagePositionPatient = [float(v) for v in np.array([-10.0, -20.0, 30.0]) + index * step * np.array(along)]
        data.PixelData = plane.tobytes()
        pydicom.dcmwrite(folder / f"IM{(index * 3) % 5}", data)
    return folder


def change(folder: Path, name: str, **attributes: Any) -> None:
    data = pydicom.dcmread(folder / name)
    for key, value in attributes.items():
        setattr(data, key, value)
    pydicom.dcmwrite(folder / name, data)


def as_nifti(path: Path, way: str, step: float = 2.5) -> Path:
    """The same voxels where the DICOM attributes say, from the standard's equation C.7.6.2.1-1."""
    directions, along = WAYS[way]
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = np.array(directions[:3]) * 0.5, np.array(directions[3:]) * 0.7
    affine[:3, 2], affine[:3, 3] = np.array(along) * step, [-10, -20, 30]
    image = nibabel.Nifti1Image(VOXELS.T.astype(np.float32) - 1024, np.diag([-1, -1, 1, 1]) @ affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("way", WAYS)
def test_slices_are_the_volume_that_nifti_is(tmp_path: Path, way: str) -> None:
    folder = write(tmp_path / "1.2.3", way)
    found, expected = read_image(folder), read_image(as_nifti(tmp_path / "v.nii", way))
    np.testing.assert_array_equal(found.array, expected.array)
    np.testing.assert_allclose(found.spacing, expected.spacing, rtol=1e-6)
    assert found.affine is not None
    assert expected.affine is not None
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-5)
    header = read_header(folder)
    assert header.size == found.size
    np.testing.assert_allclose(header.spacing, found.spacing)


@pytest.mark.parametrize("way", ["axial, from the head", "sagittal", "oblique"])
def test_what_is_written_like_a_series_lies_on_it(tmp_path: Path, way: str) -> None:
    folder = write(tmp_path / "series", way)
    image = read_image(folder)
    write_nifti(tmp_path / "out.nii.gz", image.array, like=folder)
    again = read_image(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(again.array, image.array)
    assert again.affine is not None
    assert image.affine is not None
    np.testing.assert_allclose(again.affine, image.affine, atol=1e-5)


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "two series": (lambda f: change(f, "IM0", SeriesInstanceUID="1.2.4"), "2 series"),
    "one is missing": (lambda f: (f / "IM1").unlink(), "behind the slice before it"),
    "one is there twice": (lambda f: shutil.copy(f / "IM0", f / "IM0 copy"), "lies where IM0"),
    "another size": (lambda f: change(f, "IM2", Rows=2, PixelData=b"\0" * 12), "differs in size"),
    "another direction": (lambda f: change(f, "IM2", ImageOrientationPatient=[0, 1, 0, 1, 0, 0]), "another direction"),
    "no place": (lambda f: change(f, "IM2", ImagePositionPatient=None), "ImagePositionPatient"),
    "no spacing": (lambda f: [change(f, f"IM{i}", PixelSpacing=None) for i in range(5)], "PixelSpacing"),
    "tilted": (
        lambda f: [change(f, f"IM{i * 3 % 5}", ImagePositionPatient=[0, i, 2.5 * i]) for i in range(5)],
        "tilted gantry",
    ),
    "one slice": (lambda f: [(f / f"IM{i}").unlink() for i in range(1, 5)], "1 DICOM slices"),
    "cut short": (lambda f: (f / "IM3").write_bytes((f / "IM3").read_bytes()[:-10]), "may be damaged"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_volume_costs_one_line(tmp_path: Path, fault: str) -> None:
    folder = write(tmp_path / "series")
    spoil, reason = FAULTS[fault]
    spoil(folder)
    with pytest.raises(DataError, match=reason) as error:
        read_image(folder)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)


def test_a_folder_without_slices_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown kind"):
        read_image(tmp_path)
