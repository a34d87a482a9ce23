from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medzoo.anomaly.data.categories import Labelled
from medzoo.anomaly.data.images import ClassFolder, MvtecFolder, NpzImages
from medzoo.anomaly.data.items import read_colours
from medzoo.anomaly.data.textures import TexturePhantoms
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io import write_image


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (40, 48), grey: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = size if grey else (3, *size)
    write_image(path, np.random.default_rng(seed).random(shape).astype(np.float32))


@pytest.fixture
def mvtec(tmp_path: Path) -> Path:
    for category in ("bolt", "nut", "screw"):
        for i in range(5):
            picture(tmp_path / category / "train" / "good" / f"{i:03}.png", i, grey=category == "screw")
        for i in range(2):
            picture(tmp_path / category / "test" / "good" / f"{i:03}.png", 10 + i)
            picture(tmp_path / category / "test" / "bent" / f"{i:03}.png", 20 + i)
            mask = np.zeros((40, 48), np.float32)
            mask[10:20, 24:36] = 1
            (tmp_path / category / "ground_truth" / "bent").mkdir(parents=True, exist_ok=True)
            write_image(tmp_path / category / "ground_truth" / "bent" / f"{i:03}_mask.png", mask)
    return tmp_path


def test_mvtec_layout_is_read_and_the_tested_category_is_held_out(mvtec: Path) -> None:
    data = MvtecFolder(str(mvtec), test_categories=["screw"], shots=2, size=[20, 24])
    assert [c.name for c in data.others] == ["bolt", "nut"]
    assert data.check() == []
    samples = Labelled(data.tested, (20, 24))
    assert [int(samples[i]["label"]) for i in range(4)] == [1, 1, 0, 0]
    bent = samples[0]
    assert bent["image"].shape == (3, 20, 24)  # grey files become three channels
    assert bent["mask"].shape == (40, 48)  # the mask keeps the image's size
    assert bent["mask"].sum() == 120
    assert bent["mask"][10:20, 24:36].all()
    assert not samples[3]["mask"].any()


def test_supports_depend_on_draw_and_seed_alone_and_more_shots_are_all(mvtec: Path) -> None:
    def chosen(**more: int) -> list[str]:
        data = MvtecFolder(str(mvtec), test_categories=["nut"], **{"shots": 2, **more})  # type: ignore[arg-type]
        return [item.id for item in data.support_items(data.tested[0])]

    assert chosen() == chosen()
    assert len(chosen()) == 2
    assert len({tuple(chosen(support_draw=d)) for d in range(8)}) > 2
    assert len(chosen(shots=99)) == 5


def test_a_missing_mask_and_one_of_another_size_are_told(mvtec: Path) -> None:
    picture(mvtec / "nut" / "ground_truth" / "bent" / "001_mask.png", size=(20, 20), grey=True)
    faults = MvtecFolder(str(mvtec)).check()
    assert len(faults) == 1
    assert "001_mask.png" in str(faults[0])
    (mvtec / "nut" / "ground_truth" / "bent" / "001_mask.png").unlink()
    assert "has no mask" in str(MvtecFolder(str(mvtec)).check()[0])


def test_an_abnormal_image_with_an_empty_mask_is_refused(mvtec: Path) -> None:
    write_image(mvtec / "nut" / "ground_truth" / "bent" / "000_mask.png", np.zeros((40, 48), np.float32))
    data = MvtecFolder(str(mvtec), test_categories=["nut"])
    with pytest.raises(DataError, match="marks nothing"):
        _ = Labelled(data.tested, (20, 24))[0]


def test_damaged_images_are_found_before_training(mvtec: Path) -> None:
    (mvtec / "bolt" / "train" / "good" / "002.png").write_bytes(b"\x89PNG broken")
    assert "002.png" in str(MvtecFolder(str(mvtec)).check("fit")[0])


@pytest.fixture
def oct2017(tmp_path: Path) -> Path:
    for i in range(4):
        picture(tmp_path / "train" / "NORMAL" / f"NORMAL-{100 + i}-1.png", i, grey=True)
        picture(tmp_path / "train" / "CNV" / f"CNV-{200 + i}-1.png", i, grey=True)
    for kind, patient in (("NORMAL", 300), ("CNV", 400), ("DME", 400)):
        for i in range(2):
            picture(tmp_path / "test" / kind / f"{kind}-{patient}-{i}.png", i, (30 + i, 50), grey=True)
    return tmp_path


def test_class_folders_learn_from_the_normal_class_and_group_by_patient(oct2017: Path) -> None:
    data = ClassFolder(str(oct2017))
    category = data.tested[0]
    assert [item.label for item in category.test] == [1, 1, 1, 1, 0, 0]
    assert all("NORMAL" in item.path for item in category.train)
    samples = Labelled(data.tested, (32, 32))
    groups = [samples[i]["patient"] for i in range(6)]
    assert len(set(groups[:4])) == 1  # one patient has both diseases
    assert len(set(groups)) == 2
    assert "mask" not in samples[0]


def test_a_patient_on_both_sides_is_refused(oct2017: Path) -> None:
    picture(oct2017 / "test" / "NORMAL" / "NORMAL-100-9.png", grey=True)
    assert "in both train and test" in str(ClassFolder(str(oct2017)).check()[0])
    with pytest.raises(DataError, match="no folder"):
        _ = ClassFolder(str(oct2017), normal="HEALTHY").categories


def test_medmnist_files_are_read_and_bad_ones_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    images, labels = np.zeros((6, 28, 28), np.uint8), np.array([[0], [1]] * 3)
    np.savez(path, train_images=images, train_labels=labels, val_images=images + 1, val_labels=labels)
    data = NpzImages(str(path), part="val")
    assert len(data.tested[0].train) == 3
    assert [item.label for item in data.tested[0].test] == [0, 1] * 3
    assert data.check() == []
    assert "test_images" in str(NpzImages(str(path)).check()[0])
    assert "label 7" in str(NpzImages(str(path), normal=7, part="val").check()[0])
    np.savez(path, train_images=images.astype(float), train_labels=labels)
    assert "float64" in str(NpzImages(str(path)).check()[0])
    path.write_bytes(b"PK nothing")
    assert "cannot be read" in str(NpzImages(str(path)).check()[0])


def test_values_beyond_0_to_1_are_stretched_and_others_kept(tmp_path: Path) -> None:
    counts = np.linspace(-1000, 3000, 20 * 24, dtype=np.float32).reshape(20, 24)
    Image.fromarray(counts).save(tmp_path / "counts.tif")
    Image.fromarray((counts + 1000) / 8000).save(tmp_path / "dark.tif")
    counted, dark = (read_colours(tmp_path / name) for name in ("counts.tif", "dark.tif"))
    assert counted.shape == (3, 20, 24)
    assert (counted.min(), counted.max()) == (0, 1)
    np.testing.assert_allclose(counted[0], (counts + 1000) / 4000, atol=1e-6)
    np.testing.assert_allclose(dark, counted / 2, atol=1e-6)


def test_categories_of_phantoms_hold_out_the_last_third_and_refuse_unknown_ones() -> None:
    data = TexturePhantoms(train=2, test=2, pixels=32)
    assert [c.name for c in data.tested] == ["gear", "screw", "blister"]
    assert not {c.name for c in data.others} & {"gear", "screw", "blister"}
    with pytest.raises(ConfigError, match="no bolt"):
        _ = TexturePhantoms(test_categories=["bolt"]).tested
    with pytest.raises(ConfigError, match="shots"):
        TexturePhantoms(shots=0)
    with pytest.raises(ConfigError, match=r"--data\.pose: expected one of still, near, free; got any"):
        TexturePhantoms(pose="any")


def test_phantoms_take_the_pose_for_pictures_and_masks_alike() -> None:
    near, free = (TexturePhantoms(train=1, test=2, pixels=48, pose=pose).tested[0].test[1] for pose in ("near", "free"))
    assert near.mask is not None
    assert free.mask is not None
    assert not np.array_equal(near.load(), free.load())
    assert not np.array_equal(near.mask(), free.mask())


def test_supports_are_training_images_of_the_tested_category() -> None:
    data = TexturePhantoms(train=3, test=2, pixels=32, shots=2, size=32, test_categories=["pill"])
    supports = data.supports()["pill"]
    known = torch.stack([torch.from_numpy(item.load()).half() for item in data.tested[0].train])
    assert supports.shape == (2, 3, 32, 32)
    assert all(any(torch.equal(image, other) for other in known) for image in supports)
