from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medzoo.core.errors import ConfigError, DataError
from medzoo.landmark.data import Bmple, Cephalometric, Chest, HandAtlas, Jsrt, LandmarkFolder, LandmarkSource
from medzoo.landmark.data.baseline import observer_errors
from medzoo.landmark.data.jsrt import CONTOURS, read_contours
from medzoo.landmark.data.sources import FileImages

Maker = Callable[..., Path]
NUMBERS = [1, 2, 125, 126, 150, 151, 300, 301, 400]
MD = {"junior": "AnnotationsByMD/400_junior", "senior": "AnnotationsByMD/400_senior"}
PARTS = {"TrainingData": NUMBERS[:5], "Test1Data": NUMBERS[5:7], "Test2Data": NUMBERS[7:]}


def only(sources: tuple[LandmarkSource, ...]) -> LandmarkSource:
    assert len(sources) == 1
    return sources[0]


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ({f"RawImage/{part}": numbers for part, numbers in PARTS.items()}, MD),
        (
            {f"RawImage/{part}": numbers for part, numbers in PARTS.items()},
            {"junior": "400_junior", "senior": "400_senior"},
        ),
        (PARTS, MD),
        ({"raw": NUMBERS}, MD),
        ({"": NUMBERS}, {"junior": "400_junior", "senior": "400_senior"}),
        ({f"origin/{part}": numbers for part, numbers in PARTS.items()}, {"merged": "origin/gt"}),
        (PARTS, {"merged": "gt"}),
    ],
)
def test_head_is_found_in_every_layout_it_is_passed_around_in(
    head: Maker, images: dict[str, list[int]], labels: dict[str, str]
) -> None:
    data = Cephalometric(str(head(images, labels)))
    source = only(data.sources)
    assert data.check() == []
    assert source.split.train == ("001", "002", "125", "126", "150")
    assert source.split.test == ("151", "300", "301", "400")
    assert data.shot_ids == (("126",),)
    assert source.domain.unit == "mm"
    assert ("mean of junior and senior" in source.domain.note) == ("merged" not in labels)
    assert source.points("126", (60, 80)).shape == (19, 2)


def test_head_truth_is_the_unrounded_mean_or_the_doctor_that_was_asked_for(head: Maker) -> None:
    root = head({"raw": NUMBERS}, MD)
    junior, senior, mean = (
        only(Cephalometric(str(root), gt=gt).sources).points("126", (60, 80)) for gt in ("junior", "senior", "mean")
    )
    text = (root / MD["junior"] / "126.txt").read_text().splitlines()
    assert junior[18].tolist() == [float(cell) for cell in text[18].split(",")]
    assert np.array_equal(senior - junior, np.full((19, 2), (4, 2)))
    assert np.array_equal(mean, junior + np.array((2, 1)))
    with pytest.raises(DataError, match=r"no labels of 'challenge'.*--data\.gt junior or senior"):
        only(Cephalometric(str(root), gt="challenge").sources)


def test_head_challenge_labels_are_read_from_millimetres(head: Maker) -> None:
    root = head({"raw": NUMBERS}, MD)
    rows = [",".join([str(n), *(f"{(n + k) / 10:.3f}" for k in range(38))]) for n in NUMBERS]
    (root / "challenge.csv").write_text("\n".join(rows) + "\n")
    source = only(Cephalometric(str(root), gt="challenge").sources)
    assert np.allclose(source.points("002", (60, 80)), (np.arange(38) + 2).reshape(19, 2))
    assert source.domain.note == "ground truth: challenge"


@pytest.mark.parametrize(
    ("part", "test"), [("test1", ("151", "300")), ("test2", ("301", "400")), ("pooled", ("151", "300", "301", "400"))]
)
def test_head_test_sets(head: Maker, part: str, test: tuple[str, ...]) -> None:
    data = Cephalometric(str(head({"raw": NUMBERS}, MD)), test_set=part)  # type: ignore[arg-type]
    assert only(data.sources).split.test == test


def test_head_scale_is_a_tenth_of_a_millimetre_for_both_axes(head: Maker) -> None:
    source = only(Cephalometric(str(head({"raw": NUMBERS}, MD))).sources)
    assert source.scale("126", np.zeros((19, 2)), (60, 80)) == (0.1, 0.1)
    assert source.images.read("126").spacing == (0.1, 0.1)


@pytest.mark.parametrize(("wrist", "width"), [((0, 4), 10.0), ((1, 5), 8.0)])
def test_hand_scale_makes_the_true_wrist_fifty_millimetres_wide(
    hand: Maker, wrist: tuple[int, int], width: float
) -> None:
    data = HandAtlas(str(hand()), wrist=wrist)
    source = only(data.sources)
    assert data.check() == []
    points = source.points("3150", (40, 60))
    assert source.scale("3150", points, (40, 60)) == pytest.approx((50 / width, 50 / width))
    assert np.linalg.norm(
        (points[wrist[0]] - points[wrist[1]]) * source.scale("3150", points, (40, 60))
    ) == pytest.approx(50)
    with pytest.raises(ConfigError, match="wrist"):
        HandAtlas("x", wrist=(0, 1))


def test_hand_reads_the_row_of_the_image_and_leaves_out_images_without_a_row(hand: Maker) -> None:
    root = hand(4)
    lines = (root / "all.csv").read_text().splitlines()
    source = only(HandAtlas(str(root)).sources)
    assert source.points("3144", (40, 60)).ravel().tolist() == [float(cell) for cell in lines[2].split(",")[1:]]


def test_hand_trains_on_the_first_609_of_the_sorted_list(tmp_path: Path) -> None:
    (tmp_path / "jpg").mkdir()
    names = [str(3142 + i) for i in range(909)]
    for name in [*names, "9999"]:
        (tmp_path / "jpg" / f"{name}.jpg").touch()
    row = ",".join(str(k) for k in range(74))
    (tmp_path / "all.csv").write_text("".join(f"{name},{row}\n" for name in reversed(names)))
    split = only(HandAtlas(str(tmp_path)).sources).split
    assert (split.train, split.test) == (tuple(names[:609]), tuple(names[609:]))
    # Unlabelled training images without rows must leave the split as it is.
    (tmp_path / "jpg" / "9999.jpg").unlink()
    (tmp_path / "all.csv").write_text(f"3188,{row}\n")
    again = HandAtlas(str(tmp_path))
    assert only(again.sources).split == split
    assert again.shot_ids == (("3188",),)


def test_chest_points_are_ratios_of_the_original_size_and_errors_count_in_a_512_frame(chest: Maker) -> None:
    root = chest(5)
    source = only(Chest(str(root)).sources)
    rows = (root / "labels" / "p001.txt").read_text().split()[1:]
    assert np.allclose(source.points("p001", (200, 100)).ravel(), np.array(rows, float) * np.tile((200, 100), 6))
    assert source.scale("p001", np.zeros((6, 2)), (200, 100)) == (512 / 200, 512 / 100)
    assert source.domain.unit == "px"


def test_shenzhen_is_split_as_in_the_papers(tmp_path: Path) -> None:
    names = [f"CHNCXR_{i:04d}_0" for i in range(1, 280)]
    for folder in ("pngs", "labels"):
        (tmp_path / folder).mkdir()
    for name in names:
        (tmp_path / "pngs" / f"{name}.png").touch()
        (tmp_path / "labels" / f"{name}.txt").touch()
    assert only(Chest(str(tmp_path)).sources).split.test == tuple(names[-50:])
    for i in range(327, 340):
        (tmp_path / "pngs" / f"CHNCXR_{i:04d}_1.png").touch()
    full = only(Chest(str(tmp_path), allow_unlabelled=True).sources).split
    assert full.test == tuple(names[-50:])
    assert full.train == (*names[:-50], *(f"CHNCXR_{i:04d}_1" for i in range(327, 340)))


def test_chest_patients_stay_together_and_val_is_carved_from_training(chest: Maker) -> None:
    root = chest(20, patients=True)
    split = only(Chest(str(root), test_fraction=0.3, val_fraction=0.2).sources).split
    assert [len(part) for part in (split.train, split.val, split.test)] == [10, 4, 6]
    owner = {f"p{i:03d}": i // 2 for i in range(20)}
    groups = [{owner[name] for name in part} for part in (split.train, split.val, split.test)]
    assert len(groups[0]) + len(groups[1]) + len(groups[2]) == 10


def test_chest_patients_of_other_names_are_refused(chest: Maker) -> None:
    """They would be left out, and a patient's images be in two parts."""
    root = chest(8, patients=True)
    table = root / "metadata.csv"
    table.write_text(table.read_text().replace("\np0", "\nCHEST_p0"))
    (fault,) = Chest(str(root)).check()
    assert "names no image of the folders; its first is 'CHEST_p000'" in str(fault)


def test_chest_unlabelled_images_of_a_test_patient_are_not_trained_on(chest: Maker) -> None:
    root = chest(20, patients=True)
    for number in range(0, 20, 2):  # the first image of each patient
        (root / "labels" / f"p{number:03d}.txt").unlink()
    split = only(Chest(str(root), test_fraction=0.3, allow_unlabelled=True).sources).split
    tested = {int(name[1:]) // 2 for name in split.test}
    assert len(tested) == 3
    assert len(split.train) == 20 - 2 * 3
    assert not tested & {int(name[1:]) // 2 for name in split.train}


def test_a_shot_named_by_its_file_is_a_training_image(chest: Maker) -> None:
    root = chest(20)
    tested = only(Chest(str(root), test_fraction=0.3).sources).split.test[0]
    split = only(Chest(str(root), test_fraction=0.3, shots=[f"{tested}.png"]).sources).split
    assert tested in split.train


def test_jsrt_points_are_picked_from_the_contours_and_doubled(jsrt: Maker) -> None:
    root = jsrt(["JPCLN001", "JPCLN002"])
    source = only(Jsrt(str(root)).sources)
    expected = [(100.5, 200.25), (121.5, 221.25), (129.5, 229.25), (600.5, 700.25), (621.5, 721.25), (627.5, 727.25)]
    assert np.allclose(source.points("JPCLN001", (2048, 2048)), 2 * np.array(expected))
    assert np.allclose(source.points("JPCLN001", (1024, 1024)), expected)
    assert source.scale("JPCLN001", np.zeros((6, 2)), (2048, 2048)) == pytest.approx((0.175, 0.175))
    assert source.scale("JPCLN001", np.zeros((6, 2)), (1024, 1024)) == pytest.approx((0.35, 0.35))
    assert source.images.read("JPCLN001").spacing == pytest.approx((5.6, 5.6))  # 64 pixels a side


def test_jsrt_contours_keep_their_order_beside_other_structures(jsrt: Maker) -> None:
    contours = read_contours(str(jsrt(["a"]) / "labels" / "a.pfs"))
    assert {name: len(points) for name, points in contours.items()} == {name: n for name, (n, _) in CONTOURS.items()}
    assert contours["left lung"][49] == (649.5, 749.25)


def test_jsrt_test_set_is_the_end_of_both_lists(tmp_path: Path) -> None:
    (tmp_path / "imgs").mkdir()
    names = [f"JPCLN{i:03d}" for i in range(1, 155)] + [f"JPCNN{i:03d}" for i in range(1, 94)]
    for name in names:
        (tmp_path / "imgs" / f"{name}.png").touch()
    split = only(Jsrt(str(tmp_path)).sources).split
    assert (len(split.train), len(split.test)) == (197, 50)
    assert split.test == tuple(names[154 - 32 : 154] + names[-18:])


def test_jsrt_takes_text_labels_of_ratios_too(jsrt: Maker) -> None:
    root = jsrt(["a", "b", "c"])
    for name in "abc":
        (root / "labels" / f"{name}.pfs").unlink()
        (root / "labels" / f"{name}.txt").write_text("6\n" + "0.5 0.25\n" * 6)
    source = only(Jsrt(str(root)).sources)
    assert source.points("a", (64, 64)).tolist() == [[32, 16]] * 6
    assert source.scale("a", np.zeros((6, 2)), (2048, 2048)) == pytest.approx((0.175, 0.175))


WIDE = "id,x0,y0,x1,y1\na0,1,2,3,4\na1.png,5,6,,\na2,7,8,9,10\na3,nan,nan,,\na4,1,1,2,2\n"
NAMED = "\ufeffimage;sella_x;sella_y;nasion_x;nasion_y\r\na0.png;1;2;3;4\r\na1;5;6;;\r\na2;7,0;8;9;10\r\na4;1;1;2;2\r\n"
LONG = "name,landmark,x,y\na0,A,1,2\na0,B,3,4\na1,A,5,6\na2,B,9,10\na2,A,7,8\na4,A,1,1\na4,B,2,2\n"


@pytest.mark.parametrize(
    ("table", "names"),
    [(WIDE, ("0", "1")), (NAMED, ("sella", "nasion")), (LONG, ("A", "B"))],
    ids=["wide", "named", "long"],
)
def test_own_tables_may_be_wide_or_long_and_have_gaps(plain: Maker, table: str, names: tuple[str, ...]) -> None:
    data = LandmarkFolder(str(plain(table)), shots=["a0"], test_fraction=0.25)
    source = only(data.sources)
    assert data.check() == []
    assert source.domain.landmarks == names
    assert source.points("a2", (50, 40)).tolist() == [[7, 8], [9, 10]]
    assert np.isnan(source.points("a1", (50, 40))[1]).all()
    assert [name for name in source.names if not source.labelled(name)] == ["a3", "a5"]
    assert {"a0", "a3", "a5"} <= set(source.split.train)
    assert len(source.split.test) == 1
    assert source.predict == ("a0", "a1", "a2", "a3", "a4", "a5")
    assert (source.domain.unit, source.scale("a0", np.zeros((2, 2)), (50, 40))) == ("px", (1.0, 1.0))


def test_own_table_tells_spacing_split_and_patients(plain: Maker) -> None:
    table = "id,x0,y0,spacing_x,spacing_y,split\n" + "".join(
        f"a{i},{i},{i},0.{i + 1},0.5,{part}\n" for i, part in enumerate(["train", "TEST", "val", "test", ""])
    )
    source = only(LandmarkFolder(str(plain(table))).sources)
    assert (source.split.train, source.split.val, source.split.test) == (("a0", "a4", "a5"), ("a2",), ("a1", "a3"))
    assert source.domain.unit == "mm"
    assert source.scale("a1", np.zeros((1, 2)), (50, 40)) == (0.2, 0.5)
    assert source.images.read("a1").spacing == (0.2, 0.5)
    fixed = only(LandmarkFolder(str(plain(table)), spacing=[0.3, 0.4]).sources)
    assert fixed.scale("a1", np.zeros((1, 2)), (50, 40)) == (0.3, 0.4)
    square = only(LandmarkFolder(str(plain(table)), spacing=0.3).sources)
    assert square.scale("a1", np.zeros((1, 2)), (50, 40)) == (0.3, 0.3)
    for spacing in (0.0, [0.1], [0.1, math.nan], [0.1, -1.0]):
        with pytest.raises(ConfigError, match=r"--data\.spacing"):
            LandmarkFolder("x", spacing=spacing)


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("1.2.840.1", "1.2.840.1"),  # the UIDs of DICOM have dots and no ending
        ("1.2.840.1", "1.2.840.1.PNG"),
        ("a0", "C:\\data\\a0.png"),
        ("a0", "images/a0.png"),
        (unicodedata.normalize("NFD", "Jürgen"), unicodedata.normalize("NFC", "Jürgen")),
    ],
)
def test_own_images_are_known_by_name_however_it_is_written(plain: Maker, file: str, told: str) -> None:
    root = plain(f"id,x0,y0\n{told},1,2\n", count=1)
    (root / "a0.png").rename(root / f"{file}.png")
    data = LandmarkFolder(str(root), shots=[told])
    assert data.check() == []
    assert only(data.sources).points(data.shot_ids[0][0], (50, 40)).tolist() == [[1, 2]]


def test_patients_of_packed_nifti_stay_together(tmp_path: Path) -> None:
    for i in range(8):
        array = np.random.default_rng(i).random((50, 40)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / f"n{i}.nii.gz")
    (tmp_path / "landmarks.csv").write_text("id,x0,y0\n" + "".join(f"n{i}.nii.gz,1,1\n" for i in range(8)))
    (tmp_path / "metadata.csv").write_text("id,patient\n" + "".join(f"n{i}.nii.gz,{i // 4}\n" for i in range(8)))
    split = only(LandmarkFolder(str(tmp_path)).sources).split
    assert {split.train, split.test} == {("n0", "n1", "n2", "n3"), ("n4", "n5", "n6", "n7")}


def test_a_table_may_lie_beside_the_images(plain: Maker) -> None:
    root = plain("id,x0,y0\na0,1,1\n")
    (root / "images").mkdir()
    for file in [*root.glob("*.png"), root / "landmarks.csv"]:
        file.rename(root / "images" / file.name)
    assert only(LandmarkFolder(str(root)).sources).labelled("a0")


def test_a_spacing_that_some_images_lack_is_told(plain: Maker) -> None:
    domain = only(LandmarkFolder(str(plain("id,x0,y0,spacing\na0,1,1,0.1\na1,1,1,\n"))).sources).domain
    assert domain.unit == "px"
    assert domain.note == "pixels of the original image; 1 of 2 have no spacing, such as a1"


TWO = "id,annotator,landmark,x,y\na0,R,A,1,2\na0,S,A,3,6\na0,R,B,5,5\na1,S,A,8,8\n"


def test_own_table_of_two_annotators_gives_their_mean_and_both(plain: Maker) -> None:
    root = plain(TWO)
    source = only(LandmarkFolder(str(root)).sources)
    assert source.points("a0", (50, 40)).tolist() == [[2, 4], [5, 5]]
    assert source.domain.note.endswith("ground truth: mean of R and S")
    pair = source.observers("a0", (50, 40))
    assert pair is not None
    np.testing.assert_array_equal(pair[0], [[1, 2], [5, 5]])
    np.testing.assert_array_equal(pair[1], [[3, 6], [np.nan, np.nan]])
    assert source.observers("a1", (50, 40)) is None
    one = only(LandmarkFolder(str(root), annotator="S").sources)
    assert one.points("a0", (50, 40))[0].tolist() == [3, 6]
    assert one.domain.note.endswith("ground truth: S")
    with pytest.raises(ConfigError, match=r"--data\.annotator: no labels of 'T'; known: R, S"):
        _ = LandmarkFolder(str(root), annotator="T").sources


def test_rows_of_two_annotators_may_be_wide(plain: Maker) -> None:
    root = plain("id,x0,y0,annotator\na0,1,2,R\na0,3,6,S\n")
    assert only(LandmarkFolder(str(root)).sources).points("a0", (50, 40)).tolist() == [[2, 4]]


def test_own_unlabelled_images_of_a_test_patient_are_not_trained_on(plain: Maker) -> None:
    table = "id,x0,y0\n" + "".join(f"a{i},1,1\n" for i in range(4))
    root = plain(table)
    (root / "metadata.csv").write_text("name,patient\n" + "".join(f"a{i},{i % 2}\n" for i in range(6)))
    split = only(LandmarkFolder(str(root), shots=["a0"], test_fraction=0.5).sources).split
    assert split.test == ("a1", "a3")
    assert split.train == ("a0", "a2", "a4")  # a5 is unlabelled and of the patient who is tested


def test_images_without_any_table_can_only_be_predicted(plain: Maker) -> None:
    data = LandmarkFolder(str(plain(None)), size=32, batch_size=4)
    data.setup("predict")
    batches = list(data.predict_dataloader())
    assert [name for batch in batches for name in batch["id"]] == [f"a{i}" for i in range(6)]
    assert "landmarks" not in batches[0]
    assert data.test_dataloader() == []
    with pytest.raises(ConfigError, match="no training images"):
        data.train_dataloader()


@pytest.mark.parametrize("layout", ["chest", "hand", "head", "plain"])
def test_any_folder_can_be_an_external_cohort(request: pytest.FixtureRequest, layout: str) -> None:
    make = request.getfixturevalue(layout)
    data = {
        "chest": lambda: Chest(str(make(7)), all_test=True, name="other"),
        "hand": lambda: HandAtlas(str(make(7)), all_test=True, name="other"),
        "head": lambda: Cephalometric(str(make({"raw": NUMBERS}, MD)), all_test=True, name="other"),
        "plain": lambda: LandmarkFolder(str(make(WIDE)), all_test=True, name="other"),
    }[layout]()
    source = only(data.sources)
    assert not source.split.train
    assert len(source.split.test) == {"chest": 7, "hand": 7, "head": 9, "plain": 4}[layout]
    assert data.shot_ids == ((),)
    assert source.domain.name == "other"
    assert data.check("test") == []


def test_only_values_that_no_network_could_see_are_stretched(tmp_path: Path) -> None:
    from PIL import Image

    ramp = np.tile(np.arange(20, 180, 4), (30, 1))
    Image.fromarray(ramp.astype(np.uint8)).save(tmp_path / "eight.png")
    Image.fromarray((ramp * 16).astype(np.uint16)).save(tmp_path / "twelve.png")  # 12 bits in 16: at most 0.044
    images = FileImages({name: str(tmp_path / f"{name}.png") for name in ("eight", "twelve")})
    assert np.allclose(images.read("eight").array, ramp / 255)
    assert np.allclose(images.read("twelve").array, (ramp - 20) / 156, atol=1e-6)


def test_leg_points_move_to_the_pixels_of_the_copies_and_spacing_is_told_y_first(leg: Maker) -> None:
    data = Bmple(str(leg()))
    source = only(data.sources)
    assert data.check() == []
    assert (source.split.train, source.split.test) == (("002", "010", "118"), ("test-1", "test-2"))
    assert data.shot_ids == (("118",),)
    points = source.points("118", (48, 96))
    assert points.shape == (20, 2)
    kept = np.array([*range(10), *range(13, 23)])
    np.testing.assert_allclose(points, (np.stack([100 + kept, 200 + 2 * kept], 1) + 0.5) / 10 - 0.5)
    assert source.scale("118", points, (48, 96)) == pytest.approx((1.0, 2.0)), "mm per pixel along x and y"
    assert source.images.read("118").spacing == pytest.approx((1.0, 2.0))


def test_leg_test_sets_are_those_of_their_lists(leg: Maker) -> None:
    root = leg(train=[1, 118], test1=[3, 4, 5])
    (root / "test1.json").write_text("[5, 3]")
    assert only(Bmple(str(root), test_set="test1").sources).split.test == ("test1-5", "test1-3")
    assert Bmple(str(root), test_set="test1", shots=[1]).shot_ids == (("001",),)
    with pytest.raises(ConfigError, match="test_set"):
        Bmple(str(root), test_set="train")  # type: ignore[arg-type]


def test_head_with_both_doctors_tells_how_far_they_are_apart(head: Maker) -> None:
    root = head({"raw": NUMBERS}, MD)
    for gt in ("mean", "senior"):
        data = Cephalometric(str(root), gt=gt)  # type: ignore[arg-type]
        (name, errors), *more = observer_errors(data).items()
        assert (name, more) == ("head", [])
        assert errors.shape == (4, 19), "of the test images"
        np.testing.assert_allclose(errors, 0.1 * np.hypot(4, 2), rtol=1e-6)
    (root / MD["junior"] / "300.txt").unlink()
    assert observer_errors(Cephalometric(str(root), gt="senior"))["head"].shape == (3, 19)


def test_data_of_one_annotator_has_no_line_of_two(head: Maker, chest: Maker) -> None:
    assert observer_errors(Cephalometric(str(head({"raw": NUMBERS}, {"senior": "400_senior"})), gt="senior")) == {}
    assert observer_errors(Chest(str(chest(6)))) == {}
