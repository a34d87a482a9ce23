"""DICOM slices of a CT put together: order, place in the patient, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medzoo.core.cli import main
from medzoo.core.errors import DataError
from medzoo.core.io import read_image
from medzoo.core.io.nifti_out import write_nifti
from medzoo.core.io.series import is_dicom, read_series, series_of

pydicom = pytest.importorskip("pydicom", reason='pip install "medzoo-core[dicom]"')

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def save(path: Path, hu: np.ndarray, position: Sequence[float], **attributes: Any) -> str:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.Rows, data.Columns = hu.shape
    data.SamplesPerPixel, data.PhotometricInterpretation, data.Modality = 1, "MONOCHROME2", "CT"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.PixelSpacing = [0.8, 0.5]  # rows, that is y, first
    data.SeriesInstanceUID = "1.2.840.1"
    data.ImagePositionPatient, data.ImageOrientationPatient = list(position), list(AXIAL)
    data.PixelData = (hu + 1024).astype(np.uint16).tobytes()
    for name, value in attributes.items():
        setattr(data, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, data)
    return str(path)


def volume(count: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 2000, (count, 6, 4)).astype(np.int16)


def stack(folder: Path, hu: np.ndarray, **attributes: Any) -> list[str]:
    """Save slices 2.5 mm apart under names whose order is not that of their places."""
    order = np.random.default_rng(1).permutation(len(hu))
    return [save(folder / f"IM{order[k]:03}", hu[k], (-10, 20, 30 + 2.5 * k), **attributes) for k in range(len(hu))]


def test_slices_are_sorted_by_place_and_lie_where_dicom_says(tmp_path: Path) -> None:
    hu = volume()
    image = read_series(sorted(stack(tmp_path, hu)))
    np.testing.assert_array_equal(image.array, hu)
    assert image.spacing == (0.5, 0.8, 2.5)
    assert image.affine is not None
    # the pixel of column 3, row 2, slice 4: DICOM's left and posterior are negative in NIfTI
    np.testing.assert_allclose(image.affine @ (3, 2, 4, 1), (-(-10 + 1.5), -(20 + 1.6), 40, 1))


@pytest.mark.parametrize("directions", [AXIAL, (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1), (-1, 0, 0, 0, -1, 0)])
def test_as_nifti_each_voxel_has_its_value_at_its_place(tmp_path: Path, directions: tuple[float, ...]) -> None:
    hu = volume()
    normal = np.cross(directions[:3], directions[3:])
    paths = [
        save(tmp_path / f"{k}", hu[k], (3.0 * k * normal).tolist(), ImageOrientationPatient=list(directions))
        for k in range(5)
    ]
    image = read_series(paths)
    write_nifti(tmp_path / "ct.nii.gz", image.array, affine=image.affine)
    back = read_image(tmp_path / "ct.nii.gz")
    assert back.affine is not None
    for k, y, x in ((0, 0, 0), (4, 5, 3), (2, 1, 2)):
        place = 3.0 * k * normal + 0.5 * x * np.array(directions[:3]) + 0.8 * y * np.array(directions[3:])
        found = np.rint(np.linalg.inv(back.affine) @ (-place[0], -place[1], place[2], 1)).astype(int)
        assert back.array[found[2], found[1], found[0]] == hu[k, y, x]


def test_series_of_one_folder_are_told_apart(tmp_path: Path) -> None:
    first = stack(tmp_path / "ct", volume())
    other = [save(tmp_path / f"ct/other{k}.dcm", volume()[k], (0, 0, 5 * k), SeriesInstanceUID="1.9") for k in range(3)]
    broken = tmp_path / "ct/broken.dcm"
    broken.write_bytes(Path(other[0]).read_bytes()[:300])
    nameless = save(tmp_path / "ct/nameless.dcm", volume()[0], (0, 0, 0), SeriesInstanceUID="")
    assert all(map(is_dicom, [*first, *other]))
    assert not is_dicom(str(tmp_path / "a.nii.gz"))
    found, failed = series_of([*other, *first, str(broken), nameless])
    assert [set(series.paths) for series in found] == [set(other), set(first)]
    assert len({series.name for series in found}) == 2
    assert set(failed) == {str(broken), nameless}
    assert "names no series" in str(failed[nameless])


def damaged(kind: str, folder: Path) -> list[str]:
    hu = volume()
    paths = stack(folder, hu)
    if kind == "missing":
        return [*paths[:2], *paths[3:]]
    if kind == "twice":
        return [*paths, save(folder / "twice", hu[1], (-10, 20, 32.5))]
    if kind == "one":
        return paths[:1]
    changed: dict[str, Any] = {
        "tilted": {"ImagePositionPatient": [-10, 22, 32.5]},
        "turned": {"ImageOrientationPatient": [0.8, 0.6, 0, -0.6, 0.8, 0]},
        "spaced": {"PixelSpacing": [0.9, 0.9]},
        "nowhere": {"ImagePositionPatient": None},
        "crooked": {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
    }
    return [paths[0], save(Path(paths[1]), hu[1], (-10, 20, 32.5), **changed[kind]), *paths[2:]]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "lies 5 mm from .* the others of its series 2.5 mm"),
        ("twice", "has the place of"),
        ("one", "is the only slice of its series"),
        ("tilted", "2 mm beside one another"),
        ("turned", "has another orientation"),
        ("spaced", "has another size or spacing"),
        ("nowhere", "has no ImagePositionPatient of 3 numbers"),
        ("crooked", "impossible ImageOrientationPatient"),
    ],
)
def test_what_is_no_even_stack_is_refused_in_one_line(kind: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_series(damaged(kind, tmp_path))
    assert "\n" not in str(caught.value)


def test_a_model_of_volumes_answers_a_folder_of_slices_as_it_does_the_volume(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = "--model normnet --data.train 2 --data.val 1 --data.test 2 --data.size [16,20,24] --model.widths [2,4]"
    fit += " --model.patch [8,8,8] --trainer.max_epochs 1 --run_dir fit --quiet"
    assert main(["fit", *fit.split()]) == 0
    z, y, x = np.mgrid[0:24, 0:40, 0:44]
    hu = np.where(((y - 20) / 18) ** 2 + ((x - 22) / 20) ** 2 < 1, 40, -1000).astype(np.int16)
    hu[(((y - 20) / 10) ** 2 + ((np.abs(x - 22) - 9) / 6) ** 2 + ((z - 12) / 10) ** 2) < 1] = -850
    for k in range(24):
        save(Path(f"ct/{24 - k:02}"), hu[k], (-90, -80, 4 * k), PixelSpacing=[4, 4])
        if k != 3:
            save(Path(f"gap/{k:02}.dcm"), hu[k], (0, 0, 4 * k), PixelSpacing=[4, 4], SeriesInstanceUID="1.7")
    command = ["predict", "fit/checkpoints/last.ckpt", "ct", "gap", "-o", "out"]
    assert main(command) == 3
    assert "1 of 2 files have no answer" in capsys.readouterr().err
    assert "gap" in Path("out/failed.csv").read_text()
    (series,) = Path("out/series").iterdir()
    np.testing.assert_array_equal(read_image(series).array, hu)
    write_nifti("plain.nii.gz", hu, spacing=(4, 4, 4))
    assert main(["predict", "fit/checkpoints/last.ckpt", "plain.nii.gz", "-o", "plain"]) == 0
    mask, plain = (read_image(next(Path(name, "volumes").rglob("mask.nii.gz"))) for name in ("out", "plain"))
    np.testing.assert_array_equal(mask.array, plain.array)
    ct = read_image(series)
    assert mask.affine is not None
    assert ct.affine is not None
    np.testing.assert_allclose(mask.affine, ct.affine)
    capsys.readouterr()
    assert main(command) == 3
    assert "skipped, for they have an answer: 1 files" in capsys.readouterr().out
