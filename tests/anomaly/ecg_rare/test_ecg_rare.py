"""What makes Rare-ECG the method it is: groups of age and sex are compared, in its own table and in an audit."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
import torch

from medzoo.anomaly.ecg_rare.module import EcgRare
from medzoo.core.cli import main
from medzoo.core.registry import names
from medzoo.core.sample import Batch
from medzoo.core.tasks.classification import ClassificationOutputs
from medzoo.core.tasks.diagnosis import DiagnosisEvaluation

LABELS = ("af", "vt")
SMALL = {
    "rate": 100.0, "length": 320, "beat": 96, "widths": [4, 4, 4, 4, 4], "hidden": 6, "tail": 3, "head": [8],
    "width": 8, "blocks": 2, "groups": 2, "classes": list(LABELS), "shares": [0.5, 0.2], "stage": "diagnose",
}  # fmt: skip


def cases(count: int) -> tuple[Batch, ClassificationOutputs]:
    """Return records of two sexes and three age bands, of which the model ranks one sex at random."""
    torch.manual_seed(0)
    label = (torch.rand(count, 2) < 0.4).float()
    sex = torch.arange(count) % 2
    logits = 3 * label * (sex == 0)[:, None] + torch.randn(count, 2)
    batch: Batch = {
        "id": [f"r{i}" for i in range(count)], "path": [""] * count, "source": ["ward"] * count,
        "patient": [f"p{i // 2}" for i in range(count)], "label": label,
        "groups": [{"sex": int(sex[i]), "age_band": i // 2 % 3 if i > 9 else -1} for i in range(count)],
    }  # fmt: skip
    return batch, ClassificationOutputs(logits, LABELS, True)


@pytest.fixture
def report(workdir: Path) -> DiagnosisEvaluation:
    model = EcgRare(**SMALL)  # type: ignore[arg-type]
    assert model.by_group
    evaluation = DiagnosisEvaluation(LABELS, {"af": 0.5, "vt": 0.2}, by_group=model.by_group)
    evaluation.update(*cases(240))
    return evaluation


def test_groups_are_compared_and_the_one_that_is_ranked_at_random_is_found(report: DiagnosisEvaluation) -> None:
    found = report.compute()
    assert found["ward/sex/auroc_gap"] > 0.3
    assert found["ward/age_band/auroc_gap"] < 0.2
    report.report(Path())
    with Path("groups.csv").open() as file:
        rows = {(row["attribute"], row["group"]): row for row in csv.DictReader(file)}
    assert rows.keys() == {("sex", "0"), ("sex", "1"), ("age_band", "0"), ("age_band", "1"), ("age_band", "2")}
    assert float(rows["sex", "1"]["more_high"]) < 0 < float(rows["sex", "0"]["more_low"])
    assert all(row["classes"] == "2" for row in rows.values())


def test_its_table_goes_through_an_audit_by_age_and_sex(report: DiagnosisEvaluation) -> None:
    if "audit" not in names("verb"):
        pytest.skip("medzoo-fairness is not installed")
    report.compute()
    report.report(Path())
    groups = ["--group", "group_sex", "--group", "group_age_band"]
    more = ["--patient", "patient", "--id", "id", "--repeats", "100"]
    assert main(["audit", "samples.csv", "--label", "label_vt", "--score", "p_vt", *groups, *more]) == 0
    text = json.loads(Path("audit/audit.json").read_text())
    assert {"group_sex", "group_age_band"} <= set(json.dumps(text).replace('"', " ").split())


def aged(count: int, seed: int) -> Batch:
    """Return normal records whose voltage falls by 1 % a year, of ages from 30 to 90."""
    drawn = torch.Generator().manual_seed(seed)
    age = 30 + 60 * torch.rand(count, generator=drawn)
    waves = torch.sin(40 * torch.arange(320) / 320 + torch.rand(count, 12, 1, generator=drawn))
    noise = 0.05 * torch.randn(count, 12, 320, generator=drawn)
    return {
        "id": [str(i) for i in range(count)], "path": [""] * count,
        "signal": (1.6 - 0.01 * age)[:, None, None] * waves + noise,
        "beats": [torch.tensor([60, 130, 200])] * count, "age": age, "sex": torch.full((count,), math.nan),
    }  # fmt: skip


def gap(attribute_weight: float) -> float:
    """Return the mean score of unseen normal records of those above 60 less that of the others, after 70 steps."""
    torch.manual_seed(0)
    scale = {"norm": "millivolts", "least_log_variance": -4.0, "attribute_weight": attribute_weight}
    model = EcgRare(**{**SMALL, **scale, "stage": "restore"})  # type: ignore[arg-type]
    model.log = model.log_dict = lambda *_, **__: None  # type: ignore[assignment, method-assign]
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    train, unseen = aged(48, 1), aged(48, 2)
    model.train()
    for _ in range(70):
        optimizer.zero_grad()
        model.training_step(train, 0).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        score = model.outputs(unseen).scores  # type: ignore[union-attr]
    old = unseen["age"] > 60
    return float(score[old].mean() - score[~old].mean())


def test_without_the_loss_on_age_the_gap_between_ages_is_another_where_what_is_normal_depends_on_age() -> None:
    learnt = gap(1.0)
    assert gap(1.0) == pytest.approx(learnt, abs=1e-3)  # nothing else moves it
    assert abs(learnt - gap(0.0)) > 0.02
