"""Points and spacings that cannot be, labels that are not read, and names that nearly fit: all told by the check."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io.point_tables import read_labels
from medzoo.landmark.data import Bmple, Cephalometric, Chest, HandAtlas, Jsrt, LandmarkFolder

Maker = Callable[..., Path]
_HEAD_LABELS = {"junior": "AnnotationsByMD/400_junior", "senior": "AnnotationsByMD/400_senior"}


def only_fault(root: Path, stage: Any = None, **options: Any) -> str:
    faults = LandmarkFolder(str(root), **options).check(stage)
    assert len(faults) == 1, faults
    assert "\n" not in str(faults[0])
    return str(faults[0])


def test_points_at_the_origin_are_told_once_with_their_number(plain: Maker) -> None:
    root = plain("id,a_x,a_y,b_x,b_y\na0,5,6,7,8\na1,0,0,7,8\na2,5,6,0,0\na3,0,6,7,0\n")
    message = only_fault(root)
    assert message.startswith(f"{root / 'landmarks.csv'}:3: 2 points of 2 images are at exactly (0, 0), the first is ")
    assert "landmark 1 (a) of image a1; leave the cell empty" in message
    (root / "landmarks.csv").write_text("id,a_x,a_y,b_x,b_y\na0,5,6,7,8\na1,,,7,8\na2,5,6,,\na3,0,6,7,0\n")
    assert LandmarkFolder(str(root)).check() == []


def test_points_at_the_origin_of_text_files_are_told_too(chest: Maker) -> None:
    root = chest(6)
    file = root / "labels" / "p002.txt"
    file.write_text("6\n0.1 0.1\n0 0\n" + "0.5 0.6\n0.2 0.3\n0.4 0.4\n0.6 0.7\n")
    (fault,) = Chest(str(root)).check()
    assert str(fault).startswith(f"{file}:3: landmark 2 (right costophrenic angle) of image p002 is at ")


def test_all_points_of_an_image_at_one_place_are_told(plain: Maker) -> None:
    root = plain("id,a_x,a_y,b_x,b_y\na0,5,6,7,8\na1,5,5,5,5\na2,5,5,,\n")
    message = only_fault(root)
    assert message.startswith(f"{root / 'landmarks.csv'}:3: has all 2 landmarks of image a1 at one point, (5, 5); ")


@pytest.mark.parametrize("columns", ["spacing_x,spacing_y", "spacing"])
@pytest.mark.parametrize(("value", "unit"), [("143", "micrometres"), ("0.000143", "metres")])
def test_spacings_that_are_no_millimetres_are_told_once(plain: Maker, columns: str, value: str, unit: str) -> None:
    cells = ",".join([value] * len(columns.split(",")))
    rows = "".join(f"a{i},{cells},{5 + i},6\n" for i in range(4))
    root = plain(f"id,{columns},a_x,a_y\n{rows}")
    message = only_fault(root)
    assert message.startswith(f"{root / 'landmarks.csv'}:2: has {float(value):g} x {float(value):g} mm a pixel")
    assert unit in message
    assert "(and so have 3 more images); correct it, or give --data.spacing in mm per pixel" in message
    assert LandmarkFolder(str(root), spacing=0.143).check() == []
    with pytest.raises(ConfigError, match=r"--data\.spacing has 143 x 143 mm a pixel"):
        LandmarkFolder(str(root), spacing=143)


def test_a_spacing_in_the_images_themselves_is_looked_at_also_before_a_prediction(plain: Maker) -> None:
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    root = plain(None, count=0)
    root.mkdir()
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3"
    data = FileDataset(str(root / "x.dcm"), {}, file_meta=meta, preamble=b"\0" * 128)
    data.Modality, data.SamplesPerPixel, data.PhotometricInterpretation = "DX", 1, "MONOCHROME2"
    data.Rows, data.Columns, data.BitsAllocated, data.BitsStored, data.HighBit = 40, 50, 16, 16, 15
    data.PixelRepresentation, data.PixelSpacing = 0, [143, 143]
    data.PixelData = np.arange(2000, dtype=np.uint16).tobytes()
    pydicom.dcmwrite(root / "x.dcm", data, enforce_file_format=True)
    (root / "landmarks.csv").write_text("id,a_x,a_y\nx,5,6\n")
    for stage in (None, "predict"):
        message = only_fault(root, stage)
        assert message.startswith(f"{root / 'x.dcm'}: ")
        assert "143" in message
    (root / "landmarks.csv").unlink()
    (root / "x.dcm").rename(root / "IM000001")
    assert "143" in only_fault(root, "predict"), "read without an ending too, as scanners write them"


@pytest.mark.parametrize("written", ["A1", "A1.PNG"])
def test_a_name_in_another_case_is_what_was_meant(plain: Maker, written: str) -> None:
    assert "there is no image A1; did you mean a1?" in only_fault(plain(f"id,x0,y0\na0,1,1\n{written},2,2\n"))
    with pytest.raises(ConfigError, match="did you mean a3"):
        LandmarkFolder(str(plain("id,x0,y0\na3,1,1\n")), shots=["A3"]).check()


def test_a_test_image_that_is_a_training_image_is_told(plain: Maker) -> None:
    root = plain("id,x0,y0,split\na0,1,1,train\na1,2,2,train\na2,1,3,test\n")
    shutil.copy(root / "a1.png", root / "a2.png")
    message = only_fault(root)
    assert message.startswith(f"{root / 'a2.png'}: is, byte for byte, the training image {root / 'a1.png'}; ")


def test_validation_images_are_drawn_where_the_table_names_none(plain: Maker) -> None:
    """By patient, from the training images with a label; the test images stay those of the table."""
    rows = [("a0", "p", "train"), ("a1", "p", "train"), ("a2", "q", "train"), ("a3", "q", "train"), ("a4", "r", "test")]
    cells = [f"{name},{'' if name == 'a3' else '1,1'},{who},{part}".replace(",,", ",,,") for name, who, part in rows]
    root = plain("\n".join(["id,x0,y0,patient,split", *cells, ""]), 5)
    for seed in range(4):
        (source,) = LandmarkFolder(str(root), val_fraction=0.4, seed=seed).sources
        assert source.split.test == ("a4",)
        assert (source.split.train, source.split.val) in {(("a0", "a1"), ("a2",)), (("a2", "a3"), ("a0", "a1"))}
    root = plain((root / "landmarks.csv").read_text().replace("p,train", "p,val"), 5)
    (source,) = LandmarkFolder(str(root), val_fraction=0.4).sources
    assert source.split.val == ("a0", "a1")


FORMS = {
    "fcsv": (("a0.fcsv", "a1.fcsv", "a2.fcsv", "a3.fcsv"), "4 files that look like labels", "such as a0.fcsv"),
    "slicer": (("F.mrk.json",), "F.mrk.json: looks like labels", "landmarks.csv"),
    "other tool": (("a0.json", "a1.json"), "2 files that look like labels", "id,landmark,x,y"),
    "text": (("a0.txt", "a1.txt"), "2 files that look like labels", "such as a0.txt"),
    "sheet": (("landmarks.xlsx",), "landmarks.xlsx: looks like labels", "id,landmark,x,y"),
    "sub-folder": (("labels/landmarks.csv",), "labels/landmarks.csv: looks like labels", "move such files into"),
    "labelme sub-folder": (("ann/a0.json", "ann/a1.json"), "such as ann/a0.json", "move such files into"),
}


@pytest.mark.parametrize("form", FORMS)
def test_labels_that_are_not_read_are_named_with_the_cure(plain: Maker, form: str) -> None:
    files, word, cure = FORMS[form]
    root = plain(None)
    (root / "README.txt").write_text("made by me")
    assert "looks like" not in "".join(map(str, LandmarkFolder(str(root)).check()))
    for name in files:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text('{"markups": []}' if name.endswith("json") else "1,2,3")
    for stage in (None, "fit"):
        message = only_fault(root, stage)
        assert word in message
        assert "not read" in message
        assert cure in message
    assert LandmarkFolder(str(root)).check("predict") == []
    (root / "landmarks.csv").write_text("id,x0,y0\na0,1,1\na1,1,2\n")
    assert LandmarkFolder(str(root)).check() == []


def test_images_in_another_place_are_named(plain: Maker) -> None:
    root = plain("id,x0,y0\na0,1,1\na1,2,2\n")
    (root / "masks").mkdir()
    shutil.copy(root / "a0.png", root / "masks" / "a0.png")  # a companion of an image at hand
    (root / ".ipynb_checkpoints").mkdir()
    shutil.copy(root / "a0.png", root / ".ipynb_checkpoints" / "z.png")
    (root / "._a0.png").write_bytes(b"Mac OS X")
    (root / "._landmarks.csv").write_bytes(b"Mac OS X")
    assert LandmarkFolder(str(root)).check() == []
    run = root / "runs" / "uod" / "0"
    (run / "figures").mkdir(parents=True)
    shutil.copy(root / "a0.png", run / "figures" / "curves.png")
    for name in ("config.yaml", "environment.json"):
        (run / name).write_text("{}")
    assert LandmarkFolder(str(root)).check() == []
    (root / "more").mkdir()
    (root / "a5.png").rename(root / "more" / "a5.png")
    assert only_fault(root).startswith(f"{root / 'more'}: holds images one level down that are not read, such as more/")
    shutil.rmtree(root / "more")
    (root / "images").mkdir()
    (root / "a4.png").rename(root / "images" / "a4.png")
    message = next(str(fault) for fault in LandmarkFolder(str(root)).check() if "beside images/" in str(fault))
    assert "a0.png: is one of 4 images beside images/ that are not read" in message
    empty = root / "top"
    (empty / "deep").mkdir(parents=True)
    shutil.copy(root / "a0.png", empty / "deep" / "a0.png")
    assert "holds no image itself; there are some one level down" in only_fault(empty)


def test_a_table_of_a_third_of_a_million_names_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "landmarks.csv"
    path.write_text("id,landmark,x,y\n" + "".join(f"a,{i},1,2\n" for i in range(300_000)))
    start = time.process_time()
    with pytest.raises(DataError, match="has 300000 different landmarks, expected at most 5000"):
        read_labels(path)
    assert time.process_time() - start < 10  # it took minutes
    path.write_text("id,landmark,x,y,annotator\n" + "".join(f"a{i},p,1,2,r{i}\n" for i in range(200)))
    with pytest.raises(DataError, match="has 200 annotators, expected at most 100"):
        read_labels(path)


@pytest.mark.parametrize("count", [12_000, 600_000])
def test_a_table_of_very_many_columns_is_refused_at_once(tmp_path: Path, count: int) -> None:
    path = tmp_path / "landmarks.csv"
    path.write_text("id," + ",".join(f"x{i},y{i}" for i in range(count)) + "\n")
    start = time.process_time()
    with pytest.raises(DataError, match=r"columns, expected at most|header line of more than"):
        read_labels(path)
    assert time.process_time() - start < 5


def test_a_wide_table_of_thousands_of_landmarks_is_read_in_linear_time(tmp_path: Path) -> None:
    path, count = tmp_path / "landmarks.csv", 4000
    path.write_text(
        "id," + ",".join(f"x{i},y{i}" for i in range(count)) + "\n" + "a," + ",".join(["1,2"] * count) + "\n"
    )
    start = time.process_time()
    assert read_labels(path).points["a"].shape == (count, 2)
    assert time.process_time() - start < 2


def test_thousands_of_labels_without_an_image_are_told_in_seconds(plain: Maker) -> None:
    root = plain("id,x0,y0\n" + "".join(f"image_{i:05},1,1\n" for i in range(20_000)))
    start = time.process_time()
    assert len(LandmarkFolder(str(root)).check()) == 20_000
    assert time.process_time() - start < 10


def coco(**changes: Any) -> dict[str, Any]:
    images = [{"id": i, "file_name": f"a{i}.png"} for i in range(3)]
    rows = [{"id": i, "image_id": i, "category_id": 1, "keypoints": [5 + i, 6, 2, 7, 8, 1]} for i in range(3)]
    content = {"images": images, "annotations": rows, "categories": [{"id": 1, "keypoints": ["a", "b"]}]}
    return {**content, **changes}


def write(root: Path, content: Any, name: str = "export.json") -> None:
    (root / name).write_text(json.dumps(content))


def test_whole_numbers_are_one_id_however_they_are_written(plain: Maker) -> None:
    root, content = plain(None), coco()
    for row in content["annotations"]:
        row["image_id"], row["category_id"] = float(row["image_id"]), 1.0
    write(root, content)
    data = LandmarkFolder(str(root))
    assert data.check() == []
    np.testing.assert_array_equal(data.sources[0].points("a2", (50, 40)), [[7, 6], [7, 8]])
    content["annotations"][1]["image_id"] = 1.5
    write(root, content)
    assert "there is no image of id 1.5" in only_fault(root)


@pytest.mark.parametrize(
    "more",
    [
        {"image_id": 1, "category_id": 1, "keypoints": [0] * 6, "num_keypoints": 0},
        {"image_id": 1, "category_id": 1, "keypoints": [], "num_keypoints": 0},
        {"image_id": 1, "category_id": 1, "keypoints": [9, 9, 2, 9, 8, 2], "iscrowd": 1},
    ],
    ids=["all missing", "none", "crowd"],
)
def test_annotations_without_a_keypoint_and_crowds_are_passed_over(plain: Maker, more: dict[str, Any]) -> None:
    root = plain(None)
    for place in (0, 3):
        content = coco()
        content["annotations"].insert(place, more)
        write(root, content)
        data = LandmarkFolder(str(root))
        assert data.check() == []
        np.testing.assert_array_equal(data.sources[0].points("a1", (50, 40)), [[6, 6], [7, 8]])


BOXES = {
    "images": [],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}],
    "categories": [{"id": 1, "name": "lung"}],
}


def test_boxes_beside_labels_are_passed_over(plain: Maker) -> None:
    root = plain(None)
    write(root, BOXES, "boxes.json")
    assert "0 categories with names of keypoints" in only_fault(root)
    write(root, coco())
    assert LandmarkFolder(str(root)).check() == []
    (root / "export.json").unlink()
    (root / "landmarks.csv").write_text("id,x0,y0\na0,1,1\na1,2,1\n")
    assert LandmarkFolder(str(root)).check() == []


def test_images_a_level_down_are_told_in_the_fixed_layouts_too(
    head: Maker, chest: Maker, hand: Maker, jsrt: Maker, leg: Maker
) -> None:
    roots = {
        Cephalometric: head({"RawImage/TrainingData": [1, 2, 126], "RawImage/Test1Data": [151, 152]}, _HEAD_LABELS),
        Chest: chest(6),
        HandAtlas: hand(8),
        Jsrt: jsrt([f"JPCLN{i:03d}" for i in range(30, 40)]),
        Bmple: leg(),
    }
    for layout, root in roots.items():
        assert layout(str(root)).check() == []
        first = next(file for file in sorted(root.rglob("*.*")) if file.suffix in (".bmp", ".png", ".jpg"))
        inner = first.parent / "more"
        inner.mkdir()
        shutil.copy(first, inner / f"zz{first.suffix}")
        for stage in (None, "fit", "test"):
            (fault,) = layout(str(root)).check(stage)
            assert str(fault).startswith(f"{inner}: holds images one level down that are not read, such as more/zz")
