"""What NormNet writes lies on the file's own voxels, at any network spacing and any order of stored axes."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medzoo.core.io import read_json
from medzoo.core.phantoms.ct import lung_ct

TINY = (
    "--model normnet --model.widths [2,4] --model.patch [8,8,8] --model.members 1 --model.epochs 1 "
    "--trainer.accelerator cpu --quiet"
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with `--data.spacing`, as docs/own_ct.md has it, on phantoms of 16 × 7 × 8 mm."""
    from medzoo.core.cli import main

    run = tmp_path_factory.mktemp("coarse") / "run"
    main(
        f"fit {TINY} --data.train 1 --data.val 1 --data.test 1 --data.size [16,36,40] --data.spacing 10 "
        f"--run_dir {run}".split()
    )
    return run


def test_a_network_spacing_leaves_every_figure_and_picture(trained: Path) -> None:
    metrics = read_json(trained / "results.json")["metrics"]
    assert 0 <= metrics["voxels/auroc_in_organ"] <= 1
    assert 0 <= metrics["voxels/aupro_5"] <= 1
    assert len(list((trained / "figures").glob("*.png"))) == 1


@pytest.mark.parametrize("spacing", ["", "--data.spacing 10"])
def test_results_of_a_sagittal_volume_have_its_affine_shape_and_voxels(
    trained: Path, workdir: Path, spacing: str
) -> None:
    from medzoo.core.cli import main

    made = lung_ct(3, (16, 36, 40), ("consolidation",))
    affine = np.zeros((4, 4))
    affine[:, 3] = (-150, 130, 20, 1)
    affine[1, 0], affine[2, 1], affine[0, 2] = -made.spacing[1], -made.spacing[2], made.spacing[0]
    stored = made.image.astype(np.int16)[::-1, :, ::-1].transpose(1, 0, 2)  # to the back, down, to the right
    (workdir / "own" / "image").mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(stored, affine), workdir / "own" / "image" / "p1.nii.gz")
    checkpoint = trained / "checkpoints" / "last.ckpt"
    arguments = "--model.preset_threshold 0.01 --data nifti-volumes --data.root own --trainer.accelerator cpu"
    assert not main(f"predict --ckpt_path {checkpoint} {arguments} {spacing} --run_dir out --quiet".split())
    folder = workdir / "out" / "volumes" / "p1"
    assert (folder / "mosaic.png").is_file()
    for name in ("score", "mask"):
        written = nibabel.load(folder / f"{name}.nii.gz")
        assert np.allclose(written.affine, affine)
        assert written.shape == stored.shape
    mask = np.asarray(nibabel.load(folder / "mask.nii.gz").dataobj) != 0
    assert mask.any()
    if not spacing:  # wide voxels reach over the rim of the lung
        assert (stored[mask] > -950).all()  # lung, not the air around: the map is not turned
    with (folder / "lesions.csv").open() as file:
        lesion = next(csv.DictReader(file))
    from scipy import ndimage

    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    centre = ndimage.center_of_mass(labels == largest)
    assert count >= 1
    assert [float(lesion[axis]) for axis in "xyz"] == pytest.approx(centre, abs=1e-3)
    place = affine @ [*centre, 1]
    assert [float(lesion[f"{axis}_mm"]) for axis in "xyz"] == pytest.approx(place[:3], abs=1e-2)
