"""A classifier of real radiographs audited by sex and age, where they are on this machine."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from medzoo.core.cli import main

ROOT = Path(__file__).parents[2].parent / "shared/data/chest_notes"
pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason="../shared/data/chest_notes is not on this machine")


def test_a_classifier_of_radiographs_is_audited_by_sex_and_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with (ROOT / "metadata.csv").open(newline="", encoding="utf8") as file:
        rows = {row["filename"]: row for row in csv.DictReader(file)}  # one image comes in two rows
    with Path("labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "label", "patient", "sex", "age"])
        for row in rows.values():
            kind = "covid" if row["finding"] == "COVID-19" else "other"
            age = "" if not row["age"] else "old" if float(row["age"]) >= 55 else "young"
            table.writerow([row["filename"], kind, row["patient"], row["sex"], age])
    data = ["--data", "classes-table", "--data.root", str(ROOT / "images"), "--data.table", "labels.csv"]
    data += ["--data.groups", "[sex, age]", "--data.test_fraction", "0.5", "--trainer.accelerator", "cpu"]
    model = ["--model", "classifier", "--model.backbone", "test_resnet", "--model.size", "64", "--model.epochs", "3"]
    assert main(["fit", *model, *data, "--run_dir", "run", "--quiet"]) == 0
    with Path("run/samples.csv").open(newline="") as file:
        tested = list(csv.DictReader(file))
    columns = ["--label", "label", "--positive", "covid", "--score", "p_covid", "--patient", "patient", "--id", "id"]
    groups = ["--group", "group_sex", "--group", "group_age", "--group", "group_sex+group_age"]
    assert main(["audit", "run/samples.csv", *columns, *groups, "--minimum", "5", "--repeats", "200"]) == 0
    found = json.loads(Path("audit/audit.json").read_text())
    assert found["overall"]["positives"] == sum(row["label"] == "covid" for row in tested)
    assert found["columns"]["positive"] == "covid"
    for attribute in found["attributes"]:
        cases = sum(group["cases"] for group in attribute["groups"]) + (attribute["unknown"] or {"cases": 0})["cases"]
        assert cases == len(tested)
    sex, age, both = found["attributes"]
    assert [group["name"] for group in sex["groups"]] == ["0", "1"]
    unknown = sum(row["group_age"] == "-1" for row in tested)
    assert age["unknown"]["cases"] == unknown > 0
    assert len(both["groups"]) == 4
    for group in sex["groups"]:
        low, high = group["metrics"]["auc"]["interval"]
        assert low <= group["metrics"]["auc"]["value"] <= high
        assert group["patients"] <= group["cases"]
    capsys.readouterr()
    assert main(["audit", "run/samples.csv", "--label", "label", "--score", "p_covid", "--group", "group_sex"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    wrong = ["--label", "label", "--positive", "covd", "--score", "p_covid", "--group", "group_sex"]
    assert main(["audit", "run/samples.csv", *wrong]) == 2
    assert "--positive covd: no row has it in column 'label'; did you mean covid?" in capsys.readouterr().err
