"""`medzoo convert`: every format back and forth within a hundredth of a pixel; the marks of each program."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medzoo.core.cli import main
from medzoo.core.convert.read import Found, read
from medzoo.core.convert.write import WRITERS
from medzoo.core.io import read_json, write_image
from medzoo.core.io.point_tables import LabelTable
from medzoo.core.phantoms import radiograph

ROOT = Path(__file__).parents[3]
PLACES = st.one_of(st.none(), st.tuples(st.floats(-3, 4000), st.floats(-3, 4000)))
NAMES = st.lists(st.sampled_from(["sella", "nasion, left", "Gonion ü", "7", "a<b&c"]), min_size=1, unique=True)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images, of which the second has a spacing."""
    folder = tmp_path_factory.mktemp("images")
    write_image(folder / "im.1.png", np.zeros((40, 50)))
    write_image(folder / "film.png", np.zeros((30, 20)), (0.25, 0.5))
    return folder


@settings(max_examples=12, deadline=None)
@given(st.data())
@pytest.mark.parametrize("form", WRITERS)
def test_points_come_back_within_a_hundredth_of_a_pixel(form: str, images: Path, data: st.DataObject) -> None:
    names = data.draw(NAMES)
    points = [[data.draw(PLACES) for _ in names] for _ in range(2)]
    points[0][0] = (1.25, 2.5)  # one point at least
    table = LabelTable(tuple(names))
    for name, drawn in zip(("im.1", "film"), points, strict=True):
        table.points[name] = np.array([place or (np.nan, np.nan) for place in drawn])
    found = Found(table, "here", {name: str(images / f"{name}.png") for name in table.points})
    with tempfile.TemporaryDirectory() as place:
        writer, ending = WRITERS[form]
        out = Path(place, f"out{ending}")
        assert writer(found, out) == 2
        back = read(out, images).table
    for name, places in table.points.items():
        for k, landmark in enumerate(names):
            if landmark not in back.landmarks:  # of no image
                assert np.isnan([values[k] for values in table.points.values()]).all()
                continue
            row = back.points.get(name, np.full((len(back.landmarks), 2), np.nan))[back.landmarks.index(landmark)]
            np.testing.assert_allclose(row, places[k], rtol=0, atol=0.01, equal_nan=True)


@pytest.fixture
def labels(workdir: Path) -> Path:
    """One table with a missing point, and its images."""
    write_image("set/a.png", np.zeros((40, 50)), (0.25, 0.5))
    write_image("set/b.png", np.zeros((40, 50)))
    Path("set/landmarks.csv").write_text("id,landmark,x,y\na,sella,10,20\na,nasion,4.5,6\nb,sella,1,2\n")
    return workdir


def convert(*words: str) -> int:
    return main(["convert", *words])


def test_labelme_and_cvat_count_from_the_corner_and_coco_as_medzoo_does(labels: Path) -> None:
    assert convert("set", "--to", "labelme", "-o", "me") == 0
    told = read_json("me/a.json")
    assert [(s["label"], s["points"], s["shape_type"]) for s in told["shapes"]] == [
        ("sella", [[10.5, 20.5]], "point"),
        ("nasion", [[5.0, 6.5]], "point"),
    ]
    assert (told["imagePath"], told["imageHeight"], told["imageWidth"]) == ("../set/a.png", 40, 50)
    assert len(read_json("me/b.json")["shapes"]) == 1
    assert convert("set/landmarks.csv", "--to", "cvat", "-o", "all.xml") == 0
    image = ElementTree.fromstring(Path("all.xml").read_bytes()).find("image")
    assert image is not None
    assert (image.get("name"), image.get("width"), image.get("height")) == ("a.png", "50", "40")
    assert {p.get("label"): p.get("points") for p in image} == {"sella": "10.5000,20.5000", "nasion": "5.0000,6.5000"}
    assert convert("me", "--to", "coco", "-o", "all.json", "--images", "set") == 0
    told = read_json("all.json")
    assert [c["keypoints"] for c in told["categories"]] == [["nasion", "sella"]]
    assert told["annotations"][1]["keypoints"] == [0, 0, 0, 1.0, 2.0, 2]
    assert told["annotations"][0]["keypoints"] == [4.5, 6.0, 2, 10.0, 20.0, 2]


@pytest.mark.parametrize("form", ["coco", "cvat", "csv"])
def test_images_of_two_folders_that_are_called_alike_are_two_in_one_file(form: str, workdir: Path) -> None:
    """As `medzoo predict CKPT a b` names them; of both the file name, none of them could be read back."""
    for folder in "ab":
        write_image(f"{folder}/film.png", np.zeros((30, 20)))
    points = {"film": np.array([[1.0, 2.0]]), "film-12345678": np.array([[3.0, 4.0]])}
    found = Found(LabelTable(("apex",), points), "", {"film": "a/film.png", "film-12345678": "b/film.png"})
    writer, ending = WRITERS[form]
    writer(found, Path(f"out{ending}"))
    back = read(Path(f"out{ending}")).table.points
    assert {name: place.tolist() for name, place in back.items()} == {
        "film": [[1.0, 2.0]],
        "film-12345678": [[3.0, 4.0]],
    }


def test_slicer_has_lps_millimetres_and_reads_ras_too(labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert("set", "--to", "slicer", "-o", "marks") == 0
    assert "LPS millimetres, 1 mm a pixel for 1 images" in capsys.readouterr().out
    told = read_json("marks/a.mrk.json")["markups"][0]
    assert (told["coordinateSystem"], told["coordinateUnits"], told["type"]) == ("LPS", "mm", "Fiducial")
    places = {p["label"]: p["position"] for p in told["controlPoints"]}
    assert places["sella"] == pytest.approx([2.5, 10.0, 0.0], abs=1e-3)
    missing = read_json("marks/b.mrk.json")["markups"][0]["controlPoints"][1]
    assert (missing["label"], missing["positionStatus"]) == ("nasion", "undefined")
    told["coordinateSystem"] = "RAS"
    for point in told["controlPoints"]:
        point["position"] = [-point["position"][0], -point["position"][1], 0.0]
    Path("ras.mrk.json").write_text(json.dumps({"markups": [told]}))
    Path("ras.mrk.json").rename("marks/a.mrk.json")
    assert convert("marks", "--to", "csv", "-o", "back.csv", "--images", "set") == 0
    back = read(Path("back.csv"), Path("set")).table
    np.testing.assert_allclose(back.points["a"], np.array([[10.0, 20.0], [4.5, 6.0]]), atol=0.01)
    assert convert("marks/b.mrk.json", "--to", "csv", "-o", "half.csv", "--spacing", "0.5") == 0
    np.testing.assert_allclose(read(Path("half.csv")).table.points["b"][0], [2, 4])


def test_points_of_a_skeleton_of_cvat_are_landmarks_and_those_outside_are_missing(workdir: Path) -> None:
    points = '<points label="a" points="3.5,4.5" outside="0"/><points label="b" points="0,0" outside="1"/>'
    box = '<box label="c" xtl="0" ytl="0" xbr="3" ybr="3"/>'
    image = f'<image id="0" name="in/x.png" width="9" height="8"><skeleton label="s">{points}</skeleton>{box}</image>'
    Path("task.xml").write_text(f"<annotations><version>1.1</version>{image}</annotations>")
    table = read(Path("task.xml")).table
    assert table.landmarks == ("a", "b")
    assert table.sizes == {"x": (9, 8)}
    np.testing.assert_array_equal(table.points["x"], [[3, 4], [np.nan, np.nan]])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotations/>', "defines a document type"),
        ("x.xml", "<annotations>", "cannot be read as XML"),
        (
            "x.xml",
            '<annotations><image name="a"><points label="p" points="1,2;3,4"/></image></annotations>',
            "one place",
        ),
        ("x.json", '{"predictions": [{"id": "a", "score": 1}]}', "holds no landmarks"),
        ("x.mrk.json", '{"markups": [{"coordinateSystem": "IJK", "controlPoints": []}]}', "expected LPS or RAS"),
        (
            "x.mrk.json",
            '{"markups": [{"controlPoints": [{"label": "a", "position": [1, "2", 0]}]}]}',
            "expected numbers",
        ),
        ("x.csv", "id,landmark,x,y\na,p,,\n", "holds no point"),
        ("x.txt", "a", "holds no landmarks"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    name: str, text: str, message: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(name).write_text(text)
    assert convert(name, "--to", "csv", "-o", "out.csv") == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said
    assert not Path("out.csv").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["set", "--to", "labelme"], "needs one A, and -o B"),
        (["set", "--to", "label", "-o", "x"], "--to: expected labelme, coco, cvat, slicer, csv"),
        (["set", "--to", "coco", "-o", "x"], "expected a file that ends in .json"),
        (["set", "--to", "csv", "-o", "set/landmarks.csv"], "exists; name another"),
        (["none", "--to", "csv", "-o", "x.csv"], "none: does not exist"),
        (["set", "--to", "slicer", "-o", "x", "--spacing", "-1"], "--spacing -1"),
    ],
)
def test_wrong_words_are_one_line(
    words: list[str], message: str, labels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(*words) == 2
    assert message in capsys.readouterr().err


def test_nothing_is_overwritten_and_labelme_needs_its_images(labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("set/b.png").rename("b.png")
    assert convert("set", "--to", "labelme", "-o", "me") == 2
    assert "needs the image b" in capsys.readouterr().err
    assert not Path("me").exists()
    Path("b.png").rename("set/b.png")
    assert convert("set", "--to", "labelme", "-o", "me") == 0
    before = Path("me/a.json").read_bytes()
    assert convert("set", "--to", "labelme", "-o", "me") == 2
    assert Path("me/a.json").read_bytes() == before


def test_torch_is_not_needed(labels: Path) -> None:
    words = ["convert", "set", "--to", "slicer", "-o", "marks"]
    heavy = "{'torch', 'lightning', 'matplotlib', 'jsonargparse'} & set(sys.modules)"
    code = f"import sys; from medzoo.core.cli import main; c = main({words!r}); sys.exit(99 if {heavy} else c)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_predict_correct_and_train_again_in_the_three_commands_of_the_docs(workdir: Path) -> None:
    page = (ROOT / "docs/annotate.md").read_text(encoding="utf8")
    block = next(re.finditer(r"^```\n(medzoo predict.*?)^```", page, re.DOTALL | re.MULTILINE))[1]
    commands = [shlex.split(line) for line in block.splitlines() if line]
    assert [command[1] for command in commands] == ["predict", "convert", "fit"]
    small = "--model.size 32 --model.width 4 --model.decoder_width 8 --model.steps 40 --quiet --trainer.accelerator cpu"
    first = (
        "--model heatmap --data.domains [hand] --data.n_train 3 --data.n_test 1 --data.image_size 48 --run_dir first"
    )
    assert main(["fit", *first.split(), *small.split()]) == 0
    Path("first").rename("RUN")
    for seed in range(3):
        write_image(f"NEW/im{seed}.png", radiograph("hand", seed, 64).image)
    for command in commands:
        assert main([*command[1:], *(small.split() if command[1] == "fit" else [])]) == 0, command
        if command[1] == "convert":  # somebody corrects a point
            told = read_json("NEW/im0.json")
            told["shapes"][0]["points"] = [[12.5, 33.5]]
            Path("NEW/im0.json").write_text(json.dumps(told))
    (run,) = Path("runs/heatmap/landmark-folder").iterdir()
    assert (run / "checkpoints/last.ckpt").is_file()
    corrected = read(Path("NEW")).table
    label = read_json("NEW/im0.json")["shapes"][0]["label"]
    assert corrected.points["im0"][corrected.landmarks.index(label)].tolist() == [12.0, 33.0]
