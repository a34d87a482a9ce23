"""`medzoo audit` as a user meets it: figures, files, warnings, and one line for each kind of bad table."""

from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medzoo.core.cli.streams import secure_streams
from medzoo.core.errors import MedzooError
from medzoo.core.registry import names
from medzoo.fairness.audit.tables import GAP_TITLES
from medzoo.fairness.audit.verb import run

USUAL = ("--label", "y", "--score", "p", "--group", "sex", "--repeats", "100")


def cohort(size: int = 400, seed: int = 0) -> list[dict[str, Any]]:
    """Cases of which men are found less often; some ages and sexes are unknown."""
    rng = np.random.default_rng(seed)
    rows = []
    for case in range(size):
        sex, age = str(rng.choice(["f", "m"])), int(rng.integers(20, 90))
        y = int(rng.random() < 0.4)
        p = 1 / (1 + np.exp(-rng.normal((2.2 if sex == "f" else 1.0) * y - 0.8, 1)))
        sex = sex if case % 40 else "unknown"
        patient = f"p{case // 2}"
        rows.append({"id": f"c{case}", "patient": patient, "y": y, "p": f"{p:.6f}", "sex": sex, "age": age})
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def audited(path: Path, *options: str, usual: tuple[str, ...] = USUAL) -> dict[str, Any]:
    run([str(path), *usual, *options])
    found: dict[str, Any] = json.loads(Path("audit/audit.json").read_text(encoding="utf-8"))
    return found


def fault(path: Path, *options: str, usual: tuple[str, ...] = USUAL) -> str:
    with pytest.raises(MedzooError) as caught:
        run([str(path), *usual, *options])
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) == 1
    assert not Path("audit").exists()
    return str(caught.value)


def test_figures_are_those_of_the_cases_with_intervals_around_them(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = cohort()
    report = audited(
        write(workdir / "t.csv", rows), "--group", "age:40,60", "--group", "sex+age:50", "--patient", "patient"
    )
    sex, age, both = report["attributes"]
    assert [cell["name"] for cell in sex["groups"]] == ["f", "m"]
    assert [cell["name"] for cell in age["groups"]] == ["below 40", "40 to below 60", "60 and above"]
    assert [cell["name"] for cell in both["groups"]] == [
        "f, age below 50",
        "f, age 50 and above",
        "m, age below 50",
        "m, age 50 and above",
    ]
    assert sex["unknown"]["cases"] == 10
    for cell in sex["groups"]:
        own = [row for row in rows if row["sex"] == cell["name"]]
        positives = [row for row in own if row["y"]]
        assert (cell["cases"], cell["positives"]) == (len(own), len(positives))
        fact = cell["metrics"]["tpr"]
        assert fact["value"] == pytest.approx(np.mean([float(row["p"]) >= 0.5 for row in positives]), abs=1e-12)
        for name in ("tpr", "auc", "brier", "calibration_slope"):
            low, high = cell["metrics"][name]["interval"]
            assert low < cell["metrics"][name]["value"] < high
        assert np.allclose(cell["delong"]["interval"], cell["metrics"]["auc"]["interval"], atol=0.04)
    gap = sex["gaps"]["eopp1_gap"]
    assert (gap["lowest"], gap["highest"]) == ("m", "f")
    assert gap["value"] > gap["by_chance_95"]
    assert gap["p"] < 0.05
    assert age["gaps"]["auc_gap"]["p"] > 0.05
    assert "10 cases of unknown group" in " ".join(report["warnings"])
    shown = capsys.readouterr().out
    assert "equal opportunity (TPR), difference" in shown
    assert not re.search(r"\bfair\b", shown)


def test_names_of_groups_and_the_order_of_rows_change_no_figure(workdir: Path) -> None:
    rows = cohort(200)
    first = audited(write(workdir / "a.csv", rows))
    swapped = [{**row, "sex": {"f": "zz", "m": "aa"}.get(row["sex"], "")} for row in reversed(rows)]
    second = audited(write(workdir / "b.csv", swapped))
    for name, fact in first["attributes"][0]["gaps"].items():
        other = second["attributes"][0]["gaps"][name]
        for key in ("value", "by_chance_95", "p", "groups_compared", "interval"):
            assert other[key] == pytest.approx(fact[key], rel=1e-9), (name, key)


def test_small_groups_are_shown_and_stay_out_of_gaps(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*cohort(200), {"id": "x", "patient": "x", "y": 1, "p": "0.01", "sex": "other", "age": 30}]
    report = audited(write(workdir / "t.csv", rows), "--patient", "patient")
    sex = report["attributes"][0]
    other = next(cell for cell in sex["groups"] if cell["name"] == "other")
    assert other["metrics"]["tpr"] == {"value": 0.0, "interval": [None, None], "enough": False}
    assert other["metrics"]["auc"]["value"] is None
    assert sex["gaps"]["eopp1_gap"]["groups_compared"] == 2
    text = " ".join(report["warnings"])
    assert "other has 1 positives and 0 negatives" in text
    assert "other is one patient" in text
    assert "0.000*" in capsys.readouterr().out


def test_two_groups_are_needed_for_a_gap(workdir: Path) -> None:
    report = audited(write(workdir / "t.csv", [{**row, "sex": "f"} for row in cohort(100)]))
    gap = report["attributes"][0]["gaps"]["auc_gap"]
    assert gap["value"] is None
    assert "fewer than two groups" in gap["reason"]


def test_an_attribute_that_nobody_has_is_one_row(workdir: Path) -> None:
    report = audited(write(workdir / "t.csv", [{**row, "sex": "NA"} for row in cohort(60)]))
    sex = report["attributes"][0]
    assert sex["groups"] == []
    assert sex["unknown"]["cases"] == 60
    assert all(fact["value"] is None for fact in sex["gaps"].values())
    assert "sex: has 0 known groups, so there is no gap" in report["warnings"]


@pytest.mark.parametrize("score", [lambda y: "0.5", str], ids=["constant", "perfect"])
def test_scores_without_a_slope_have_none(score: Callable[[int], str], workdir: Path) -> None:
    rows = [{**row, "p": score(row["y"])} for row in cohort(120)]
    report = audited(write(workdir / "t.csv", rows), "--group", "age:50", "--patient", "patient")
    for cell in report["attributes"][1]["groups"]:
        assert cell["metrics"]["calibration_slope"]["value"] is None
        assert cell["metrics"]["auc"]["value"] in (0.5, 1.0)
    assert report["attributes"][1]["gaps"]["auc_gap"]["value"] == 0
    assert report["attributes"][1]["gaps"]["auc_gap"]["p"] == 1


def test_a_threshold_is_fitted_on_other_cases_only(workdir: Path) -> None:
    path = write(workdir / "t.csv", cohort(200))
    later = [{**row, "patient": f"v{row['patient']}", "id": f"v{row['id']}"} for row in cohort(200, seed=1)]
    report = audited(path, "--patient", "patient", "--threshold", f"from:{write(workdir / 'v.csv', later)}")
    scores = np.array([float(row["p"]) for row in later])
    labels = np.array([row["y"] for row in later])
    youden = [(scores[labels == 1] >= t).mean() - (scores[labels == 0] >= t).mean() for t in scores]
    assert report["threshold"]["value"] == scores[int(np.argmax(youden))]
    assert report["threshold"]["source"] == "Youden"
    (workdir / "audit" / "audit.json").unlink()
    (workdir / "audit" / "audit.html").unlink()
    (workdir / "audit").rmdir()
    assert "the audited table itself" in fault(path, "--threshold", f"from:{path}")
    leak = write(workdir / "leak.csv", cohort(200, seed=1))
    assert "patients that are audited too" in fault(path, "--patient", "patient", "--threshold", f"from:{leak}")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_asks_for_nothing_and_escapes_what_comes_from_the_table(workdir: Path) -> None:
    evil = "<script>alert(1)</script>\"'&"
    rows = [{**row, "sex": {"f": evil}.get(row["sex"], row["sex"])} for row in cohort(200)]
    audited(write(workdir / "t.csv", rows))
    text = (workdir / "audit" / "audit.html").read_text(encoding="utf-8")
    parser = Tags()
    parser.feed(text)
    tags = {tag for tag, _ in parser.tags}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base", "a", "image", "use"}
    assert not any(name.startswith("on") or name in ("src", "href") for _, given in parser.tags for name in given)
    assert "http" not in text.replace("http-equiv", "")
    assert sum(tag == "polyline" for tag, _ in parser.tags) == 2 * 5  # two groups, five pictures


def test_the_page_says_where_its_parts_belong_in_a_report(workdir: Path) -> None:
    audited(write(workdir / "t.csv", cohort()))
    text = (workdir / "audit" / "audit.html").read_text(encoding="utf-8")
    assert all(f"<th>{name}</th>" in text for name in ("TRIPOD+AI", "CLAIM", "FUTURE-AI"))
    assert "<td>gaps, what chance gives, adjusted p-values</td><td>Fairness; Model performance</td>" in text


def test_rows_without_a_label_are_counted(workdir: Path) -> None:
    rows = cohort(100)
    rows[3]["y"] = rows[7]["y"] = rows[7]["p"] = ""  # what was not read yet has no score either
    report = audited(write(workdir / "t.csv", rows))
    assert report["exclusions"] == {"without a label": 2}
    assert report["input"]["audited"] == 98
    assert "2 rows without a label were left out" in report["warnings"]


def test_cases_without_a_patient_are_patients_of_their_own_in_any_order(workdir: Path) -> None:
    """As `samples.csv` of a folder of images, of which nobody knows whose they are."""
    rows = cohort(200)
    named = audited(write(workdir / "a.csv", rows), "--patient", "id")
    nobody = audited(write(workdir / "b.csv", [{**row, "patient": ""} for row in rows]), "--patient", "patient")
    assert nobody["attributes"][0]["groups"] == named["attributes"][0]["groups"]
    assert "200 cases without a patient count as a patient each" in nobody["warnings"]
    for row in rows[::5]:
        row["patient"] = ""
    some = audited(write(workdir / "c.csv", rows), "--patient", "patient")
    turned = audited(write(workdir / "d.csv", rows[::-1]), "--patient", "patient")
    assert some["overall"] == turned["overall"]
    assert some["overall"]["patients"] == 140
    assert "40 cases without a patient count as a patient each" in some["warnings"]


BAD: dict[str, tuple[str, Any, str]] = {
    "a score above 1": ("p", 1.5, "p is 1.5, expected a number from 0 to 1"),
    "a score below 0": ("p", -0.2, "expected a number from 0 to 1"),
    "no score": ("p", "", "p is empty, expected a number from 0 to 1"),
    "a label of text": (
        "y",
        "pneumonia",
        "y is 'pneumonia', expected a number; map the labels to 0 and 1, or say which of them ",
    ),
    "an uncertain label": ("y", -1, "y is -1, expected 0 or 1"),
    "an id that is repeated": ("id", "c0", "repeats id 'c0'"),
    "an age of text": ("age", "old", "age is 'old', expected a number"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_value_is_told_with_its_place(case: str, workdir: Path) -> None:
    column, value, message = BAD[case]
    rows = cohort(60)
    rows[4][column] = value
    text = fault(write(workdir / "t.csv", rows), "--id", "id", "--group", "age:50")
    assert message in text
    assert f"t.csv:6:{list(rows[0]).index(column) + 1}: " in text


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (
            ("case", "subject_id", "y_true", "y_prob", "gender", "Age"),
            "--patient subject_id --group gender --group Age:40,60",
        ),
        (("row", "patient_id", "Target", "prob", "Gender", "years"), "--patient patient_id --group Gender"),
        (("row", "unit", "y_true", "y_pred", "sensitive_feature_0", "b"), "--group sensitive_feature_0"),
        (("id", "patient", "label", "score", "group_sex", "x"), "--patient patient --group group_sex"),
    ],
)
def test_tables_of_other_tools_are_read_by_their_usual_names(
    columns: tuple[str, ...], shown: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = cohort()
    path = write(workdir / "t.csv", [dict(zip(columns, row.values(), strict=True)) for row in rows])
    found = audited(path, usual=("--repeats", "100"))
    assert f"columns: --label {columns[2]} --score {columns[3]} {shown}\n" in capsys.readouterr().out
    named = ("--label", "y", "--score", "p", "--group", "sex", "--repeats", "100")
    patient = ("--patient", "patient") if "--patient" in shown else ()
    told = audited(write(workdir / "u.csv", rows), *patient, usual=named)
    assert found["overall"]["positives"] == told["overall"]["positives"]
    assert found["overall"]["metrics"] == told["overall"]["metrics"]


def test_a_table_or_an_option_that_is_wrong_is_told_in_one_line(workdir: Path) -> None:
    rows = cohort(60)
    path = write(workdir / "t.csv", rows)
    assert "did you mean age?" in fault(path, "--group", "aeg")
    assert "no such column" in fault(path, usual=("--label", "truth", "--score", "p", "--group", "sex"))
    assert "no ascending numbers" in fault(path, "--group", "age:60,40")
    assert "expected a number from 0 to 1" in fault(path, "--threshold", "2")
    assert "give cut points" in fault(path, "--group", "id")
    assert "--group Y: is the label or the score" in fault(path, "--group", "Y")
    assert "--group P: is the label or the score" in fault(path, "--group", "P:0.5")
    bare = write(workdir / "bare.csv", [{"y": row["y"], "p": row["p"]} for row in rows])
    assert "needs --group" in fault(bare, usual=("--label", "y", "--score", "p"))
    assert "needs --score COLUMN: " in fault(bare, usual=("--label", "y"))
    assert "did you mean --score?" in fault(path, "--scor", "p")
    assert "--repeats 7" in fault(path, "--repeats", "7", usual=USUAL[:-2])
    assert "does not exist" in fault(workdir / "none.csv")
    assert "is a folder; give a table" in fault(workdir)
    for label, what in ((0, "positives"), (1, "negatives")):
        one = write(workdir / "one.csv", [{**row, "y": label} for row in rows])
        assert f"has no {what} among 60 rows" in fault(one)
    (workdir / "head.csv").write_text("y,p,sex\n")
    assert "no rows" in fault(workdir / "head.csv")


def test_the_example_of_the_documentation_is_what_the_audit_shows(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).parent.parent.parent / "docs" / "audit.md").read_text(encoding="utf-8")
    script, command, output = re.findall(r"```(?:python|bash|text)\n(.*?)```", text, re.DOTALL)
    subprocess.run([sys.executable, "-c", script], check=True)
    _, verb, *options = shlex.split(command)
    assert verb == "audit"
    run([*options, "--repeats", "100"])
    shown = capsys.readouterr().out.splitlines()
    values = [without_intervals(line) for line in shown]
    lines = [line for line in output.splitlines() if line]
    assert len(lines) == 28
    for line in lines:
        assert without_intervals(line) in values


def without_intervals(line: str) -> str:
    """The figures of the cases alone: neither intervals nor, in a line of a gap, what shuffles gave."""
    cells = re.split(r" {2,}", re.sub(r"\[[-\d., ]*\]", "", line).strip())
    return " ".join([*cells[:2], *cells[4:]] if cells[0] in GAP_TITLES.values() else cells)


def test_torch_is_not_imported(workdir: Path) -> None:
    write(workdir / "t.csv", cohort(60))
    words = ["t.csv", *USUAL]
    code = f"import sys; from medzoo.fairness.audit.verb import run; run({words!r}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_the_command_knows_the_verb(workdir: Path) -> None:
    if "audit" not in names("verb"):
        pytest.skip("medzoo-fairness was installed before it had a verb: install it again")
    from medzoo.core.cli import main

    secure_streams()
    assert main([str(a) for a in ("audit", write(workdir / "t.csv", cohort(60)), *USUAL)]) == 0
    assert main(["audit", "--help"]) == 0
