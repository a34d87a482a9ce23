from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from medzoo.core.io import read_image
from medzoo.core.io.nifti_out import write_nifti


def reference(path: Path) -> np.ndarray:
    affine = np.array([[-0.7, 0, 0, 120.0], [0, 0.8, 0.1, -90.0], [0, -0.1, 2.5, 33.0], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(np.zeros((5, 6, 7), np.int16), affine)
    image.header["descrip"] = b"scanner"
    image.header.set_slope_inter(2.0, -1024.0)
    image.set_sform(affine, code=1)
    image.set_qform(None, code=0)
    nibabel.save(image, path)
    return affine


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_map_lies_exactly_on_the_volume_it_was_made_from(tmp_path: Path, ending: str) -> None:
    affine = reference(tmp_path / "ct.nii.gz")
    scores = np.random.default_rng(0).random((7, 6, 5)).astype(np.float32)
    write_nifti(tmp_path / f"score{ending}", scores, tmp_path / "ct.nii.gz")
    written = nibabel.load(tmp_path / f"score{ending}")
    assert np.allclose(written.affine, affine, atol=1e-6)
    assert written.header["sform_code"] == 1
    assert written.header["qform_code"] == 0
    assert bytes(written.header["descrip"]).startswith(b"scanner")
    assert np.array_equal(
        read_image(tmp_path / f"score{ending}").array, scores
    )  # the scaling of the CT is not taken over


def test_a_map_of_a_sagittal_volume_has_its_axes(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(-900, 900, (5, 6, 7)).astype(np.int16)
    affine = np.array([[0, 0, 1.5, -80], [0.8, 0, 0, 20.0], [0, -0.7, 0, 55], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(stored, affine), tmp_path / "ct.nii")
    image = read_image(tmp_path / "ct.nii")
    assert image.size == (7, 5, 6)
    write_nifti(tmp_path / "map.nii.gz", image.array, tmp_path / "ct.nii")
    written = nibabel.load(tmp_path / "map.nii.gz")
    assert np.allclose(written.affine, affine, atol=1e-6)
    np.testing.assert_array_equal(written.get_fdata(), stored)


@pytest.mark.parametrize("kind", ["one frame", "unit 7", "micron"])
def test_a_map_has_units_and_affine_of_unusual_files(tmp_path: Path, kind: str) -> None:
    stored = np.random.default_rng(0).integers(-900, 900, (5, 6, 7, 1)).astype(np.int16)
    affine = np.diag([0.5, -0.5, 2.0, 1]) * ([1000, 1000, 1000, 1] if kind == "micron" else 1)
    image = nibabel.Nifti1Image(stored if kind == "one frame" else stored[..., 0], affine)
    image.header["xyzt_units"] = {"unit 7": 7, "micron": 3}.get(kind, 2)
    nibabel.save(image, tmp_path / "ct.nii.gz")
    write_nifti(tmp_path / "map.nii.gz", read_image(tmp_path / "ct.nii.gz").array, tmp_path / "ct.nii.gz")
    written = nibabel.load(tmp_path / "map.nii.gz")
    np.testing.assert_allclose(written.affine, affine)
    np.testing.assert_array_equal(written.get_fdata(), stored[..., 0])
    assert written.header["xyzt_units"] & 7 == {"unit 7": 7, "micron": 3}.get(kind, 2)


def test_masks_are_bytes_and_repeat_bit_by_bit(tmp_path: Path) -> None:
    mask = np.zeros((4, 5, 6), bool)
    mask[1, 2, 3] = True
    for name in ("a.nii.gz", "b.nii.gz"):
        write_nifti(tmp_path / name, mask, spacing=(0.5, 0.6, 3.0))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    written = nibabel.load(tmp_path / "a.nii.gz")
    assert written.get_data_dtype() == np.uint8
    assert read_image(tmp_path / "a.nii.gz").spacing == pytest.approx((0.5, 0.6, 3.0))
    assert np.asarray(written.dataobj)[3, 2, 1] == 1
    assert np.array_equal(read_image(tmp_path / "a.nii.gz").array, mask)


def test_another_size_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    reference(tmp_path / "ct.nii.gz")
    with pytest.raises(ValueError, match="size"):
        write_nifti(tmp_path / "out.nii.gz", np.zeros((3, 3, 3)), tmp_path / "ct.nii.gz")
    with pytest.raises(ValueError, match="spacing"):
        write_nifti(tmp_path / "out.nii.gz", np.zeros((3, 3, 3)))
    assert [p.name for p in tmp_path.iterdir()] == ["ct.nii.gz"]
