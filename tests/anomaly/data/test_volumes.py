from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from medzoo.anomaly.data.covid_ct import CovidCt
from medzoo.anomaly.data.ct_phantom import CtPhantoms
from medzoo.anomaly.data.intensity import convention, to_hu
from medzoo.anomaly.data.lungs import _closed, lung_mask
from medzoo.anomaly.data.nifti import NiftiVolumes
from medzoo.anomaly.data.volumes import PatchDataset, VolumeDataset
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.phantoms.ct import lung_ct
from medzoo.core.sample import collate

SIZE = [24, 28, 36]


def save(
    path: Path, values: np.ndarray, kind: type = np.int16, spacing: tuple[float, float, float] = (8, 8, 9)
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values.astype(kind).T, np.diag([*spacing, 1.0])), path)


def test_training_patches_never_carry_lesions_and_depend_on_seed_epoch_and_index_alone() -> None:
    data = CtPhantoms(train=2, val=1, test=1, size=SIZE)
    patches = PatchDataset(data.cases.train, (16, 16, 16), 2, None, 0, 100)
    sample = patches[(1, 4)]
    assert set(sample) == {"image", "organ", "spacing", "id", "path"}
    assert sample["image"].shape == sample["organ"].shape == (2, 16, 16, 16)
    assert sample["organ"].any(-1).any(-1).any(-1).all()  # centred in the lungs
    assert torch.equal(sample["image"], PatchDataset(data.cases.train, (16, 16, 16), 2, None, 0, 1)[(1, 4)]["image"])
    assert not torch.equal(sample["image"], patches[(1, 5)]["image"])


def test_train_validation_and_test_patients_differ_and_only_the_test_is_ill() -> None:
    cases = CtPhantoms(train=3, val=2, test=5, size=SIZE).cases
    names = [case.patient for case in (*cases.train, *cases.val, *cases.test)]
    assert len(set(names)) == 10
    healthy = [case.load().lesions for case in (*cases.train, *cases.val)]
    assert not any(part is not None and part.any() for part in healthy)
    assert all(case.load().lesions.any() for case in cases.test)  # type: ignore[union-attr]
    assert len({case.kind for case in cases.test}) == 5


def test_resampling_keeps_places_and_gives_back_the_original_grid() -> None:
    case = CtPhantoms(train=0, val=0, test=1, size=[24, 32, 40]).cases.test[0]
    whole = collate([VolumeDataset([case], None)[0]])
    coarse = collate([VolumeDataset([case], 12.0)[0]])
    assert whole["image"].shape[2:] == (24, 32, 40)
    assert coarse["original_size"][0].tolist() == [40, 32, 24]
    assert coarse["mask"].shape[1:] == (24, 32, 40)
    centre = [torch.stack([i.double().mean() for i in torch.where(part["organ"][0, 0])]) for part in (whole, coarse)]
    affine = coarse["affine"][0]
    moved = affine[:, :3] @ centre[0].flip(0) + affine[:, 3]
    assert torch.allclose(moved, centre[1].flip(0), atol=0.15)


def test_lungs_are_found_without_a_mask() -> None:
    made = lung_ct(1)
    found = lung_mask(made.image, made.spacing)
    overlap = 2 * (found & made.lungs).sum() / (found.sum() + made.lungs.sum())
    assert overlap > 0.93
    assert not lung_mask(np.full((16, 16, 16), 40, np.float32), (1, 1, 1)).any()


def test_holes_in_the_lungs_are_closed_on_cells_of_two_millimetres_within_their_outline() -> None:
    z, y, x = np.indices((60, 64, 68))
    ball = (z - 30) ** 2 + (y - 32) ** 2 + (x - 34) ** 2 < 25**2
    vessel = (y - 30) ** 2 + (x - 30) ** 2 < 4**2
    for spacing in ((1.0, 1.0, 1.0), (3.0, 1.0, 1.0), (0.6, 0.5, 0.5)):
        closed = _closed(ball & ~vessel, spacing)
        assert not (closed & ~ball).any()
        assert (closed & vessel)[15:45].sum() == vessel[15:45].sum()


def test_both_conventions_of_covid_ct_are_told_apart_and_undone() -> None:
    hu = lung_ct(2, (24, 28, 36)).image
    window = np.rint((hu.clip(-1250, 250) + 1250) / 1500 * 255).astype(np.float32)
    unit = (hu.clip(-1400, 100) + 1400) / np.float32(1500)
    assert [convention(values) for values in (hu, window, unit)] == ["hu", "window", "unit"]
    assert np.abs(to_hu(window, "x", "auto") - hu.clip(-1024, 250)).max() < 6.1
    assert np.abs(to_hu(unit, "x", "auto") - hu.clip(-1400, 100)).max() < 0.1
    with pytest.raises(DataError, match="not Hounsfield units"):
        to_hu(window, "x", "hu")


def test_padding_outside_of_the_scanner_is_raised_to_air() -> None:
    values = lung_ct(2, (16, 16, 16)).image.copy()
    values[:, :2] = -3024
    assert to_hu(values, "x", "hu").min() == -1024


def test_covid_ct_reads_each_half_in_its_own_convention(tmp_path: Path) -> None:
    made = lung_ct(3, (24, 28, 36), ("consolidation",))
    window = (made.image.clip(-1250, 250) + 1250) / 1500 * 255
    for name, values in (("coronacases_001", made.image), ("radiopaedia_4_85506_1", window)):
        save(tmp_path / "COVID-19-CT-Seg_20cases" / f"{name}.nii.gz", values)
        save(tmp_path / "Infection_Mask" / f"{name}.nii.gz", made.lesions > 0, np.uint8)
        save(tmp_path / "Lung_Mask" / f"{name}.nii.gz", made.lungs, np.uint8)
    cases = CovidCt(str(tmp_path)).cases.test
    assert [case.kind for case in cases] == ["coronacases", "radiopaedia"]
    assert [case.patient for case in cases] == ["coronacases_001", "radiopaedia_4"]
    first, second = (case.load() for case in cases)
    assert np.abs(first.hu.clip(-1024, 250) - second.hu.clip(-1024, 250)).max() < 7
    (tmp_path / "Infection_Mask" / "coronacases_001.nii.gz").unlink()
    with pytest.raises(DataError, match="has no mask"):
        _ = CovidCt(str(tmp_path)).cases


def test_own_folder_takes_masks_by_name_and_keeps_some_healthy_volumes_for_validation(tmp_path: Path) -> None:
    for index in range(4):
        save(tmp_path / "healthy" / f"h{index}.nii", lung_ct(index, (16, 20, 24)).image)
    made = lung_ct(9, (16, 20, 24), ("nodule",))
    save(tmp_path / "image" / "p.nii.gz", made.image)
    save(tmp_path / "mask" / "p.nii", made.lesions > 0, np.uint8)  # packed or not does not matter
    data = NiftiVolumes(str(tmp_path), val=1)
    assert [len(part) for part in (data.cases.train, data.cases.val, data.cases.test)] == [3, 1, 1]
    assert data.check() == []
    assert (data.cases.test[0].load().lesions > 0).sum() == (made.lesions > 0).sum()  # type: ignore[operator]


def test_phantoms_have_the_asked_voxels_and_hold_confounders_unless_told_otherwise() -> None:
    plain, more = (CtPhantoms(test=40, voxel_mm=8, confounders=asked).cases for asked in (False, True))
    assert len({case.id for case in more.test}) == 40
    first, second = plain.train[0].load(), more.train[0].load()
    assert second.spacing == pytest.approx((8, 250 / 31, 220 / 28))
    assert np.array_equal(first.organ, second.organ)
    assert not np.array_equal(first.hu, second.hu)


def test_options_that_cannot_work_are_refused() -> None:
    for make, text in (
        (lambda: CtPhantoms(size=[8, 8, 8]), "size"),
        (lambda: CtPhantoms(kinds=["flu"]), "kinds"),
        (lambda: CtPhantoms(voxel_mm=40), "voxel_mm"),
        (lambda: NiftiVolumes(".", intensity="mr"), "intensity"),
        (lambda: CtPhantoms(patches=0), "patches"),
    ):
        with pytest.raises(ConfigError, match=text):
            make()
