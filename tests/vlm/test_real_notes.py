"""Real radiographs with clinical notes, where they are on this machine: trained, and judged with intervals."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from medzoo.core.cli import main
from medzoo.vlm.data.table import ReportTable

ROOT = Path(__file__).parents[2].parent / "shared/data/chest_notes"
pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason="../shared/data/chest_notes is not on this machine")


@pytest.fixture
def options(tmp_path: Path) -> dict[str, str]:
    """The data with each image once: one of its files comes in two rows."""
    with (ROOT / "metadata.csv").open(newline="", encoding="utf8") as file:
        rows = {row["filename"]: row for row in csv.DictReader(file)}
    with (tmp_path / "notes.csv").open("w", newline="", encoding="utf8") as file:
        writer = csv.DictWriter(file, next(iter(rows.values())))
        writer.writeheader()
        writer.writerows(rows.values())
    columns = {"image": "filename", "text": "clinical_notes"}
    return {"root": str(ROOT / "images"), "table": str(tmp_path / "notes.csv"), **columns}


def test_notes_are_split_by_patient_and_those_without_text_are_named(options: dict[str, Any]) -> None:
    data = ReportTable(**options, labels=["finding"], least=8, groups=["sex"])
    assert data.check() == []
    parts = [{item.patient for item in items} for items in data.cases.parts.values()]
    assert not parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]
    assert "COVID-19" in data.classes
    assert data.found.textless
    assert all(data.found.texts[item.id] for item in data.cases.parts["train"])
    assert f"{len(data.found.textless)} images without text" in data.summary()[-1]


def test_a_fit_ends_with_figures_with_intervals(options: dict[str, str], tmp_path: Path) -> None:
    given = [part for key, value in options.items() for part in (f"--data.{key}", value)]
    small = "--model.size 32 --model.width 32 --model.inner 32 --model.layers 1 --model.words 64 --model.batch 16"
    fit = f"fit --model carzero --data report-table --data.labels [finding] --data.least 8 {small} --quiet"
    short = ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--run_dir", str(tmp_path / "run")]
    assert main([*fit.split(), *given, *short]) == 0
    metrics = json.loads((tmp_path / "run/results.json").read_text())["metrics"]
    names = {name.partition("/")[2] for name in metrics}
    assert {"auroc", "auroc_low", "auroc_high", "i2t_r@5", "i2t_r@5_low", "i2t_r@5_high", "t2i_r@5"} <= names
    with (tmp_path / "run/samples.csv").open() as file:
        assert {"patient", "rank", "logit_COVID-19"} <= set(next(csv.DictReader(file)))
