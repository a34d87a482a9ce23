"""`medzoo predict CKPT PATH …`: the answers of a data module, file by file; a bad file ends nothing."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from medzoo.core import Predictor
from medzoo.core.cli import main
from medzoo.core.errors import CheckpointError, ConfigError, DataError
from medzoo.core.files.ledger import Ledger
from medzoo.core.io import read_image
from medzoo.core.io.nifti_out import write_nifti
from medzoo.core.phantoms import radiograph

CLASSES = "--model classifier --data.train 12 --data.val 6 --data.test 6 --model.size 32 --model.epochs 1"
POINTS = "--model heatmap --data.domains [hand] --data.n_train 4 --data.n_test 2 --data.image_size 48 --model.size 32"
IMAGES = "--model padim --data.train 3 --data.test 4 --data.pixels 64 --data.shots 3 --data.test_categories [gear]"
VOLUMES = "--model normnet --data.train 2 --data.val 1 --data.test 2 --data.size [16,20,24] --model.widths [2,4]"
MASKS = "--model segmenter --data.train 8 --data.val 4 --data.test 4 --data.pixels 32 --model.size 32 --model.width 2"
FITS = {
    "classes": CLASSES,
    "masks": f"{MASKS} --model.depth 2 --trainer.max_steps 20",
    "points": f"{POINTS} --model.width 2 --model.decoder_width 4 --trainer.max_epochs 1",
    "images": f"{IMAGES} --model.channels 10 --model.size [64,64] --model.widths [8,12,16]",
    "volumes": f"{VOLUMES} --model.patch [8,8,8] --trainer.max_epochs 1",
}
CKPT = "fit/checkpoints/last.ckpt"


def fit(task: str) -> None:
    assert main(["fit", *FITS[task].split(), "--run_dir", "fit", "--quiet"]) == 0


def pictures(folder: str, count: int = 3, colour: bool = False) -> list[str]:
    Path(folder).mkdir(parents=True)
    paths = []
    for k in range(count):
        array = (radiograph("hand", k, 60 + k).image * 255).astype(np.uint8)[:, : 50 + k]
        paths.append(f"{folder}/im{k}.png")
        Image.fromarray(np.stack([array] * 3, -1) if colour else array).save(paths[-1])
    return paths


def records(folder: str) -> list[dict[str, Any]]:
    return list(json.loads(Path(folder, "predictions.json").read_text())["predictions"])


def other_way(task: str, paths: list[str]) -> list[str]:
    """The data module that reads the same files, as options of a prediction."""
    if task == "points":
        return ["--data", "landmark-folder", "--data.root", "new", "--data.name", "hand"]
    if task == "images":
        Path("data/gear/train").mkdir(parents=True)
        Path("data/gear/test").mkdir()
        pictures("data/gear/train/good", 1, colour=True)
        Path("new").rename("data/gear/test/good")
        paths[:] = [path.replace("new/", "data/gear/test/good/") for path in paths]
        return ["--data", "mvtec-folder", "--data.root", "data"]
    if task == "volumes":
        return ["--data", "nifti-volumes", "--data.root", "."]
    if task == "masks":
        Path("data").mkdir()
        Path("new").rename("data/images")
        pictures("data/masks")
        paths[:] = [path.replace("new/", "data/images/") for path in paths]
        parts = ["--data.test_fraction", "0.9", "--data.val_fraction", "0"]
        return ["--data", "masks-folder", "--data.root", "data", *parts]
    for name in ("clear", "mesh", "nodules"):
        pictures(f"data/{name}", 4)
    return ["--data", "classes-folder", "--data.root", "data", "--data.predict", "new"]


def chest() -> np.ndarray[Any, np.dtype[np.float32]]:
    """HU of a body with two lungs and a lesion, `(24, 40, 44)`."""
    z, y, x = np.mgrid[0:24, 0:40, 0:44]
    body = ((y - 20) / 18) ** 2 + ((x - 22) / 20) ** 2 < 1
    lungs = (((y - 20) / 10) ** 2 + ((np.abs(x - 22) - 9) / 6) ** 2 + ((z - 12) / 10) ** 2) < 1
    hu = np.where(body, 40.0, -1000.0)
    hu[lungs] = -850
    hu[10:14, 18:22, 29:33] = -100
    return hu.astype(np.float32)


@pytest.mark.parametrize("task", FITS)
def test_the_answers_are_those_of_a_data_module_that_reads_the_same_files(task: str, workdir: Path) -> None:
    fit(task)
    if task == "volumes":
        paths = ["image/v.nii.gz"]
        write_nifti(Path(paths[0]), chest(), None, (4, 4, 4))
    else:
        paths = pictures("new", colour=task == "images")
    data = other_way(task, paths)
    assert (
        main(["predict", "--ckpt_path", CKPT, *data, "--data.batch_size", "1", "--run_dir", "module", "--quiet"]) == 0
    )
    assert main(["predict", CKPT, *paths, "-o", "files"]) == 0
    wanted, found = records("module"), records("files")
    assert len(found) == len(paths) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert len(ours.pop("sha256")) == 64
        assert Path(ours.pop("path")).samefile(theirs.pop("path"))
        for record in (ours, theirs):
            if task == "masks":
                record["mask"] = Path(record["mask"]).read_bytes()
            for key in ("id", "map", "folder", "sha256", "category"):
                record.pop(key, None)
            for row in record.get("lesions", []):
                row.pop("id")
        assert ours == theirs
    predictor = Predictor(CKPT)
    for path, ours in zip(paths, records("files"), strict=True):  # the same from Python
        answer = predictor(path)
        assert {k: ours[k] for k in answer.record if k != "id"} == {k: v for k, v in answer.record.items() if k != "id"}
    if task in ("masks", "images"):
        assert main(["predict", CKPT, *paths, "-o", "files", "--format", "nifti"]) == 0
        for ours in records("files"):
            flat = np.load(ours["map"]) if task == "images" else read_image(ours["mask"], "grey").array > 0
            lies = nibabel.load(Path(ours.get("map", ours.get("mask"))).with_suffix(".nii.gz"))
            np.testing.assert_array_equal(np.asarray(lies.dataobj)[..., 0].T, flat)
    written = {p.name for p in Path("files").rglob("*") if p.is_file()}
    natural = {
        "points": "im0.png",
        "masks": "im0.nii.gz",
        "images": "im0.npy",
        "volumes": "mask.nii.gz",
        "classes": "predictions.csv",
    }
    assert natural[task] in written


AXIAL = [1, 0, 0, 0, 1, 0]


def write_series(
    folder: Path, hu: np.ndarray[Any, np.dtype[np.float32]], uid: str = "1.2.3", lies: list[float] | None = AXIAL
) -> None:
    """Write CT slices of 4 mm whose names are not in their order."""
    pydicom = pytest.importorskip("pydicom", reason='pip install "medzoo-core[dicom]"')
    folder.mkdir(parents=True)
    for index, plane in enumerate(hu):
        meta = pydicom.dataset.FileMetaDataset()
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = pydicom.uid.CTImageStorage, f"1.2.3.{index}"
        data = pydicom.dataset.FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = *plane.shape, 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.Modality, data.SeriesInstanceUID, data.PixelSpacing = "CT", uid, [4, 4]
        if lies:
            data.ImageOrientationPatient, data.ImagePositionPatient = lies, [-80, -70, 4 * index + 100]
        data.PixelData = plane.astype(np.int16).tobytes()
        pydicom.dcmwrite(folder / f"{index * 5 % len(hu)}.dcm", data)


def test_a_folder_of_slices_is_answered_as_the_volume_that_it_is(workdir: Path) -> None:
    fit("volumes")
    hu = chest()
    write_series(Path("study/1.2.3.4"), hu)
    write_nifti(Path("v.nii.gz"), hu, None, (4, 4, 4))
    assert main(["predict", CKPT, "study", "v.nii.gz", "-o", "out"]) == 0
    series, nifti = records("out")
    assert (series["id"], series["path"]) == ("1.2.3.4", "study/1.2.3.4")
    assert len(series["lesions"]) == len(nifti["lesions"]) > 0
    for ours, theirs in zip(series["lesions"], nifti["lesions"], strict=True):
        assert [ours[key] for key in ("x", "y", "z", "max_score")] == [
            theirs[key] for key in ("x", "y", "z", "max_score")
        ]
        assert [ours[f"{key}_mm"] for key in "xyz"] == [80 - 4 * ours["x"], 70 - 4 * ours["y"], 100 + 4 * ours["z"]]
    mask = nibabel.load(next(Path("out").rglob("1.2.3.4*/mask.nii.gz")))
    np.testing.assert_allclose(mask.affine, [[-4, 0, 0, 80], [0, -4, 0, 70], [0, 0, 4, 100], [0, 0, 0, 1]])
    other = nibabel.load(next(Path("out").rglob("v*/mask.nii.gz")))
    np.testing.assert_array_equal(np.asarray(mask.dataobj), np.asarray(other.dataobj))
    assert np.asarray(mask.dataobj).shape == (44, 40, 24)
    assert main(["predict", CKPT, "study/1.2.3.4/0.dcm", "-o", "out"]) == 0  # a slice stands for its series
    assert len(records("out")) == 2
    Path("study/1.2.3.4/10.dcm").unlink()  # the third: tried anew, for the series has changed
    assert main(["predict", CKPT, "study", "-o", "out"]) == 3


def test_each_series_of_a_folder_is_the_volume_that_it_is_alone(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit("volumes")
    hu = chest()
    write_series(Path("first"), hu)
    write_series(Path("second"), hu[::-1], "1.2.4")
    Path("both").mkdir()
    for k, file in enumerate(f for n in ("second", "first") for f in sorted(Path(n).iterdir())):
        Path("both", f"IM{k:03}").write_bytes(file.read_bytes())
    assert main(["predict", CKPT, "both", "first", "second", "-o", "out"]) == 0
    found = {record["path"]: record for record in records("out")}
    assert list(found) == ["both#1.2.4", "both#1.2.3", "first", "second"]
    for name, alone in (("both#1.2.3", "first"), ("both#1.2.4", "second")):
        assert found[name]["lesions"], name
        ours, theirs = (
            [{k: v for k, v in lesion.items() if k != "id"} for lesion in found[n]["lesions"]] for n in (name, alone)
        )
        assert ours == theirs
        mask, other = (nibabel.load(next(Path("out").rglob(f"{n}*/mask.nii.gz"))) for n in (name, alone))
        np.testing.assert_array_equal(np.asarray(mask.dataobj), np.asarray(other.dataobj))
        np.testing.assert_array_equal(mask.affine, other.affine)
    assert found["both#1.2.3"]["lesions"] != found["both#1.2.4"]["lesions"]
    capsys.readouterr()
    assert main(["predict", CKPT, "both/IM000", "both#1.2.3", "-o", "out"]) == 0  # a slice stands for its own series
    assert "skipped, for they have an answer: 2 files" in capsys.readouterr().out
    Path("both/IM030").unlink()  # of the first: the other keeps its answer
    assert main(["predict", CKPT, "both", "-o", "out"]) == 3
    assert "skipped, for they have an answer: 1 files" in capsys.readouterr().out
    with pytest.raises(DataError, match=r"holds 2 series .* name one, such as both#1\.2\.4"):
        read_image("both")
    with pytest.raises(DataError, match="0 DICOM slices"):
        read_image("both#1.2.5")


def test_one_bad_file_of_a_hundred_leaves_99_answers_and_a_second_call_does_the_rest(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit("classes")
    pictures("new", 100)
    Path("new/im42.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    capsys.readouterr()
    assert main(["predict", CKPT, "new", "-o", "out"]) == 3
    err = capsys.readouterr().err
    assert "1 of 100 files have no answer, see out/failed.csv" in err
    first = records("out")
    assert len(first) == 99
    with open("out/failed.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["path"] == "new/im42.png"
    about = json.loads(Path("out/predictions.json").read_text())
    assert about["notice"] == "for research, not for diagnosis"
    assert about["medzoo"] == "0.1.0"
    assert len(about["model_sha256"]) == 64

    Path("new/im42.png").write_bytes(Path("new/im1.png").read_bytes())
    Path("new/im7.png").write_bytes(Path("new/im8.png").read_bytes())  # another image under the old name
    Path("fit").rename("moved")  # the same model from another place
    lines = Path("out/predictions.jsonl").read_text()
    Path("out/predictions.jsonl").write_text(lines[:-20])  # as a kill would leave it
    assert main(["predict", CKPT.replace("fit", "moved"), "new", "-o", "out"]) == 0
    assert "skipped, for they have an answer: 97 files" in capsys.readouterr().out
    second = {record["path"]: record for record in records("out")}
    assert len(second) == 100
    assert second["new/im42.png"]["probabilities"] == second["new/im1.png"]["probabilities"]
    assert second["new/im7.png"]["probabilities"] == second["new/im8.png"]["probabilities"]
    assert not Path("out/failed.csv").exists()
    with open("out/predictions.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 100

    assert main(["fit", *CLASSES.split(), "--run_dir", "other", "--seed_everything", "1", "--quiet"]) == 0
    assert main(["predict", "other/checkpoints/last.ckpt", "new", "-o", "out"]) == 2
    assert "holds predictions with another" in capsys.readouterr().err


def test_files_of_every_kind_are_answered_in_their_own_pixels(workdir: Path) -> None:
    fit("points")
    array = radiograph("hand", 0, 96).image
    Path("new").mkdir()
    deep = Image.fromarray((array * 65535).astype(np.uint16))
    deep.save("new/deep.tif")
    deep.save("new/deep.png")
    Image.fromarray((array * 255).astype(np.uint8)).save("new/lossy.jpg", quality=95)
    Image.fromarray((array * 255).astype(np.uint8)).resize((192, 192), Image.Resampling.NEAREST).save("new/twice.bmp")
    assert main(["predict", CKPT, "new", "-o", "out", "--spacing", "0.5"]) == 0
    found = {Path(record["path"]).name: record for record in records("out")}
    points = {name: np.array(list(record["landmarks_px"].values())) for name, record in found.items()}
    assert set(points) == {"deep.tif", "deep.png", "lossy.jpg", "twice.bmp"}
    assert np.array_equal(points["deep.tif"], points["deep.png"])
    assert np.abs(points["twice.bmp"] - (2 * points["deep.png"] + 0.5)).max() < 6  # one pixel of the network
    millimetres = np.array(list(found["deep.png"]["landmarks_mm"].values()))
    assert np.allclose(millimetres, points["deep.png"] * 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.ckpt"], "medzoo predict x.ckpt: needs PATH, files or folders"),
        (["-o", "out"], "medzoo predict CKPT: needs PATH, files or folders"),
        (["--out=out", "x.ckpt"], "medzoo predict x.ckpt: needs PATH, files or folders"),
        (["x.ckpt", "new"], "medzoo predict x.ckpt: needs -o OUT"),
        (["x.ckpt", "none", "-o", "out"], "none: does not exist"),
        (["x.ckpt", "new", "-o", "out"], "x.ckpt: no such checkpoint file"),
        (["x.ckpt", "new", "-o", "out", "--sourc", "a"], "did you mean --source?"),
        (["x.ckpt", "new", "-o", "out", "--spacing", "nan"], "--spacing nan: expected a number"),
    ],
)
def test_a_mistake_costs_one_line_and_leaves_nothing(
    arguments: list[str], message: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures("new", 1)
    assert main(["predict", *arguments]) == 2
    err = capsys.readouterr().err.strip()
    assert message in err
    assert "\n" not in err
    assert not Path("out").exists()


def test_from_python_a_file_that_cannot_be_read_and_a_wrong_option_are_errors(workdir: Path) -> None:
    fit("classes")
    predictor = Predictor(CKPT)
    Path("bad.png").write_bytes(b"none")
    with pytest.raises(DataError, match=r"bad\.png"):
        predictor("bad.png")
    with pytest.raises(ConfigError, match="--spacing: is not for classification"):
        Predictor(CKPT, spacing=0.1)
    with pytest.raises(CheckpointError):
        Predictor("none.ckpt")


def test_a_folder_of_something_else_is_not_written_into(workdir: Path) -> None:
    Path("out").mkdir()
    Path("out/mine.txt").write_text("x")
    with pytest.raises(ConfigError, match="is not empty"):
        Ledger(Path("out"), {"model": "m"})


def test_landmarks_are_written_for_other_programs_too_and_what_was_corrected_stays(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit("points")
    pictures("new")
    command = ["predict", CKPT, "new", "-o", "out", "--format", "json,labelme,coco,cvat,slicer"]
    assert main(command) == 0
    places = records("out")[0]["landmarks_px"]
    told = json.loads(Path("out/labelme/im0.json").read_text())
    assert Path("out/labelme", told["imagePath"]).samefile("new/im0.png")
    for shape in told["shapes"]:
        assert shape["points"][0] == pytest.approx([value + 0.5 for value in places[shape["label"]]], abs=0.01)
    assert {"coco.json", "cvat.xml", "slicer"} <= {path.name for path in Path("out").iterdir()}
    Path("out/labelme/im0.json").write_text("corrected")
    Path("new/late.png").write_bytes(Path("new/im2.png").read_bytes())
    assert main(command) == 0
    assert Path("out/labelme/im0.json").read_text() == "corrected"
    assert Path("out/labelme/late.json").is_file()
    capsys.readouterr()
    Path("new/im0.png").write_bytes(Path("new/late.png").read_bytes())
    assert main(command) == 0
    assert "left as it is: out/labelme/im0.json is of an earlier state of its image" in capsys.readouterr().err
    assert len(json.loads(Path("out/coco.json").read_text())["images"]) == 4
    assert main(["predict", CKPT, "new", "-o", "more", "--format", "labelm"]) == 2
    assert "--format labelm: expected json, csv, nifti, labelme, coco, cvat, slicer" in capsys.readouterr().err
    assert not Path("more").exists()
    fit_again = FITS["classes"].split()
    assert main(["fit", *fit_again, "--run_dir", "classes", "--quiet"]) == 0
    assert main(["predict", "classes/checkpoints/last.ckpt", "new", "-o", "more", "--format", "labelme"]) == 2
    assert "--format labelme: is of landmarks" in capsys.readouterr().err
    assert main(["predict", "classes/checkpoints/last.ckpt", "new", "-o", "more", "--format", "nifti"]) == 2
    assert "--format nifti: is of maps and masks" in capsys.readouterr().err


def test_a_map_as_nifti_lies_on_its_image_in_the_patient(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit("images")
    right, down = np.array([0.6, 0.8, 0.0]), np.array([0.0, 0.0, -1.0])
    hu = chest()[:1] / 100
    write_series(Path("oblique"), hu, lies=[*right, *down])
    write_series(Path("free"), hu, lies=None)
    write_series(Path("skew"), hu, lies=[1, 0, 0, 1, 0, 0])
    pictures("new", 2)
    Image.open("new/im0.png").save("new/film.tif", dpi=(254, 508))
    command = ["predict", CKPT, "new", "oblique/0.dcm", "free/0.dcm", "-o", "out"]
    assert main(command) == 0
    assert not list(Path("out").rglob("*.nii.gz"))
    assert main([*command, "--format", "nifti"]) == 0  # of answers that are there already, too
    found = {record["path"]: nibabel.load(Path(record["map"]).with_suffix(".nii.gz")) for record in records("out")}
    for record in records("out"):
        heat = np.load(record["map"])
        assert heat.shape == read_image(record["path"]).array.shape
        np.testing.assert_array_equal(np.asarray(found[record["path"]].dataobj)[..., 0].T, heat)
    place = found["oblique/0.dcm"].affine @ [3, 5, 0, 1]
    np.testing.assert_allclose(place[:3] * [-1, -1, 1], [-80, -70, 100] + 4 * (3 * right + 5 * down), atol=1e-4)
    assert found["oblique/0.dcm"].header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(found["free/0.dcm"].affine, np.diag([-4, -4, 1, 1]))
    np.testing.assert_allclose(found["new/film.tif"].affine, np.diag([-0.1, -0.05, 1, 1]), rtol=1e-5)
    np.testing.assert_allclose(found["new/im0.png"].affine, np.diag([-1, -1, 1, 1]))
    assert found["new/im0.png"].header.get_xyzt_units()[0] == "unknown"
    capsys.readouterr()
    assert main(["predict", CKPT, "skew/0.dcm", "-o", "out", "--format", "nifti"]) == 3
    assert "skew/0.dcm" in Path("out/failed.csv").read_text()
    assert "no right angle" in Path("out/failed.csv").read_text()
    assert main([*command[:-1], "more", "--format", "nifti,coco"]) == 2
    assert "--format coco: is of landmarks" in capsys.readouterr().err
