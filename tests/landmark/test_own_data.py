"""The examples of docs/own_data.md, and what a test and a prediction leave for one's own images."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from medzoo.core.cli import main
from medzoo.core.errors import ConfigError
from medzoo.core.phantoms import radiograph
from medzoo.landmark import Heatmap
from medzoo.landmark.data import LandmarkFolder

PAGE = Path(__file__).parents[2] / "docs" / "own_data.md"
TINY = {
    "model.stage": "stage1",
    "model.match_size": "64",
    "model.patch": "64",
    "model.points": "4",
    "model.vgg_widths": "[4,4,4,4,4]",
    "model.vgg_depths": "[1,1,1,1,1]",
    "model.decoder_widths": "[4,4,4,4]",
    "model.embedding": "4",
    "model.match_batch": "4",
    "trainer.max_epochs": "1",
    "trainer.accelerator": "cpu",
}


def examples() -> list[dict[str, str]]:
    """Return the label files of each form by name."""
    forms = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:5]
    named = [re.findall(r"^`([\w.]+)`[^\n]*:\n\n```(?:csv|json)\n(.*?)```", form, re.M | re.S) for form in forms]
    return [dict(files) for files in named]


@pytest.mark.parametrize("form", range(4))
def test_the_four_forms_of_labels_on_the_page_say_the_same(
    tmp_path: Path, form: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(examples()[form]) == (2 if form == 3 else 1)
    for name, text in examples()[form].items():
        (tmp_path / name).write_text(text)
    for name in ("img1", "img2"):
        Image.fromarray(np.zeros((40, 50), np.uint8)).save(tmp_path / f"{name}.png")
    assert main(["check", "--data", "landmark-folder", "--data.root", str(tmp_path)]) == 0
    assert "2 landmarks, errors in px" in capsys.readouterr().out
    (source,) = LandmarkFolder(str(tmp_path)).sources
    order = [source.domain.landmarks.index(name) for name in ("sella", "nasion")]
    np.testing.assert_allclose(source.points("img1", (50, 40))[order], [[20, 30], [41.5, 12]])
    np.testing.assert_allclose(source.points("img2", (50, 40))[order], [[22, 28], [np.nan, np.nan]])


@pytest.fixture(scope="module")
def chests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images with a table in mm, of which some points are missing."""
    root = tmp_path_factory.mktemp("chests")
    rows = []
    for i in range(8):
        phantom = radiograph("chest", i, 80)
        Image.fromarray((phantom.image * 255).astype(np.uint8)).save(root / f"im{i}.png")
        for name, (x, y) in zip(phantom.names, phantom.landmarks, strict=True):
            if not (i == 5 and name == phantom.names[2]) and min(x, y) >= 0 and max(x, y) < 79:
                rows.append(f"im{i},{name},{x:.3f},{y:.3f},0.5,0.25,{'test' if i > 3 else 'train'}")
    (root / "landmarks.csv").write_text("id,landmark,x,y,spacing_x,spacing_y,split\n" + "\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="module")
def run(chests: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny matcher of these chests."""
    folder = tmp_path_factory.mktemp("runs") / "fit"
    flags = [part for key, value in TINY.items() for part in (f"--{key}", value)]
    data = ["--data", "landmark-folder", "--data.root", str(chests), "--data.shots", "[im0]"]
    assert main(["fit", "--model", "uod", *flags, *data, "--quiet", "--run_dir", str(folder)]) == 0
    return folder


def test_a_test_leaves_the_table_of_the_papers_and_tells_what_scores_are_worth(run: Path) -> None:
    metrics = json.loads((run / "results.json").read_text())["metrics"]
    assert -1 <= metrics["folder/score_spearman"] <= 1
    rows = [line.split("|") for line in (run / "table.md").read_text().splitlines() if line.startswith("|")]
    head, _, model = [[cell.strip() for cell in row[1:-1]] for row in rows]
    assert head == [
        "folder",
        "MRE ± STD, mm",
        "95 %",
        "median, mm",
        *(f"SDR {r:g} mm" for r in (2, 2.5, 3, 4)),
        "not found",
    ]
    assert model[:2] == ["model", f"{metrics['folder/mre_mm']:.2f} ± {metrics['folder/std_mm']:.2f}"]
    assert model[2] == f"{metrics['folder/mre_mm_low']:.2f} to {metrics['folder/mre_mm_high']:.2f}"
    assert model[3] == f"{metrics['folder/median_mm']:.2f}"
    assert model[4] == f"{metrics['folder/sdr_2']:.2f}"
    assert "Weights of last.ckpt." in (run / "table.md").read_text()
    by_landmark = list(csv.DictReader((run / "landmarks.csv").open()))
    assert {row["visible"] for row in by_landmark} >= {"3", "4"}, "a missing point is not counted"
    assert all(np.isfinite(float(row["score"])) for row in by_landmark)
    assert (run / "figures" / "folder_scores.png").is_file()


def predicted(run: Path, root: Path, folder: Path) -> list[dict[str, str]]:
    last = str(run / "checkpoints" / "last.ckpt")
    where = ["--data", "landmark-folder", "--data.root", str(root), "--trainer.accelerator", "cpu"]
    assert main(["predict", "--ckpt_path", last, *where, "--quiet", "--run_dir", str(folder)]) == 0
    return list(csv.DictReader((folder / "predictions.csv").open()))


def test_images_without_labels_get_a_table_and_overlays_in_their_own_pixels(
    run: Path, chests: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    new.mkdir()
    for i in (4, 6):
        with Image.open(chests / f"im{i}.png") as image:
            image.resize((120, 90)).save(new / f"case {i}.png", dpi=(254, 127))  # 0.1 and 0.2 mm a pixel
    rows = predicted(run, new, tmp_path / "out")
    records = json.loads((tmp_path / "out" / "predictions.json").read_text())["predictions"]
    assert sorted(row["id"] for row in rows) == ["case 4"] * 6 + ["case 6"] * 6
    least = [min(float(row["score"]) for row in rows[i : i + 6]) for i in (0, 6)]
    assert least[0] <= least[1]  # the image to look at first
    for row in rows:
        record = next(r for r in records if r["id"] == row["id"])
        assert [float(row["x"]), float(row["y"])] == record["landmarks_px"][row["landmark"]]
        assert float(row["score"]) == record["score"][row["landmark"]]
        assert float(row["x_mm"]) == pytest.approx(0.1 * float(row["x"]), rel=1e-3)
        assert float(row["y_mm"]) == pytest.approx(0.2 * float(row["y"]), rel=1e-3)
        assert -0.5 <= float(row["x"]) <= 119.5
    with Image.open(tmp_path / "out" / "figures" / "folder" / "case 6.png") as overlay:
        assert overlay.width == pytest.approx(512, abs=2)


def test_one_image_file_is_predicted_as_in_its_folder(run: Path, chests: Path, tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    shutil.copy(chests / "im6.png", tmp_path / "all")
    assert predicted(run, tmp_path / "all", tmp_path / "folder") == [
        {**row, "path": str(tmp_path / "all" / "im6.png")}
        for row in predicted(run, chests / "im6.png", tmp_path / "file")
    ]


def test_predictions_are_labels_that_can_be_corrected_and_read(run: Path, chests: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    shutil.copy(chests / "im6.png", new)
    rows = predicted(run, new, tmp_path / "out")
    shutil.copy(tmp_path / "out" / "predictions.csv", new / "landmarks.csv")
    (source,) = LandmarkFolder(str(new)).sources
    np.testing.assert_allclose(source.points("im6", (80, 80)), [[float(row["x"]), float(row["y"])] for row in rows])


def test_a_model_of_other_landmarks_is_refused_in_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.eye(40, 50, dtype=np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "landmarks.csv").write_text("id,x0,y0,split\na,1,1,test\n")
    last = str(run / "checkpoints" / "last.ckpt")
    where = ["--data", "landmark-folder", "--data.root", str(tmp_path), "--data.all_test", "true"]
    assert main(["test", "--ckpt_path", last, *where, "--quiet", "--run_dir", str(tmp_path / "out")]) == 2
    assert "the model finds 6 landmarks of folder, the data have 1" in capsys.readouterr().err


def evaluated(run: Path, root: Path, folder: Path) -> dict[str, float]:
    last = str(run / "checkpoints" / "last.ckpt")
    where = ["--data", "landmark-folder", "--data.root", str(root), "--trainer.accelerator", "cpu"]
    more = ["--data.all_test", "true", "--quiet", "--run_dir", str(folder)]
    assert main(["test", "--ckpt_path", last, *where, *more]) == 0
    metrics: dict[str, float] = json.loads((folder / "results.json").read_text())["metrics"]
    return metrics


def test_a_test_on_another_folder_takes_all_of_its_images(
    run: Path, chests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """None of them was trained on; on the folder that was, only the part kept for the test."""
    other = tmp_path / "other"
    shutil.copytree(chests, other)
    counts = {}
    for root, more in ((other, []), (other, ["--data.all_test", "false"]), (chests, [])):
        where = ["--ckpt_path", str(run / "checkpoints/last.ckpt"), "--data.root", str(root), *more]
        assert main(["test", *where, "--quiet", "--run_dir", str(tmp_path / str(len(counts)))]) == 0
        counts[len(counts)] = int(re.findall(r"(\d+) (?:test|for test)", capsys.readouterr().out)[0])
    images = len(list(chests.glob("*.png")))
    assert counts == {0: images, 1: counts[2], 2: counts[2]}
    assert counts[2] < images


def test_landmarks_are_compared_by_name_in_whatever_order_the_table_has_them(
    run: Path, chests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, *rows = (chests / "landmarks.csv").read_text().splitlines()
    for kind in ("turned", "fewer", "renamed"):
        shutil.copytree(chests, tmp_path / kind)
    (tmp_path / "turned" / "landmarks.csv").write_text("\n".join([head, *reversed(rows)]))
    expected, found = (evaluated(run, root, tmp_path / f"out {root.name}") for root in (chests, tmp_path / "turned"))
    assert found["folder/mre_mm"] == pytest.approx(expected["folder/mre_mm"], abs=1e-5)
    first = rows[0].split(",")[1]
    kept = [row for row in rows if row.split(",")[1] != first]
    (tmp_path / "fewer" / "landmarks.csv").write_text("\n".join([head, *kept]))
    evaluated(run, tmp_path / "fewer", tmp_path / "out fewer")
    by_name = [
        {row["landmark"]: row["mre_mm"] for row in csv.DictReader((tmp_path / f"out {name}" / "landmarks.csv").open())}
        for name in (chests.name, "fewer")
    ]
    assert {first: by_name[0][first], **by_name[1]} == by_name[0]
    (tmp_path / "renamed" / "landmarks.csv").write_text("\n".join([head, *rows]).replace(f",{first},", ",apex,"))
    where = ["--data", "landmark-folder", "--data.root", str(tmp_path / "renamed"), "--data.all_test", "true"]
    last = str(run / "checkpoints" / "last.ckpt")
    assert main(["test", "--ckpt_path", last, *where, "--quiet", "--run_dir", str(tmp_path / "no")]) == 2
    assert "the data have a landmark 'apex' of folder, the model finds" in capsys.readouterr().err


def test_a_checkpoint_is_not_trained_on_with_landmarks_in_another_order(
    run: Path, chests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(chests, tmp_path / "turned")
    head, *rows = (chests / "landmarks.csv").read_text().splitlines()
    (tmp_path / "turned" / "landmarks.csv").write_text("\n".join([head, *reversed(rows)]))
    where = ["--data", "landmark-folder", "--data.root", str(tmp_path / "turned"), "--data.shots", "[im0]"]
    last = str(run / "checkpoints" / "last.ckpt")
    assert main(["fit", "--ckpt_path", last, *where, "--quiet", "--run_dir", str(tmp_path / "out")]) == 2
    assert "the landmarks of folder are not in the order of the checkpoint" in capsys.readouterr().err


def test_two_annotators_are_compared_beside_the_model(run: Path, chests: Path, tmp_path: Path) -> None:
    shutil.copytree(chests, tmp_path / "two")
    head, *rows = (chests / "landmarks.csv").read_text().splitlines()
    cells = [row.split(",") for row in rows]
    moved = [[*c[:3], f"{min(79.0, float(c[3]) + 4):.3f}", *c[4:]] for c in cells]
    both = [",".join([*row, who]) for given, who in ((cells, "R"), (moved, "S")) for row in given]
    (tmp_path / "two" / "landmarks.csv").write_text("\n".join([f"{head},annotator", *both]))
    metrics = evaluated(run, tmp_path / "two", tmp_path / "out")
    assert metrics["folder/observers/mre_mm"] == pytest.approx(4 * 0.25, abs=0.05)
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| two annotators | 1.00" in table
    assert "ground truth: mean of R and S" in table
    assert f"Weights of {run / 'checkpoints' / 'last.ckpt'}." in table


def test_validation_images_are_scored_after_each_epoch_and_choose_the_best_checkpoint(
    chests: Path, tmp_path: Path
) -> None:
    shutil.copytree(chests, tmp_path / "val")
    table = (chests / "landmarks.csv").read_text().replace("im3", "IM3")
    rows = [row.replace("train", "val") if row.startswith("IM3") else row for row in table.splitlines()]
    (tmp_path / "val" / "landmarks.csv").write_text("\n".join(rows).replace("IM3", "im3"))
    size = ["--model.width", "2", "--model.size", "[32,32]", "--model.lr", "0.05", "--trainer.max_epochs", "4"]
    where = ["--data", "landmark-folder", "--data.root", str(tmp_path / "val"), "--data.shots", "all", "--quiet"]
    device = ["--trainer.accelerator", "cpu"]
    out = tmp_path / "out"
    assert main(["fit", "--model", "heatmap", *size, *where, *device, "--run_dir", str(out)]) == 0
    errors = [float(row["val/mre"]) for row in csv.DictReader((out / "metrics.csv").open())]
    assert len(set(errors)) > 1
    best = ["--ckpt_path", str(out / "checkpoints" / "best.ckpt"), "--quiet", *device]
    assert main(["validate", *best, "--run_dir", str(tmp_path / "validated")]) == 0
    metrics = json.loads((tmp_path / "validated" / "results.json").read_text())["metrics"]
    assert metrics["val/mre"] == metrics["val/folder/mre_mm"] == pytest.approx(min(errors), rel=1e-5)


def test_a_landmark_model_refuses_data_without_landmarks_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device = ["--trainer.accelerator", "cpu", "--quiet", "--run_dir", str(tmp_path / "out")]
    Image.fromarray(np.eye(40, 50, dtype=np.uint8)).save(tmp_path / "a.png")
    folder = ["--data", "landmark-folder", "--data.root", str(tmp_path), "--data.shots", "all"]
    assert main(["fit", "--model", "heatmap", *folder, *device]) == 2
    assert (
        capsys.readouterr()
        .err.strip()
        .endswith("the data have no label of folder, and this model trains on labels alone")
    )


@pytest.mark.parametrize("stage", ["fit", "test", "predict"])
def test_a_landmark_model_refuses_another_kind_of_data(stage: str) -> None:
    model = Heatmap(width=2)
    model._trainer = SimpleNamespace(datamodule=SimpleNamespace())  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="SimpleNamespace has no landmarks; choose"):
        model.setup(stage)
