"""Volumes, masks and results lie where their affines say, whichever way their axes are stored."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from medzoo.anomaly.data.lungs import lung_mask
from medzoo.anomaly.data.nifti import NiftiVolumes
from medzoo.core.errors import DataError
from medzoo.core.phantoms.ct import lung_ct

MADE = lung_ct(3, (32, 32, 40), ("consolidation",))
AFFINE = np.diag([-MADE.spacing[0], -MADE.spacing[1], MADE.spacing[2], 1.0])
AFFINE[:3, 3] = (120, 90, -40)


def save(path: Path, values: np.ndarray, codes: str = "LPS", affine: np.ndarray = AFFINE) -> Path:
    """Write `(D, H, W)` values along other axes, at the same place in the world."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values.T, affine)
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(codes)))
    nibabel.save(image.as_reoriented(turn), path)
    return path


def folder(root: Path, image: str = "LPS", masks: str = "LPS") -> Path:
    save(root / "image" / "p.nii.gz", MADE.image.astype(np.int16), image)
    save(root / "mask" / "p.nii.gz", (MADE.lesions > 0).astype(np.uint8), masks)
    save(root / "organ" / "p.nii.gz", MADE.lungs.astype(np.uint8), masks)
    return root


@pytest.mark.parametrize(("image", "masks"), [("LPS", "RPS"), ("RAS", "LPS"), ("PIR", "LPS"), ("LIP", "RAS")])
def test_masks_stored_along_other_axes_than_their_image_lie_on_it(tmp_path: Path, image: str, masks: str) -> None:
    data = NiftiVolumes(str(folder(tmp_path, image, masks)))
    assert data.check() == []
    volume = data.cases.test[0].load()
    assert volume.lesions is not None
    np.testing.assert_array_equal(volume.organ, MADE.lungs)
    np.testing.assert_array_equal(volume.lesions > 0, MADE.lesions > 0)
    np.testing.assert_allclose(volume.world, AFFINE, atol=1e-4)  # type: ignore[arg-type]
    assert volume.spacing == pytest.approx(MADE.spacing)


@pytest.mark.parametrize("codes", ["PIR", "LIP", "RSA"])
def test_lungs_of_sagittal_and_coronal_volumes_are_found(tmp_path: Path, codes: str) -> None:
    folder(tmp_path, codes)
    shutil.rmtree(tmp_path / "organ")
    found = NiftiVolumes(str(tmp_path)).cases.test[0].load().organ
    np.testing.assert_array_equal(found, lung_mask(MADE.image.astype(np.int16).astype(np.float32), MADE.spacing))
    assert found.sum() > 0.9 * MADE.lungs.sum()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (np.diag([-1.0, 1, 1, 1]), "lies up to .* mm from its image"),  # mirrored in the world, not only on disk
        (np.array([[1.0, 0, 0, 30], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "lies up to 30 mm"),
        (np.diag([0.8, 0.8, 0.8, 1]), "lies up to"),
    ],
)
def test_a_mask_that_lies_elsewhere_is_told_by_the_check_and_refused(
    tmp_path: Path, change: np.ndarray, told: str
) -> None:
    folder(tmp_path)
    save(tmp_path / "mask" / "p.nii.gz", (MADE.lesions > 0).astype(np.uint8), affine=change @ AFFINE)
    data = NiftiVolumes(str(tmp_path))
    with pytest.raises(DataError, match=told):
        raise data.check()[0]
    with pytest.raises(DataError, match=told):
        data.cases.test[0].load()


def test_one_name_stands_for_one_volume(tmp_path: Path) -> None:
    folder(tmp_path)
    save(tmp_path / "image" / "p.nii", MADE.image.astype(np.int16))
    assert "has the name of p.nii beside it" in str(NiftiVolumes(str(tmp_path)).check()[0])
    (tmp_path / "image" / "p.nii").unlink()
    save(tmp_path / "organ" / "p.nii", MADE.lungs.astype(np.uint8))
    assert "has the name of p.nii beside it" in str(NiftiVolumes(str(tmp_path)).check()[0])
    (tmp_path / "organ" / "p.nii").unlink()
    save(tmp_path / "healthy" / "p.nii", MADE.image.astype(np.int16))
    assert "one patient and its masks" in str(NiftiVolumes(str(tmp_path)).check()[0])
    (tmp_path / "healthy" / "p.nii").rename(tmp_path / "healthy" / "H1.NII")
    data = NiftiVolumes(str(tmp_path))
    assert data.check() == []
    assert [case.id for case in data.cases.train] == ["H1"]


@pytest.mark.parametrize(
    ("organ", "told"),
    [
        (np.arange(MADE.lungs.size).reshape(MADE.lungs.shape) < 2, "only 2 of 40960 voxels"),
        (np.ones_like(MADE.lungs), "the whole volume"),
        (np.zeros_like(MADE.lungs), "marks no organ;"),
    ],
)
def test_an_organ_that_cannot_be_one_is_refused(tmp_path: Path, organ: np.ndarray, told: str) -> None:
    folder(tmp_path)
    save(tmp_path / "organ" / "p.nii.gz", organ.astype(np.uint8))
    with pytest.raises(DataError, match=told):
        NiftiVolumes(str(tmp_path)).cases.test[0].load()


def test_one_frame_of_four_dimensions_is_a_volume_and_more_are_told(tmp_path: Path) -> None:
    folder(tmp_path)
    for frames in (1, 2):
        values = np.repeat(MADE.image.astype(np.int16).T[..., None], frames, axis=3)
        nibabel.save(nibabel.Nifti1Image(values, AFFINE), tmp_path / "image" / "p.nii.gz")
        found = NiftiVolumes(str(tmp_path)).check()
        assert [fault.problem for fault in found] == (["has 2 values a voxel, expected one three-dimensional volume"])[
            : frames - 1
        ]
