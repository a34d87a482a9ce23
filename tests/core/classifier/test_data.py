"""Data modules of classification: layouts, splits by patient, labels, faults of files and what they cost."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medzoo.core.classifier.data.folder import ClassesFolder
from medzoo.core.classifier.data.items import PARTS
from medzoo.core.classifier.data.module import ClassificationDataModule
from medzoo.core.classifier.data.npz import ClassesNpz
from medzoo.core.classifier.data.phantoms import ClassPhantoms
from medzoo.core.classifier.data.table import ClassesTable
from medzoo.core.data.wants import Wants
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.geometry.affine import apply
from medzoo.core.io import write_image
from medzoo.core.metrics.anomaly import auroc
from medzoo.core.phantoms.findings import FINDINGS, chest_with
from medzoo.core.sample import misfit


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.random.default_rng(seed).random((20, 24)).astype(np.float32))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Forty images of two classes, two a patient."""
    root = tmp_path / "chests"
    for i in range(40):
        picture(root / ("sick" if i % 4 < 2 else "well") / f"person{i // 2}_{i}.png", i)
    return root


@pytest.fixture
def table(tmp_path: Path) -> Path:
    root = tmp_path / "films"
    lines = ["id,label,patient,sex,age"]
    for i in range(30):
        picture(root / f"f{i}.png", i)
        lines.append(f"f{i}.png,{('sick', 'well')[i % 2]},p{i // 3},{'MF'[i % 2] if i else ''},{i}")
    (root / "labels.csv").write_text("\n".join(lines))
    return root


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    return saved(tmp_path / "mini.npz")


def saved(path: Path, labels: int = 1, shape: tuple[int, ...] = (12, 10), **other: np.ndarray) -> Path:
    rng = np.random.default_rng(0)
    content = {}
    for part, count in (("train", 30), ("val", 8), ("test", 10)):
        content[f"{part}_images"] = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        content[f"{part}_labels"] = rng.integers(0, 2, (count, labels), dtype=np.uint8)
    np.savez(path, **{**content, **other})
    return path


def parts_of(data: ClassificationDataModule) -> dict[str, set[str]]:
    return {part: {item.id for item in data.cases.parts[part]} for part in PARTS}


def modules(tree: Path, table: Path, arrays: Path) -> list[Callable[..., ClassificationDataModule]]:
    return [
        lambda **o: ClassesFolder(str(tree), **o),
        lambda **o: ClassesTable(str(table), groups=["sex"], **o),
        lambda **o: ClassesNpz(str(arrays), **o),
        lambda **o: ClassPhantoms(6, 4, 5, pixels=24, **o),
        lambda **o: ClassPhantoms(6, 4, 5, pixels=24, multi_label=True, missing=0.3, **o),
    ]


def test_every_batch_is_one_of_the_task(tree: Path, table: Path, arrays: Path) -> None:
    for make in modules(tree, table, arrays):
        data = make(size=16, batch_size=3)
        assert data.check() == []
        for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
            batches = list(loader)
            assert batches
            for batch in batches:
                assert misfit(batch, data.sample) is None
                assert batch["image"].shape[1:] == (data.channels, 16, 16)
                assert 0 <= batch["image"].min() <= batch["image"].max() <= 1
                assert batch["label"].dtype == (torch.float32 if data.multi_label else torch.int64)
        ids = [name for batch in data.test_dataloader() for name in batch["id"]]
        assert set(ids) == parts_of(data)["test"]
        assert len(ids) == len(set(ids))


def test_a_training_image_depends_on_seed_epoch_and_index_alone(table: Path) -> None:
    first, again = (ClassesTable(str(table), size=16)._images for _ in range(2))
    items = ClassesTable(str(table), size=16).cases.parts["train"]
    one, other = first(items, 1.0), again(items, 1.0)
    assert one[3, 1]["image"].equal(other[3, 1]["image"])
    assert one[3, 1]["image"].equal(one[3, 1]["image"])  # from memory
    assert not one[3, 1]["image"].equal(one[3, 2]["image"])
    assert not one[3, 1]["image"].equal(one[3]["image"])


def test_the_affine_of_a_varied_image_leads_to_where_its_content_is(tmp_path: Path) -> None:
    image = np.zeros((48, 64), np.float32)
    image[18:21, 40:43] = 1
    for i in range(6):
        write_image(tmp_path / "ab"[i % 2] / f"{i}.png", np.roll(image, i, axis=1))
    data = ClassesFolder(str(tmp_path), size=[96, 96], test_fraction=0, val_fraction=0)
    varied = data._images(data.cases.parts["train"], 1.0)
    for index in range(6):
        sample, shift = varied[index, 0], int(varied.items[index].id[2:])
        spot = (sample["image"][0] == sample["image"][0].max()).nonzero().double().mean(0).flip(0)
        expected = apply(sample["affine"].numpy(), np.array([[41.0 + shift, 19.0]]))[0]
        assert spot.numpy() == pytest.approx(expected, abs=1.0)


def test_a_missing_part_is_drawn_by_patient_and_not_by_label(tree: Path) -> None:
    pattern = r"^(person\d+)_"
    data = ClassesFolder(str(tree), patient_pattern=pattern)
    parts = data.cases.parts
    assert [len(parts[part]) for part in PARTS] == [26, 6, 8]
    people = [{item.patient for item in parts[part]} for part in PARTS]
    assert not people[0] & people[1]
    assert not (people[0] | people[1]) & people[2]
    assert sum(map(len, people)) == 20
    before = parts_of(data)
    (tree / "sick").rename(tree / "other")
    after = parts_of(ClassesFolder(str(tree), patient_pattern=pattern))
    assert {k: {n.split("/")[1] for n in v} for k, v in before.items()} == {
        k: {n.split("/")[1] for n in v} for k, v in after.items()
    }
    assert parts_of(ClassesFolder(str(tree), patient_pattern=pattern, seed=1)) != after


def test_given_parts_are_kept_and_their_patients_compared(tree: Path) -> None:
    pattern = r"^(person\d+)_"
    for path in sorted(tree.glob("*/*.png")):
        number = int(path.stem.partition("_")[2])
        target = tree / ("test" if number >= 28 else "train") / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)
    for name in ("sick", "well"):
        (tree / name).rmdir()
    data = ClassesFolder(str(tree), patient_pattern=pattern)
    assert data.check() == []
    kept = parts_of(data)
    assert len(kept["test"]) == 12
    assert {name.split("/")[0] for name in kept["test"]} == {"test"}
    assert {name.split("/")[0] for name in (*kept["train"], *kept["val"])} == {"train"}
    first = tree / "train" / "sick" / "person0_0.png"
    shutil.copy(first, tree / "test" / "well" / "person999_1.png")
    (fault,) = ClassesFolder(str(tree), patient_pattern=pattern).check("fit")
    assert str(fault).startswith(f"{tree}/test/well/person999_1.png: is, byte for byte, the training image {first}")
    picture(tree / "test" / "well" / "person999_1.png", 77)
    picture(tree / "test" / "well" / "person1_99.png", 78)
    (fault,) = ClassesFolder(str(tree), patient_pattern=pattern).check("test")
    assert "has 1 patients in both training and test: person1;" in str(fault)


def test_metadata_of_other_images_is_refused_for_its_patients_would_be_parted(tree: Path) -> None:
    (tree / "metadata.csv").write_text("id,patient\nscan 1,P\nscan 2,P\n")
    (fault,) = ClassesFolder(str(tree)).check("fit")
    assert "metadata.csv: names no image of the folders; its first is 'scan 1'" in str(fault)


def test_images_at_a_wrong_level_and_odd_names_are_told(tree: Path) -> None:
    picture(tree / "loose.png", 90)
    picture(tree / "sick" / "more" / "deep.png", 91)
    faults = [str(fault) for fault in ClassesFolder(str(tree)).check()]
    assert [f"{tree}/loose.png: is one of 1 images outside of a class" in faults[0], "more" in faults[1]] == [True] * 2
    (tree / "loose.png").unlink()
    shutil.rmtree(tree / "sick" / "more")
    picture(tree / "sick" / "nobody.png", 92)
    (fault,) = ClassesFolder(str(tree), patient_pattern=r"^(person\d+)_").check()
    assert "nobody.png: has no patient in its name" in str(fault)
    with pytest.raises(ConfigError, match="has no group"):
        ClassesFolder(str(tree), patient_pattern="person")
    shutil.rmtree(tree / "sick")
    (fault,) = ClassesFolder(str(tree)).check()
    assert "has only the class 'well', expected at least two" in str(fault)


def test_a_damaged_image_is_told_before_anything_is_trained(tree: Path) -> None:
    first = min((tree / "sick").iterdir())
    first.write_bytes(first.read_bytes()[:40])
    (fault,) = ClassesFolder(str(tree)).check("fit")
    assert str(first) in str(fault)


def test_a_table_gives_classes_patients_parts_and_groups(table: Path) -> None:
    data = ClassesTable(str(table), groups=["sex"])
    assert data.classes == ("sick", "well")
    assert data.group_names == {"sex": ("F", "M")}
    items = {item.id: item for part in PARTS for item in data.cases.parts[part]}
    assert (items["f0.png"].groups, items["f1.png"].groups) == ({"sex": -1}, {"sex": 0})
    assert items["f4.png"].patient == "p1"
    text = (table / "labels.csv").read_text().splitlines()
    named = [text[0] + ",split", *(f"{line},{PARTS[i // 3 % 3]}" for i, line in enumerate(text[1:]))]
    (table / "labels.csv").write_text("\n".join(named))
    kept = parts_of(ClassesTable(str(table)))
    assert kept["val"] == {f"f{i}.png" for i in range(30) if i // 3 % 3 == 1}
    assert [len(kept[part]) for part in PARTS] == [12, 9, 9]


def test_a_group_that_nobody_knows_is_none_however_the_table_says_so(table: Path) -> None:
    labels = table / "labels.csv"
    labels.write_text(labels.read_text().replace(",M,2\n", ",Unknown,2\n").replace(",M,4\n", ",-1,4\n"))
    data = ClassesTable(str(table), groups=["sex"])
    items = {item.id: item.groups["sex"] for part in PARTS for item in data.cases.parts[part]}
    assert data.group_names == {"sex": ("F", "M")}
    assert [items[f"f{i}.png"] for i in range(7)] == [-1, 0, -1, 0, -1, 0, 1]


def test_patients_that_a_table_has_or_an_option_names_are_never_passed_over(table: Path) -> None:
    labels = table / "labels.csv"
    (fault,) = ClassesTable(str(table), patient="pid").check()
    assert "labels.csv: has no column 'pid', as --data.patient says; it has id, label" in str(fault)
    (fault,) = ClassesTable(str(table), split="part").check()
    assert "labels.csv: has no column 'part', as --data.split says" in str(fault)
    labels.write_text(labels.read_text().replace("patient", "Subject_ID"))
    (fault,) = ClassesTable(str(table)).check()
    assert "labels.csv: has patients in its column 'Subject_ID'; add --data.patient 'Subject_ID'" in str(fault)
    assert ClassesTable(str(table), patient="Subject_ID").check() == []


def test_patients_of_a_table_without_them_are_those_of_metadata(table: Path) -> None:
    rows = [line.split(",") for line in (table / "labels.csv").read_text().splitlines()]
    (table / "labels.csv").write_text("\n".join(f"{row[0]},{row[1]}" for row in rows))
    (table / "metadata.csv").write_text("\n".join(f"{row[0]},{row[2]}" for row in rows))
    data = ClassesTable(str(table))
    owners = [{item.patient for item in data.cases.parts[part]} for part in PARTS]
    assert [len(own) for own in owners] == [7, 1, 2]
    assert set.union(*owners) == {f"patient p{i}" for i in range(10)}
    assert data.check() == []
    (table / "metadata.csv").write_text("id,patient\nother,p\n")
    (fault,) = ClassesTable(str(table)).check()
    assert "metadata.csv: names no image of the folders" in str(fault)


def test_labels_of_a_table_may_be_unknown(table: Path) -> None:
    rows = [f"f{i},{(1, 0, -1, '')[i % 4]},{(0, 1, 1, '')[i % 4]}" for i in range(30)]
    (table / "labels.csv").write_text("\n".join(["id,nodule,mesh", *rows]))
    data = ClassesTable(str(table), labels=["nodule", "mesh"], size=16)
    assert data.multi_label
    assert len(data.cases.unlabelled) == 7
    known = {item.id: item.label for part in PARTS for item in data.cases.parts[part]}
    assert known["f0"] == (1.0, 0.0)
    assert math.isnan(known["f2"][0])
    assert known["f2"][1] == 1.0
    have, of = data.counts()
    assert of[0] < of[1] == len(data.cases.parts["train"])
    assert have[0] <= of[0]
    batch = next(iter(data.predict_dataloader()))
    assert "label" not in batch
    assert misfit(batch, data.sample) is None
    (table / "labels.csv").write_text("id,nodule,mesh\nf0,0.5,1\nf1,1,0")
    (fault,) = ClassesTable(str(table), labels=["nodule", "mesh"]).check()
    assert "labels.csv:2:2: nodule is 0.5, expected 1, 0, or −1" in str(fault)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("f99,sick", "labels.csv:2:1: there is no image 'f99'"),
        ("../f1.png,sick", "leads out of"),
        ("f1.png,", "has only the class 'well'"),
        ("f0.png,sick", "labels.csv:3:1: 'f0' is the image 'f0.png' again; remove one of the two"),
    ],
)
def test_a_row_that_cannot_be_used_is_told_with_its_place(table: Path, row: str, told: str) -> None:
    (table / "labels.csv").write_text(f"id,label\n{row}\nf0,well\n")
    (fault,) = ClassesTable(str(table)).check()
    assert told in str(fault)


def test_images_of_a_folder_are_predicted_without_labels(tree: Path, tmp_path: Path) -> None:
    picture(tmp_path / "new" / "a.png", 5)
    data = ClassesFolder(str(tree), predict=str(tmp_path / "new"), size=16)
    (batch,) = data.predict_dataloader()
    assert batch["id"] == ["a"]
    assert "label" not in batch
    shutil.rmtree(tmp_path / "new")
    (fault,) = ClassesFolder(str(tree), predict=str(tmp_path / "new")).check("predict")
    assert "new: does not exist" in str(fault)


def test_an_image_to_predict_that_is_called_as_a_training_image_is_read_itself(table: Path, tmp_path: Path) -> None:
    labels = table / "labels.csv"
    labels.write_text(labels.read_text().replace(".png", ""))
    for i in range(30):
        picture(tmp_path / "new" / f"f{i}.png", 100 + i)
    data = ClassesTable(str(table), predict=str(tmp_path / "new"), size=16)
    first = data.cases.parts["train"][0]
    asked = next(item for item in data.cases.unlabelled if item.id == first.id)
    known, new = (data._images([item])[0]["image"] for item in (first, asked))
    assert not np.array_equal(known, new)


def test_an_image_is_prepared_as_the_model_of_now_asks_for(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cut(Wants):
        def affine(self, original: tuple[int, int], size: tuple[int, int]) -> Any:
            return np.array([[1.0, 0.0, -3.0], [0.0, 1.0, -3.0]])

    data = ClassesTable(str(table), size=16)
    items = data.cases.parts["train"]
    found = []
    for wants in (Wants(), Cut()):
        monkeypatch.setattr(ClassesTable, "wants", wants)
        found.append(data._images(items)[0]["image"])
    assert not np.array_equal(*found)


def test_arrays_without_a_test_part_are_tested_on_their_validation_part(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz")
    with np.load(path) as content:
        np.savez(tmp_path / "b.npz", **{k: content[k] for k in content if not k.startswith("test")})
    whole, less = ClassesNpz(str(path)), ClassesNpz(str(tmp_path / "b.npz"), classes=["normal", "pneumonia"])
    assert [len(whole.cases.parts[part]) for part in PARTS] == [30, 8, 10]
    assert [len(less.cases.parts[part]) for part in PARTS] == [26, 4, 8]
    assert {item.id for item in less.cases.parts["test"]} == {f"val/{i}" for i in range(8)}
    assert less.classes == ("normal", "pneumonia")


def test_arrays_may_be_in_colour_and_have_several_labels(tmp_path: Path) -> None:
    data = ClassesNpz(str(saved(tmp_path / "rgb.npz", labels=4, shape=(12, 10, 3))), size=16)
    assert (data.channels, data.multi_label, data.classes) == (3, True, ("0", "1", "2", "3"))
    batch = next(iter(data.test_dataloader()))
    assert batch["label"].shape[1:] == (4,)
    image = ClassesNpz(str(tmp_path / "rgb.npz"), size=[16, 16]).cases.parts["test"][0].load()[0]
    with np.load(tmp_path / "rgb.npz") as content:
        assert np.allclose(image, content["test_images"][0].transpose(2, 0, 1) / 255)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"train_images": np.zeros((30, 4, 12, 10), np.uint8)}, "train_images of uint8"),
        ({"test_labels": np.zeros((10, 1), np.float32)}, "test_labels of float32"),
        ({"test_labels": np.zeros((9, 1), np.uint8)}, "test_labels of uint8 (9, 1)"),
        ({"test_labels": np.zeros((10, 3), np.uint8)}, "parts of different labels or colours"),
        ({"train_labels": np.full((30, 1), -1)}, "has other labels than numbers from 0 on"),
    ],
)
def test_arrays_of_another_kind_are_refused_in_one_line(
    tmp_path: Path, change: dict[str, np.ndarray], told: str
) -> None:
    (fault,) = ClassesNpz(str(saved(tmp_path / "bad.npz", **change))).check("fit")
    assert told in str(fault)
    assert "\n" not in str(fault)


def test_names_of_classes_of_arrays_must_be_enough(arrays: Path) -> None:
    with pytest.raises(ConfigError, match="expected at least 2 distinct names, got 1"):
        ClassesNpz(str(arrays), classes=["normal"]).check()


def test_copies_in_arrays_are_told_by_a_check_alone(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz")
    with np.load(path) as content:
        test = content["test_images"].copy()
        test[3] = content["train_images"][7]
    data = ClassesNpz(str(saved(path, test_images=test)))
    (fault,) = data.check()
    assert "1 of its test images are, pixel for pixel, images to learn from, such as test/3 (train/7)" in str(fault)
    assert data.check("fit") == []


def test_copies_within_arrays_are_not_parted_by_a_draw(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = np.repeat(rng.integers(0, 256, (20, 8, 8), dtype=np.uint8), 2, axis=0)
    labels = np.arange(40) % 2
    np.savez(tmp_path / "a.npz", train_images=images, train_labels=labels, test_images=255 - images[:2, :, :4],
             test_labels=labels[:2])  # fmt: skip
    data = ClassesNpz(str(tmp_path / "a.npz"), val_fraction=0.3)
    assert [len(data.cases.parts[part]) for part in PARTS] == [28, 12, 2]
    assert data.check() == []


def test_a_pickle_is_no_array_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "o.npz", train_images=np.array([{}], dtype=object))
    (fault,) = ClassesNpz(str(tmp_path / "o.npz")).check()
    assert isinstance(fault, DataError)
    assert "cannot be read (ValueError)" in str(fault)


def test_phantoms_differ_by_their_finding_and_not_by_their_mean_grey_level() -> None:
    count, size = 60, (48, 48)
    clear = [chest_with((), (0, i), size) for i in range(count)]
    for finding in FINDINGS:
        sick = [chest_with((finding,), (0, i), size) for i in range(count)]
        change = [np.abs(a - b) for a, b in zip(sick, clear, strict=True)]
        assert min(c.max() for c in change) > 0.05
        means = torch.tensor([float(image.mean()) for image in (*clear, *sick)])
        assert 0.47 < auroc(means, torch.arange(2 * count) >= count) < 0.53
    again = chest_with(FINDINGS, (0, 3), size)
    assert np.array_equal(again, chest_with(FINDINGS[::-1], (0, 3), size))


def test_options_that_make_no_sense_are_refused() -> None:
    for options in ({"classes": 4}, {"missing": 0.2}, {"pixels": 8}, {"augment": -1.0}, {"train": -1}):
        with pytest.raises(ConfigError, match=f"--data.{next(iter(options))}: expected"):
            ClassPhantoms(**options)
