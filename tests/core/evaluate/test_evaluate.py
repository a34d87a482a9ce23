"""`medzoo evaluate`: figures of tables and masks that anybody made, against core's metrics and by hand."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from medzoo.core.cli import main
from medzoo.core.errors import DataError
from medzoo.core.evaluate.cases import File, Options
from medzoo.core.evaluate.classes import judge_classes
from medzoo.core.evaluate.judged import parts
from medzoo.core.evaluate.points import judge_points
from medzoo.core.io import write_csv, write_image
from medzoo.core.io.nifti_out import write_nifti
from medzoo.core.metrics import landmark_scores


def evaluation(folder: str = "evaluation") -> dict[str, Any]:
    return dict(json.loads(Path(folder, "evaluation.json").read_text()))


def point_tables(rng: np.random.Generator, images: int = 12) -> np.ndarray:
    """Write `pred.csv` (a row a point) and `truth.csv` (a row an image); return the errors in pixels, `(images, 3)`."""
    truth, errors, guesses = [], np.empty((images, 3)), []
    for i in range(images):
        target, moved = rng.uniform(0, 100, (3, 2)), rng.normal(0, 3, (3, 2))
        errors[i] = np.linalg.norm(moved, axis=1)
        row: dict[str, object] = {"id": f"im{i}", "sex": "fm"[i % 2], "patient": f"p{i // 2}", "spacing": 0.5}
        for k, (x, y) in enumerate(target):
            guess = target[k] + moved[k]
            if (i, k) == (3, 1):  # not annotated
                x = y = ""  # type: ignore[assignment]
                errors[i, k] = np.nan
            if (i, k) == (4, 2):  # not found
                errors[i, k] = np.inf
            else:
                guesses.append({"id": f"im{i}", "landmark": str(k), "x": guess[0], "y": guess[1]})
            row |= {f"x{k}": x, f"y{k}": y}
        truth.append(row)
    write_csv("pred.csv", guesses[::-1])
    write_csv("truth.csv", truth)
    return errors


def test_errors_of_points_are_those_that_a_test_of_medzoo_gives(workdir: Path) -> None:
    errors = point_tables(np.random.default_rng(0)) * 0.5
    assert main(["evaluate", "pred.csv", "truth.csv", "--group", "sex"]) == 0
    found = evaluation()["figures"]
    wanted = landmark_scores(torch.from_numpy(errors), (2, 2.5, 3, 4))
    for name in ("mre_mm", "sdr_2", "sdr_2.5", "sdr_3", "sdr_4", "missing"):
        assert found["all"][name]["value"] == pytest.approx(float(wanted[name]), rel=1e-6), name
    women = landmark_scores(torch.from_numpy(errors[::2]), (2,))
    assert found["sex=f"]["mre_mm"]["value"] == pytest.approx(float(women["mre_mm"]), rel=1e-6)
    assert found["sex=f"]["cases"] == 6
    assert found["all"]["patients"] == 6
    low, value, high = (found["all"]["mre_mm"][key] for key in ("low", "value", "high"))
    assert low < value < high
    with open("evaluation/samples.csv", newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert float(rows["im3"]["error"]) == pytest.approx(np.nanmean(errors[3]))
    assert rows["im4"]["not_found"] == "1"
    assert rows["im4"]["unit"] == "mm"


def test_without_a_spacing_errors_are_in_pixels_and_a_spacing_that_is_given_scales_them(workdir: Path) -> None:
    errors = point_tables(np.random.default_rng(1))
    truth = Path("truth.csv").read_text().replace("spacing", "other")
    Path("truth.csv").write_text(truth)
    options = Options(radii=(2.0,))
    predicted, known = File("pred.csv"), File("truth.csv")
    pixels = parts(judge_points(predicted, known, known, options), ())[0].figures
    assert pixels["mre_px"][0] == pytest.approx(errors[np.isfinite(errors)].mean())
    scaled = parts(judge_points(predicted, known, known, Options(spacing=0.1)), ())[0].figures
    assert scaled["mre_mm"][0] == pytest.approx(errors[np.isfinite(errors)].mean() / 10)


def test_a_spacing_along_both_axes_is_no_landmark_and_scales_each_axis(workdir: Path) -> None:
    """As `landmark-folder` reads its labels."""
    Path("truth.csv").write_text("id,spacing_x,spacing_y,a_x,a_y\n1,0.5,2,10,10\n2,1,1,0,5\n")
    Path("pred.csv").write_text("id,landmark,x,y\n1,a,14,10\n2,a,0,8\n")
    predicted, known = File("pred.csv"), File("truth.csv")
    judged = judge_points(predicted, known, known, Options())
    assert [row["error"] for row in judged.rows] == [2.0, 3.0]
    assert [row["not_found"] for row in judged.rows] == [0, 0]
    assert {row["unit"] for row in judged.rows} == {"mm"}


def test_ids_of_several_sources_are_not_mixed_up(workdir: Path) -> None:
    rows = "id,domain,landmark,x,y\n1,head,a,1,1\n1,hand,a,5,5\n"
    Path("pred.csv").write_text(rows)
    Path("truth.csv").write_text("id,landmark,x,y\n1,a,1,1\n")
    predicted, known = File("pred.csv"), File("truth.csv")
    with pytest.raises(DataError, match="'1' in several sources"):
        judge_points(predicted, known, known, Options())
    Path("truth.csv").write_text(rows.replace("id,domain", "id,source"))
    Path("cases.csv").write_text("id,source,sex\n1,hand,f\n")
    known = File("truth.csv")
    rows_of = judge_points(predicted, known, File("cases.csv"), Options(groups=("sex",))).rows
    assert [row["group_sex"] for row in rows_of] == ["unknown", "f"]


def test_a_label_that_is_neither_0_nor_1_is_refused(workdir: Path) -> None:
    Path("pred.csv").write_text("id,p_a,p_b\n1,0.2,0.4\n2,0.7,0.1\n")
    Path("truth.csv").write_text("id,label_a,label_b\n1,0,1\n2,0.5,0\n")
    predicted, known = File("pred.csv"), File("truth.csv")
    with pytest.raises(DataError, match="expected 0, 1 or nothing"):
        judge_classes(predicted, known, known, Options())


def test_an_option_without_effect_is_refused(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("pred.csv").write_text("id,p_a,p_b\n1,0.2,0.4\n2,0.7,0.1\n")
    Path("truth.csv").write_text("id,label\n1,b\n2,a\n")
    for flag, value in (("--threshold", "0.3"), ("--positive", "a"), ("--spacing", "2")):
        assert main(["evaluate", "pred.csv", "truth.csv", flag, value]) == 2
        assert f"{flag}: has no effect on these classes; those in use are --id" in capsys.readouterr().err
    assert main(["evaluate", "pred.csv", "truth.csv", "--label", "label"]) == 0


def test_a_score_of_two_classes_gives_the_figures_of_scikit_learn(workdir: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    scores = np.round(rng.normal(labels, 1.0), 1)  # with ties
    write_csv("p.csv", [{"case": i, "s": s} for i, s in enumerate(scores)])
    names = [{"case": i, "truth": ("healthy", "ill")[k]} for i, k in enumerate(labels)]
    write_csv("t.csv", [*names, {"case": "99", "truth": "ill"}])
    more = "--id case --score s --label truth --positive ill --threshold 0.5 -o out"
    assert main(["evaluate", "p.csv", "t.csv", *more.split()]) == 0
    found = {
        name: value["value"] for name, value in evaluation("out")["figures"]["all"].items() if "s" not in name[-1:]
    }
    called = scores >= 0.5
    assert found["auroc"] == pytest.approx(roc_auc_score(labels, scores))
    assert found["accuracy"] == pytest.approx((called == (labels == 1)).mean())
    assert found["sensitivity"] == pytest.approx(called[labels == 1].mean())
    assert found["specificity"] == pytest.approx((~called)[labels == 0].mean())
    assert evaluation("out")["without_prediction"] == ["99"]


def test_probabilities_of_several_classes_and_of_labels_that_hold_together(workdir: Path) -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(40, 3))
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = np.array([rng.choice(3, p=row) for row in chances])
    write_csv(
        "p.csv", [{"id": i, **{f"p_{n}": v for n, v in zip("abc", row, strict=True)}} for i, row in enumerate(chances)]
    )
    write_csv("t.csv", [{"id": i, "label": "abc"[k]} for i, k in enumerate(truth)])
    p, t = File("p.csv"), File("t.csv")
    figures = parts(judge_classes(p, t, t, Options()), ())[0].figures
    assert figures["accuracy"][0] == pytest.approx((chances.argmax(1) == truth).mean())
    assert figures["auroc"][0] == pytest.approx(roc_auc_score(truth, chances, multi_class="ovr"))
    recall = [(chances.argmax(1) == k)[truth == k].mean() for k in range(3)]
    assert figures["balanced_accuracy"][0] == pytest.approx(np.mean(recall))

    marks = [[int(k == j) for j in range(3)] for k in truth]
    rows = [{"id": i, **{f"label_{n}": m for n, m in zip("abc", row, strict=True)}} for i, row in enumerate(marks)]
    rows[0]["label_a"] = ""  # not looked for
    write_csv("t.csv", rows)
    t = File("t.csv")
    figures = parts(judge_classes(p, t, t, Options()), ())[0].figures
    looked = np.ones((40, 3), dtype=bool)
    looked[0, 0] = False
    assert figures["accuracy"][0] == pytest.approx(((chances >= 0.5) == np.array(marks))[looked].mean())
    assert figures["auroc/a"][0] == pytest.approx(roc_auc_score(np.array(marks)[1:, 0], chances[1:, 0]))


@pytest.mark.parametrize("column", ["patient", "Subject_ID"])
def test_patients_are_drawn_whole_however_their_column_is_called(column: str, workdir: Path) -> None:
    write_csv("t.csv", [{"id": k, "score": k, "label": k % 2, column: k // 2} for k in range(10)])
    assert main(["evaluate", "t.csv", "t.csv"]) == 0
    assert evaluation()["figures"]["all"]["patients"] == 5


def test_labels_of_one_table_alone_are_left_out_aloud(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_csv("p.csv", [{"id": k, "p_a": k / 9, "p_b": 1 - k / 9} for k in range(10)])
    write_csv("t.csv", [{"id": k, "label_a": k % 2, "label_c": 0} for k in range(10)])
    assert main(["evaluate", "p.csv", "t.csv"]) == 0
    assert "left out, labels that only one of the tables has: b, c" in capsys.readouterr().out


def test_masks_of_two_folders_have_the_overlap_that_counting_gives(workdir: Path) -> None:
    left, right = np.zeros((8, 10)), np.zeros((8, 10))
    left[2:6, 2:6], right[4:8, 2:6] = 1, 1  # 16 and 16 pixels, 8 in both
    for folder, mask in (("p", left), ("t", right)):
        write_image(f"{folder}/one.png", mask)
        write_image(f"{folder}/two.png", np.zeros((4, 4)))
    write_nifti(Path("p/vol.nii.gz"), left[None].repeat(2, 0).astype(np.uint8), None, (1, 1, 1))
    write_nifti(Path("t/vol.nii.gz"), left[None].repeat(2, 0).astype(np.uint8), None, (1, 1, 1))
    write_csv("cases.csv", [{"id": "one", "sex": "f"}, {"id": "two", "sex": "m"}, {"id": "vol", "sex": "f"}])
    assert main(["evaluate", "p", "t", "--cases", "cases.csv", "--group", "sex"]) == 0
    figures = evaluation()["figures"]
    assert figures["all"]["dice"]["value"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert figures["all"]["iou"]["value"] == pytest.approx((8 / 24 + 1 + 1) / 3)
    assert figures["all"]["sensitivity"]["value"] == pytest.approx((0.5 + 1) / 2)  # nothing to find in the second
    assert figures["sex=f"]["dice"]["value"] == pytest.approx(0.75)
    write_image("p/one.png", np.zeros((8, 9)))
    assert main(["evaluate", "p", "t"]) == 2


def test_masks_that_lie_elsewhere_in_the_patient_have_no_overlap_to_count(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same voxels, saved without the affine of their image: read_image turns them by what the file says."""
    mask = np.zeros((4, 6, 8), dtype=np.uint8)
    mask[1:3, 1:3, 1:4] = 1
    write_nifti(Path("t/vol.nii.gz"), mask, None, (1, 1, 2))
    Path("p").mkdir()
    nibabel.save(nibabel.Nifti1Image(mask.T, np.eye(4)), "p/vol.nii.gz")
    assert main(["evaluate", "p", "t"]) == 2
    assert "p/vol.nii.gz: lies up to" in capsys.readouterr().err


def test_a_mask_in_jpeg_is_refused_for_the_noise_at_its_borders_would_be_marked(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = np.zeros((16, 16), dtype=np.uint8)
    mask[5:9, 5:9] = 255
    for folder in "pt":
        Path(folder).mkdir()
    Image.fromarray(mask).save("p/one.png")
    Image.fromarray(mask).save("t/one.jpg")
    assert main(["evaluate", "p", "t"]) == 2
    assert "t/one.jpg: is a JPEG file" in capsys.readouterr().err


def test_a_table_of_cases_names_files_with_or_without_ending_and_what_it_lacks_is_said(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        for folder in "pt":
            write_image(f"{folder}/{name}.png", np.ones((4, 4)))
    write_csv("cases.csv", [{"id": "one.png", "sex": "f"}])
    assert main(["evaluate", "p", "t", "--cases", "cases.csv", "--group", "sex"]) == 0
    assert set(evaluation()["figures"]) == {"all", "sex=f", "sex=unknown"}
    assert "without a row in cases.csv, so that patient and groups are unknown: two" in capsys.readouterr().out
    write_csv("cases.csv", [{"id": "1", "sex": "f"}])
    assert main(["evaluate", "p", "t", "--cases", "cases.csv", "--group", "sex"]) == 2
    assert "cases.csv: has no row of a case: it has 1, the truth one, two" in capsys.readouterr().err


def test_groups_that_nobody_knows_are_one_row_and_intervals_draw_patients(workdir: Path) -> None:
    rng = np.random.default_rng(0)
    base = [{"id": i, "score": s, "label": i % 2} for i, s in enumerate(rng.normal(size=40).tolist())]
    write_csv(
        "once.csv",
        [{**row, "patient": row["id"], "group_sex": ("-1", "n/a", 0)[min(int(row["id"]) // 5, 2)]} for row in base],
    )
    copies = [
        {**row, "id": f"{row['id']}-{k}", "patient": row["id"], "group_sex": ""} for row in base for k in range(9)
    ]
    write_csv("nine.csv", copies)
    found = []
    for name in ("once.csv", "nine.csv"):
        file = File(name)
        found.append(parts(judge_classes(file, file, file, Options(groups=("sex",))), ("sex",)))
    assert [(part.title, part.cases) for part in found[0]] == [("all", 40), ("sex=0", 30), ("sex=unknown", 10)]
    width = [part[0].figures["auroc"][2] - part[0].figures["auroc"][1] for part in found]
    assert width[1] == pytest.approx(width[0], rel=0.2)  # nine copies of each patient's image are no more evidence


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pred.csv"], "needs PREDICTIONS and TRUTH, got pred.csv"),
        (["pred.csv", "none.csv"], "none.csv: does not exist"),
        (["pred.csv", "truth.csv", "--group", "sexx"], "did you mean sex?"),
        (["pred.csv", "truth.csv", "--id", "name"], "--id name: pred.csv has no such column"),
        (["pred.csv", "truth.csv", "--spacing", "0"], "--spacing 0: expected a number above 0"),
        (["pred.csv", "other.csv"], "other.csv: has no case"),
        (["pred.csv", "classes.csv"], "classes.csv: has no landmarks, as the predictions have"),
        (["score.csv", "truth.csv"], "--score score: score.csv has no such column"),
    ],
)
def test_a_mistake_costs_one_line(
    arguments: list[str], message: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    point_tables(np.random.default_rng(0))
    write_csv("other.csv", [{"id": "x", "x0": 1, "y0": 1}])
    write_csv("classes.csv", [{"id": "im0", "label": 1}])
    write_csv("score.csv", [{"id": "x", "value": 1}])
    message = message.replace("other.csv: has no case", "pred.csv: has no case")
    assert main(["evaluate", *arguments]) == 2
    err = capsys.readouterr().err.strip()
    assert message in err
    assert "\n" not in err


def test_neither_verb_imports_torch(workdir: Path) -> None:
    point_tables(np.random.default_rng(0))
    code = (
        "import sys; from medzoo.core.cli import main; "
        "assert main(['evaluate', 'pred.csv', 'truth.csv', '-o', 'a']) == 0; "
        "assert main(['compare', 'a', 'a/samples.csv']) == 0; "
        "heavy = {'torch', 'lightning', 'matplotlib'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
