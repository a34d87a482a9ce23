"""What lies in folders of images beside the images: leftovers, twins, nested folders, copies, masks of many values."""

from __future__ import annotations

import resource
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medzoo.anomaly.data.categories import CategoryDataModule
from medzoo.anomaly.data.images import ClassFolder, MvtecFolder, NpzImages, read_mask
from medzoo.core.errors import DataError
from medzoo.core.io import write_image


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.random.default_rng(seed).random((40, 48)).astype(np.float32))


@pytest.fixture
def mvtec(tmp_path: Path) -> Path:
    root = tmp_path / "mvtec"
    for i in range(6):
        picture(root / "lung" / "train" / "good" / f"{i:03}.png", i)
    picture(root / "lung" / "test" / "good" / "000.png", 20)
    picture(root / "lung" / "test" / "spot" / "000.png", 21)
    mask = np.zeros((40, 48), np.float32)
    mask[10:20, 24:36] = 1
    (root / "lung" / "ground_truth" / "spot").mkdir(parents=True)
    write_image(root / "lung" / "ground_truth" / "spot" / "000_mask.png", mask)
    return root


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    root = tmp_path / "oct"
    for i in range(3):
        picture(root / "train" / "NORMAL" / f"t{i}.png", i)
    for seed, place in ((10, "NORMAL/t3"), (11, "NORMAL/t4"), (12, "DRUSEN/t5"), (13, "DRUSEN/t3")):
        picture(root / "test" / f"{place}.png", seed)
    return root


def test_a_mask_of_no_image_is_named(mvtec: Path) -> None:
    masks = mvtec / "lung" / "ground_truth"
    shutil.copytree(masks / "spot", masks / "spots")
    shutil.copytree(masks / "spot", masks / "good")  # normal images need none
    shutil.copy(masks / "spot" / "000_mask.png", masks / "spot" / "001_mask.png")
    told = [str(fault) for fault in MvtecFolder(str(mvtec)).check()]
    assert [line.partition(":")[0] for line in told] == [
        str(masks / p) for p in ("spot/001_mask.png", "spots/000_mask.png")
    ]
    assert "is the mask of no test image; correct its name or remove it" in told[0]


def test_a_run_folder_beside_the_categories_is_none(mvtec: Path) -> None:
    run = mvtec / "runs" / "padim" / "0"
    picture(run / "figures" / "a.png", 60)
    assert "runs: has no train/good" in str(MvtecFolder(str(mvtec)).check()[0])
    for name in ("config.yaml", "environment.json"):
        (run / name).write_text("{}")
    assert MvtecFolder(str(mvtec)).check() == []


LEFTOVERS = (".ipynb_checkpoints", "__MACOSX", ".hidden", "@eaDir")


@pytest.mark.parametrize("name", LEFTOVERS)
def test_folders_of_a_system_are_no_class(classes: Path, mvtec: Path, name: str) -> None:
    picture(classes / "test" / name / "t3.png", 40)
    picture(mvtec / "lung" / "test" / name / "000.png", 41)
    picture(mvtec / "lung" / "train" / "good" / name / "000.png", 42)
    (mvtec / name / "train" / "good").mkdir(parents=True)
    for data in (ClassFolder(str(classes)), MvtecFolder(str(mvtec))):
        assert data.check() == []
        assert len(data.categories) == 1
        assert {item.kind for item in data.categories[0].test} <= {"NORMAL", "DRUSEN", "", "spot"}


@pytest.mark.parametrize("name", ["._t5.png", ".t5.png"])
def test_files_of_a_system_are_no_image(classes: Path, name: str) -> None:
    (classes / "test" / "DRUSEN" / name).write_bytes(b"Mac OS X")
    (classes / "test" / "DRUSEN" / "Thumbs.db").write_bytes(b"x")
    assert ClassFolder(str(classes)).check() == []


def test_two_endings_of_one_name_are_one_line(classes: Path, mvtec: Path) -> None:
    for data, folder in (
        (ClassFolder(str(classes)), classes / "train" / "NORMAL"),
        (MvtecFolder(str(mvtec)), mvtec / "lung" / "test" / "good"),
    ):
        first = min(folder.iterdir())
        shutil.copy(first, first.with_suffix(".jpg"))
        (fault,) = data.check()
        assert str(fault) == f"{first}: has the same name as {first.stem}.jpg; rename or remove one of the two"


def test_every_image_has_an_id_of_its_own_also_where_folders_share_names(classes: Path, mvtec: Path) -> None:
    picture(mvtec / "lung" / "test" / "train" / "000.png", 30)  # a defect of that name
    shutil.copytree(mvtec / "lung" / "ground_truth" / "spot", mvtec / "lung" / "ground_truth" / "train")
    picture(classes / "test" / "train" / "t0.png", 31)  # a class of that name
    for data in (ClassFolder(str(classes)), MvtecFolder(str(mvtec))):
        ids = [item.id for c in data.categories for item in (*c.train, *c.test)]
        assert len(set(ids)) == len(ids)
    assert "test/DRUSEN/t3" in [item.id for item in ClassFolder(str(classes)).categories[0].test]


def test_images_that_nobody_would_read_are_named(classes: Path, mvtec: Path) -> None:
    picture(mvtec / "lung" / "train" / "good" / "more" / "007.png", 50)
    picture(mvtec / "bone" / "train" / "ok" / "000.png", 51)
    (mvtec / "notes" / "deep").mkdir(parents=True)  # without images: none of our business
    told = [str(fault) for fault in MvtecFolder(str(mvtec)).check("fit")]
    assert len(told) == 2
    assert told[0].startswith(f"{mvtec / 'bone'}: has no train/good, so that this category is not read; put ")
    assert told[1].startswith(f"{mvtec / 'lung/train/good/more'}: holds images one level down that are not read")
    picture(classes / "test" / "DRUSEN" / "more" / "t9.png", 52)
    picture(classes / "test" / "t8.png", 53)
    told = [str(fault) for fault in ClassFolder(str(classes)).check()]
    assert len(told) == 2
    assert "more/t9.png; move them into" in told[0]
    assert "is one of 1 images that lie outside a class" in told[1]


@pytest.mark.parametrize("stage", ["fit", "test", None])
def test_a_test_image_that_is_a_training_image_is_told_with_both_files(classes: Path, stage: str | None) -> None:
    first, twin = classes / "train" / "NORMAL" / "t1.png", classes / "test" / "NORMAL" / "renamed.png"
    shutil.copy(first, twin)
    (fault,) = ClassFolder(str(classes)).check(stage)
    assert str(fault).startswith(f"{twin}: is, byte for byte, the training image {first}; ")
    assert ClassFolder(str(classes)).check("predict") == []


def saved_mask(path: Path, values: np.ndarray) -> Path:
    Image.fromarray(values.astype(np.uint8)).save(path, quality=75)
    return path


def disc(pixels: int = 64, radius: float = 12.5) -> np.ndarray:
    y, x = np.mgrid[:pixels, :pixels]
    return (x - 30.2) ** 2 + (y - 33.1) ** 2 < radius**2


def test_a_jpeg_mask_has_the_area_that_was_drawn(tmp_path: Path) -> None:
    truth = disc()
    path = saved_mask(tmp_path / "m.jpg", truth * 255)
    assert (np.asarray(Image.open(path)) > 0).sum() > 1.2 * truth.sum()  # what "above 0" would mark
    assert np.array_equal(read_mask(path), truth)


@pytest.mark.parametrize("top", [1, 7, 255])
def test_masks_of_two_values_mark_the_higher_whatever_it_is(tmp_path: Path, top: int) -> None:
    assert np.array_equal(read_mask(saved_mask(tmp_path / "m.png", disc() * top)), disc())


def test_of_two_values_above_zero_the_higher_is_marked_and_of_one_all(tmp_path: Path) -> None:
    assert np.array_equal(read_mask(saved_mask(tmp_path / "m.png", np.where(disc(), 2, 1))), disc())
    assert read_mask(saved_mask(tmp_path / "m.png", np.full(disc().shape, 255))).all()
    assert not read_mask(saved_mask(tmp_path / "m.png", np.zeros(disc().shape))).any()


def test_a_smoothed_mask_is_cut_at_half(tmp_path: Path) -> None:
    small = Image.fromarray((disc(256, 50.0) * 255).astype(np.uint8)).resize((64, 64), Image.Resampling.BOX)
    soft = np.asarray(small)
    assert len(np.unique(soft)) > 2
    assert np.array_equal(read_mask(saved_mask(tmp_path / "m.png", soft)), soft >= 127.5)


@pytest.mark.parametrize("kind", ["labels", "ramp"])
def test_a_mask_whose_marked_pixels_are_not_clear_is_refused_by_the_check(mvtec: Path, kind: str) -> None:
    values = np.zeros((40, 48))
    if kind == "labels":
        values[5:15, 5:15], values[20:35, 20:40] = 1, 2
    else:
        values[:] = np.linspace(0, 255, 48)
    path = saved_mask(mvtec / "lung" / "ground_truth" / "spot" / "000_mask.png", values)
    (fault,) = MvtecFolder(str(mvtec)).check()
    assert str(fault).startswith(f"{path}: has ")
    assert "not clear which are marked; save it with 0 for normal and 255" in str(fault)
    with pytest.raises(DataError, match="not clear"):
        read_mask(path)


def drawn(data: CategoryDataModule) -> list[bytes]:
    (category,) = data.tested
    return [Path(item.path).read_bytes() for item in data.support_items(category)]


def test_the_draw_of_supports_does_not_depend_on_names(mvtec: Path, tmp_path: Path) -> None:
    before = {draw: drawn(MvtecFolder(str(mvtec), shots=2, support_draw=draw)) for draw in range(6)}
    renamed = tmp_path / "renamed"
    shutil.copytree(mvtec / "lung", renamed / "other")
    good = renamed / "other" / "train" / "good"
    for i, path in enumerate(sorted(good.iterdir(), key=lambda path: path.read_bytes()[-20:])):
        path.rename(good / f"{'zyxwvu'[i]}.png")
    assert {draw: drawn(MvtecFolder(str(renamed), shots=2, support_draw=draw)) for draw in range(6)} == before
    assert len({tuple(chosen) for chosen in before.values()}) > 1


def test_the_draw_of_supports_does_not_depend_on_the_name_of_an_array_file(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (12, 28, 28), dtype=np.uint8)
    arrays = {
        f"{part}_{kind}": v for part in ("train", "test") for kind, v in (("images", images), ("labels", [0] * 12))
    }
    chosen = []
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", **arrays)
        data = NpzImages(str(tmp_path / f"{name}.npz"), shots=3)
        chosen.append([item.id for item in data.support_items(data.tested[0])])
    assert chosen[0] == chosen[1]


def test_an_array_file_without_a_training_part_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    images, labels = np.zeros((2, 28, 28), np.uint8), np.zeros((2, 1), np.uint8)
    np.savez(path, test_images=images, test_labels=labels)
    (fault,) = NpzImages(str(path)).check()
    assert str(fault) == f"{path}: has no array train_images; give a MedMNIST file"
    test = {"test_images": images, "test_labels": labels}
    for wrong, word in (
        ({"train_images": images[:0], "train_labels": labels[:0]}, "train_images of uint8 (0, 28, 28)"),
        ({"train_images": np.zeros((2, 28, 28, 28), np.uint8), "train_labels": labels}, "(2, 28, 28, 28)"),
        ({"train_images": images, "train_labels": np.zeros((2, 14), np.uint8)}, "train_labels of (2, 14)"),
        ({"train_images": images, "train_labels": np.array(["a", "b"])}, "expected whole numbers"),
    ):
        np.savez(path, **wrong, **test)
        (fault,) = NpzImages(str(path)).check()
        assert word in str(fault)
        assert "\n" not in str(fault)


def test_a_test_image_of_an_array_file_that_is_a_training_image_is_told(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (6, 8, 8), dtype=np.uint8)
    labels = np.zeros((3, 1), np.uint8)
    path = tmp_path / "set.npz"
    np.savez(path, train_images=images[:3], train_labels=labels, test_images=images[3:], test_labels=labels)
    assert NpzImages(str(path)).check() == []
    images[4] = images[1]
    np.savez(path, train_images=images[:3], train_labels=labels, test_images=images[3:], test_labels=labels)
    (fault,) = NpzImages(str(path)).check()
    told = "1 of its test images are, pixel for pixel, training images, such as test/1 (train/1); remove"
    assert str(fault).startswith(f"{path}: {told}")


def test_an_array_file_that_grows_is_refused_before_it_does(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in ("train", "test"):
            with archive.open(f"{part}_images.npy", "w", force_zip64=True) as member:
                header = {"descr": "|u1", "fortran_order": False, "shape": (300, 1024, 1024)}
                np.lib.format.write_array_header_1_0(member, header)
                for _ in range(300):
                    member.write(bytes(2**20))
            with archive.open(f"{part}_labels.npy", "w") as member:
                np.lib.format.write_array(member, np.zeros(300, np.uint8))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (fault,) = NpzImages(str(path)).check()
    assert "unpack to" in str(fault)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 2**10
