"""Every fault of the ground: one line that names file, row and cure, found from headers and labels alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medzoo.core.errors import ConfigError, DataError, DataErrors
from medzoo.landmark.data import Bmple, Cephalometric, Chest, HandAtlas, Jsrt, LandmarkDataModule, LandmarkFolder
from medzoo.landmark.data.checks import check_image
from medzoo.landmark.data.sources import FileImages

Maker = Callable[..., Path]
MD = {"junior": "AnnotationsByMD/400_junior", "senior": "AnnotationsByMD/400_senior"}
NUMBERS = [1, 126, 150, 151, 301]


def only_fault(data: LandmarkDataModule, place: str, *words: str) -> None:
    """Assert that there is one fault, that it begins with `place` and is one line with all words and a cure."""
    faults = data.check()
    assert len(faults) == 1, faults
    message = str(faults[0])
    assert message.startswith(place), message
    assert "\n" not in message
    assert "; " in message, f"no cure in {message}"
    for word in words:
        assert word in message, message


@pytest.mark.parametrize("kind", [Bmple, Cephalometric, Chest, HandAtlas, Jsrt, LandmarkFolder])
def test_missing_root_and_empty_root_tell_the_layout(kind: type[LandmarkDataModule], tmp_path: Path) -> None:
    only_fault(kind(root=str(tmp_path / "no")), str(tmp_path / "no"), "does not exist", "--data.root")  # type: ignore[call-arg]
    only_fault(kind(root=str(tmp_path)), str(tmp_path), "expected")  # type: ignore[call-arg]
    (tmp_path / "file").write_text("x")
    only_fault(kind(root=str(tmp_path / "file")), str(tmp_path / "file"), "is not a folder")  # type: ignore[call-arg]


def test_missing_subfolder_is_named(chest: Maker) -> None:
    root = chest(4)
    shutil.rmtree(root / "pngs")
    only_fault(Chest(str(root)), str(root), "has no folder pngs", "labels/ID.txt")


def write(root: Path, name: str, text: str) -> str:
    (root / "labels" / f"{name}.txt").write_text(text)
    return str(root / "labels" / f"{name}.txt")


@pytest.mark.parametrize(
    ("text", "row", "word"),
    [
        ("5\n" + "0.5 0.5\n" * 5, ":1", "5 landmarks, expected 6"),
        ("6\n" + "0.5 0.5\n" * 5, "", "has 5 landmarks, expected 6"),
        ("6\n0.5 0.5\n0.5 nan\n" + "0.5 0.5\n" * 4, ":3:2", "nan"),
        ("6\n0.5 0.5\n0.5 abc\n" + "0.5 0.5\n" * 4, ":3:2", "'abc'"),
        ("6\n0.5 0.5\n0.5 inf\n" + "0.5 0.5\n" * 4, ":3:2", "inf"),
        ("6\n0.5 0.5\n0.5\n" + "0.5 0.5\n" * 4, ":3:1", "1 values, expected 2"),
        ("6\n0.5 0.5\n1.2 0.5\n" + "0.5 0.5\n" * 4, ":3", "outside the image"),
        ("6\n0.5 0.5\n0.5 -0.1\n" + "0.5 0.5\n" * 4, ":3", "outside the image"),
        ("", "", "is empty"),
        ("six\n", ":1:1", "'six'"),
    ],
)
def test_faulty_ratio_labels(chest: Maker, text: str, row: str, word: str) -> None:
    root = chest(6)
    only_fault(Chest(str(root)), write(root, "p003", text) + row + ": ", word)


def test_points_outside_the_image_name_row_and_landmark(head: Maker, hand: Maker, plain: Maker) -> None:
    root = head({"raw": NUMBERS}, MD)
    file = root / MD["senior"] / "150.txt"
    lines = file.read_text().splitlines()
    lines[3] = "900,5"
    file.write_text("\n".join(lines))
    only_fault(Cephalometric(str(root), gt="senior"), f"{file}:4: ", "4 (porion)", "(900, 5)", "60 × 80")
    table = hand(4) / "all.csv"
    rows = table.read_text().splitlines()
    cells = rows[2].split(",")
    table.write_text("\n".join([*rows[:2], ",".join([cells[0], "5", "99", *cells[3:]]), rows[3]]))
    only_fault(HandAtlas(str(table.parent)), f"{table}:3: ", "1 (wrist 0)", "x comes first")
    root = plain("id,x0,y0\na0,1,1\na1,45,60\n")
    only_fault(LandmarkFolder(str(root)), f"{root / 'landmarks.csv'}:3: ", "(45, 60)", "50 × 40")


def test_half_a_pixel_beyond_the_outermost_centres_is_still_inside(plain: Maker) -> None:
    inside = "id,x0,y0\na0,-0.5,-0.5\na1,49.5,39.5\n"
    assert LandmarkFolder(str(plain(inside))).check() == []
    assert LandmarkFolder(str(plain("id,x0,y0\na0,-0.6,0\na1,0,0\n"))).check() != []


@pytest.mark.parametrize(
    ("count", "word"), [(18, "has 18 landmarks, expected 19"), (29, "more than 19 landmarks")], ids=["18", "29"]
)
def test_head_labels_of_another_count_are_refused(head: Maker, count: int, word: str) -> None:
    root = head({"raw": NUMBERS}, {"junior": "400_junior", "senior": "400_senior"})
    file = root / "400_junior" / "001.txt"
    file.write_text("20,30\n" * count)
    only_fault(Cephalometric(str(root)), str(file), word)


def test_label_files_of_test_images_must_be_all_there_or_all_missing(chest: Maker) -> None:
    root = chest(10)
    test = Chest(str(root)).sources[0].split.test
    (root / "labels" / f"{test[0]}.txt").unlink()
    only_fault(Chest(str(root)), str(root / "labels" / f"{test[0]}.txt"), "is missing", f"{test[0]} is in the test set")
    for name in test[1:]:
        (root / "labels" / f"{name}.txt").unlink()
    data = Chest(str(root), size=32)
    assert data.check() == []
    assert data.test_dataloader() == []
    assert "none has a label" in data.summary()[0]


def test_shot_faults_are_told_with_the_nearest_names(chest: Maker) -> None:
    root = chest(10)
    test = Chest(str(root)).sources[0].split.test[0]
    with pytest.raises(ConfigError, match=r"no image 'p00' in 'chest'; did you mean p00\d"):
        Chest(str(root), shots=["p00"]).check()
    assert test not in Chest(str(root), shots=[test]).sources[0].split.test, "a named shot is kept in training"
    (root / "labels" / "p003.txt").unlink()
    only_fault(Chest(str(root), shots=["p003"]), str(root / "labels" / "p003.txt"), "is missing", "is the shot")
    with pytest.raises(ConfigError, match="at least 0"):
        Chest(str(root), shots=-1).check()
    with pytest.raises(DataError, match=r"training images of 'chest' have labels, expected 90 shots; annotate"):
        _ = Chest(str(root), shots=90).shot_ids


def test_shot_of_the_papers_must_have_its_label(head: Maker) -> None:
    root = head({"raw": NUMBERS}, MD)
    (root / MD["senior"] / "126.txt").unlink()
    only_fault(Cephalometric(str(root)), str(root / MD["senior"] / "126.txt"), "126 is the shot")


def test_test_images_of_an_official_split_cannot_be_shots_and_a_number_is_not_taken_for_a_name(head: Maker) -> None:
    root = head({"raw": NUMBERS}, MD)
    with pytest.raises(ConfigError, match="'151' is not a training image"):
        Cephalometric(str(root), shots=[151]).check()
    with pytest.raises(ConfigError, match=r"write \[126\]"):
        Cephalometric(str(root), shots=126).check()
    assert Cephalometric(str(root), shots=[1]).shot_ids == (("001",),)


def test_shot_that_lacks_a_landmark_is_refused(plain: Maker) -> None:
    root = plain("id,a_x,a_y,b_x,b_y\na0,1,1,,\na1,2,2,3,3\na2,2,2,3,3\n")
    data = LandmarkFolder(str(root), shots=["a0"], size=32, test_fraction=0.0)
    with pytest.raises(DataError, match=r"landmarks\.csv:2: landmark 2 \(b\) is missing in the shot a0"):
        data.shots()
    assert len(LandmarkFolder(str(root), shots=["a0", "a1"], size=32, test_fraction=0.0).shots()[0]) == 2


def test_image_faults_are_all_found_at_once_without_decoding(chest: Maker) -> None:
    root = chest(30)
    pngs = root / "pngs"
    (pngs / "p000.png").write_bytes(b"")
    (pngs / "p001.png").write_bytes(b"not an image")
    whole = (pngs / "p002.png").read_bytes()
    (pngs / "p002.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.zeros((40, 8), np.uint8)).save(pngs / "p003.png")
    faults = Chest(str(root)).check()
    assert [Path(fault.path).name for fault in faults] == [f"p00{i}.png" for i in range(4)]
    assert "8 × 40 pixels, expected 16" in str(faults[3])
    with pytest.raises(DataErrors) as raised:
        Chest(str(root), test_fraction=0.0).setup("fit")
    assert str(raised.value).count("\n") == 4
    for i in range(30):
        (pngs / f"p{i:03d}.png").write_bytes(b"")
    with pytest.raises(DataErrors, match="30 faults") as raised:
        Chest(str(root), test_fraction=0.0).setup("fit")
    assert str(raised.value).endswith("… and 10 more")


def test_colour_is_taken_as_grey_and_other_channels_and_volumes_are_refused(tmp_path: Path) -> None:
    import nibabel

    grey = np.tile(np.arange(0, 160, 4, dtype=np.uint8), (30, 1))
    Image.fromarray(grey).save(tmp_path / "a.png")
    Image.fromarray(np.stack([grey] * 3, -1)).save(tmp_path / "b.png")
    images = FileImages({name: str(tmp_path / f"{name}.png") for name in "ab"})
    assert np.array_equal(images.read("a").array, images.read("b").array)
    for name, shape in (("c", (20, 20, 20)), ("d", (20, 20, 1, 4))):
        nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.float32), np.eye(4)), tmp_path / f"{name}.nii")
        volumes = FileImages({name: str(tmp_path / f"{name}.nii")})
        _, faults = check_image(volumes, name)
        assert len(faults) == 1
        assert f"{name}.nii" in str(faults[0])
        with pytest.raises(DataError, match=rf"{name}\.nii"):
            volumes.read(name)


def test_two_images_of_one_name_are_refused(chest: Maker, plain: Maker) -> None:
    root = chest(4)
    shutil.copy(root / "pngs" / "p001.png", root / "pngs" / "p001.bmp")
    only_fault(Chest(str(root)), str(root / "pngs" / "p001.png"), "same name as p001.bmp")
    (root / "pngs" / "p001.bmp").rename(root / "pngs" / "._p001.png")  # what macOS leaves beside a file is no image
    assert Chest(str(root)).check() == []


@pytest.mark.parametrize(
    ("table", "row", "word"),
    [
        ("id,x0,y0\na0,1,1\na0,2,2\n", ":3:1", "repeats image a0 of line 2"),
        ("id,x0,y0\na0,1,1\na1,2\n", ":3:2", "2 values, expected 3"),
        ("id,x0,y0\na0,1,1\na1,2,x\n", ":3:3", "'x'"),
        ("id,x0,y0\na0,1,1\na1,2,\n", ":3:3", "only one of x and y"),
        ("id,x0,y0\na0,1,1\nb7,2,2\n", ":3", "there is no image b7"),
        ("file name,x0,y0\na0,1,1\n", ":1", "has no column id"),
        ("id,first,second\na0,1,1\n", ":1", "has no columns of landmarks"),
        ("id,landmark,x,y\na0,A,1,1\na0,A,2,2\n", ":3:1", "repeats"),
        ("id,landmark,x,y\na0,A,1,1\na1,A,2,\n", ":3:4", "only one of x and y"),
        ("id,x0,y0,split\na0,1,1,train\na1,2,2,tset\n", ":3:4", "'tset' is no part"),
        ("id,x0,y0,spacing\na0,1,1,0.1\na1,2,2,-1\n", ":3:4", "-1"),
        ("id,a_x,a_y,b_x,bY\na0,1,1,2,2\n", ":1", "a column b_x but no b_y"),
        ("id,x0,y0,y1\na0,1,1,2\n", ":1", "a column y1 but no x1"),
        ("id,landmark,x,y\na0,A,1,1\na1,a,2,2\n", ":3:2", "has a landmark 'a', line 2 has 'A'"),
        ("id,landmark,x,y\na0,A,1,1\na0.png,A,2,2\n", ":3:1", "repeats A of a0 in line 2"),
        ("id,landmark,x,y,spacing\na0,A,1,1,0.1\na0,B,2,2,0.2\n", ":3:5", "another spacing of a0"),
        ("id,landmark,x,y,split\na0,A,1,1,train\na0,B,2,2,test\n", ":3:5", "another split of a0"),
        ("id,x0,y0,spacing_x\na0,1,1,0.1\n", ":1", "has spacing_x alone"),
        ("id,x0,y0,spacing_x,spacing_y\na0,1,1,0.1,\n", ":2:4", "only one of spacing_x and spacing_y"),
        (
            "id,x0,y0,patient,split\na0,1,1,P,train\na1,2,2,P,test\n",
            ":3",
            "patient P is in train (a0) and in test (a1)",
        ),
        ("id,x0,y0,annotator\na0,1,1,R\na0,2,2,R\n", ":3:1", "repeats image a0 of line 2"),
        ("id,x0,y0,annotator\na0,1,1,R\na0,99,2,S\n", ":2", "(99, 2) lies outside"),
        ("", "", "is empty"),
    ],
)
def test_faulty_tables(plain: Maker, table: str, row: str, word: str) -> None:
    root = plain(table)
    only_fault(LandmarkFolder(str(root)), f"{root / 'landmarks.csv'}{row}: ", word)


def test_a_table_that_fits_no_image_is_told_by_its_rows(plain: Maker) -> None:
    root = plain("id,x0,y0\n1,1,1\n")
    (root / "a0.png").rename(root / "001.png")
    only_fault(LandmarkFolder(str(root)), f"{root / 'landmarks.csv'}:2: ", "no image 1; did you mean 001?")
    (root / "landmarks.csv").write_text("id,x0,y0\n")
    only_fault(LandmarkFolder(str(root)), f"{root / 'landmarks.csv'}: ", "holds no label of a training image")


def test_metadata_of_other_images_is_refused(plain: Maker) -> None:
    root = plain("id,x0,y0\na0,1,1\na1,2,2\n")
    (root / "metadata.csv").write_text("id,patient\nimage 0,P\nimage 1,P\n")
    only_fault(LandmarkFolder(str(root)), f"{root / 'metadata.csv'}: ", "names no image of the folder", "'image 0'")


def test_an_image_of_one_value_is_refused_when_it_is_read(tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 50), 7, np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: is 0\.027451 in every pixel; "):
        FileImages({"a": str(tmp_path / "a.png")}).read("a")


def test_faulty_hand_table_is_told_once(hand: Maker) -> None:
    root = hand(5)
    good = (root / "all.csv").read_text().splitlines()
    for line, (cells, place, word) in enumerate(
        [
            (good[1].split(",")[:-1], ":2:74", "74 values, expected 75"),
            ([*good[1].split(",")[:-1], "x"], ":2:75", "'x'"),
            ([good[0].split(",")[0], *good[1].split(",")[1:]], ":2:1", "repeats"),
            ([*good[1].split(",")[:-2], "", ""], ":2:74", "36 landmarks, expected 37"),
        ]
    ):
        (root / "all.csv").write_text("\n".join([good[0], ",".join(cells), *good[2:]]) + "\n")
        data = HandAtlas(str(root), test_fraction=0.0)
        assert [str(fault) for fault in data.check()] != [], line
        only_fault(data, f"{root / 'all.csv'}{place}: ", word)


def test_contour_file_without_a_lung_is_refused(jsrt: Maker) -> None:
    root = jsrt(["a", "b", "c"])
    file = root / "labels" / "b.pfs"
    text = file.read_text()
    file.write_text(text.replace("right lung", "spleen"))
    only_fault(Jsrt(str(root), test_fraction=0.0), f"{file}: ", "0 points of the right lung, expected 44")
    file.write_text(text.replace("{ 105.5 , 205.25 },\n", ""))
    only_fault(Jsrt(str(root), test_fraction=0.0), f"{file}: ", "43 points of the right lung")
    file.write_text(text.replace("105.5", "nan"))
    only_fault(Jsrt(str(root), test_fraction=0.0), f"{file}:", "not finite")


def test_a_fit_looks_at_no_label_but_the_shots_and_a_test_at_those_of_the_test_set(chest: Maker) -> None:
    root = chest(10)
    data = Chest(str(root), shots=["p000"])
    test, train = data.sources[0].split.test, data.sources[0].split.train
    write(root, test[0], "bad\n")
    write(root, next(name for name in train if name != "p000"), "bad\n")
    data.setup("fit")
    with pytest.raises(DataError, match=test[0]):
        data.setup("test")
    write(root, "p000", "bad\n")
    with pytest.raises(DataError, match="p000"):
        data.setup("fit")
    assert len(data.check()) == 3


def test_impossible_options_are_refused() -> None:
    for options in (
        {"size": 8},
        {"size": [64]},
        {"batch_size": 0},
        {"num_workers": -1},
        {"seed": -1},
        {"cache_mb": -1},
        {"resize": "crop"},
        {"test_fraction": 1.5},
    ):
        with pytest.raises(ConfigError, match=rf"--data\.{next(iter(options))}"):
            Chest("x", **options)


@pytest.mark.parametrize(
    ("text", "place", "word"),
    [
        ("[", ":1:2", "is no JSON"),
        ("[]", "", "original_shape: expected two positive numbers"),
        ('{"gt": [], "original_shape": [9, 9], "spacing": [1, 1]}', "", "gt: expected at least 23 points, got 0"),
        ('{"gt": [], "original_shape": [9, 9], "spacing": [1, 0]}', "", "spacing: expected two positive numbers"),
        (
            json.dumps({"gt": [[1, 2]] * 5 + [[1]] + [[1, 2]] * 17, "original_shape": [9, 9], "spacing": [1, 1]}),
            ": gt[5]",
            "[1] is no point",
        ),
        (
            json.dumps({"gt": [[1, 2]] * 22 + [[1, 99]], "original_shape": [9, 9], "spacing": [1, 1]}),
            "",
            "landmark 20 (leg 22)",
        ),
    ],
)
def test_faulty_leg_labels(leg: Maker, text: str, place: str, word: str) -> None:
    root = leg()
    (root / "train" / "10_meta.json").write_text(text)
    only_fault(Bmple(str(root)), f"{root / 'train' / '10_meta.json'}{place}: ", word)


def test_leg_list_that_names_an_image_which_is_not_there(leg: Maker) -> None:
    root = leg()
    (root / "test.json").write_text("[1, 2, 7]")
    only_fault(Bmple(str(root)), str(root / "test" / "7_384.png"), "test.json names it")
    (root / "test.json").write_text('{"ids": 1}')
    only_fault(Bmple(str(root)), str(root / "test.json"), "expected a list of image numbers")
