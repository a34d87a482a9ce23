"""What a test shows of groups: figures by group, gaps, the long tail, the same for any batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medzoo.core.metrics.fairness import ScoreCounts, auc, group_gaps, rates
from medzoo.core.metrics.group_figures import utopia_distance
from medzoo.core.tasks.classification import ClassificationOutputs
from medzoo.fairness.evaluation import GroupEvaluation


def judged(sizes: list[int], seed: int = 0, **options: object) -> GroupEvaluation:
    """Judge 120 images of two classes and two sexes, some unknown, in batches of the sizes."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(2, (120,), generator=generator)
    logits = torch.randn(120, 2, generator=generator) + torch.nn.functional.one_hot(label, 2)
    sex = torch.randint(-1, 2, (120,), generator=generator)
    found = GroupEvaluation(["no", "yes"], False, False, {"sex": ("f", "m")}, **options)  # type: ignore[arg-type]
    start = 0
    for size in sizes:
        rows = range(start, start + size)
        batch = {
            "id": [f"i{i:03}" for i in rows],
            "path": [""] * size,
            "source": ["all"] * size,
            "label": label[start : start + size],
            "groups": [{"sex": int(sex[i])} for i in rows],
        }
        found.update(batch, ClassificationOutputs(logits[start : start + size], ("no", "yes")))
        start += size
    return found


def test_figures_of_two_classes_are_those_of_the_core() -> None:
    evaluation = judged([120])
    found = evaluation.compute()
    rows = evaluation.rows()
    each = []
    for g, name in enumerate(("f", "m")):
        own = [row for row in rows if row["group_sex"] == g]
        counts = ScoreCounts.of([row["p_yes"] for row in own], [int(row["label"] == "yes") for row in own])
        figures = {**rates(counts, 0.5), "auc": auc(counts)}
        each.append(figures)
        for key in ("accuracy", "auc", "tpr", "tnr"):
            assert found[f"all/sex/{key}/{name}"] == pytest.approx(float(figures[key]))
    gaps = group_gaps({key: np.array([one[key] for one in each]) for key in each[0]})
    for key in ("eodd_max", "eodd_mean", "dp_gap", "auc_gap", "accuracy_gap", "worst_auc"):
        assert found[f"all/sex/{key}"] == pytest.approx(float(gaps[key]))
    known = [row for row in rows if row["group_sex"] >= 0]
    whole = float(auc(ScoreCounts.of([r["p_yes"] for r in known], [int(r["label"] == "yes") for r in known])))
    assert found["all/sex/utopia"] == pytest.approx(utopia_distance(whole, float(gaps["worst_auc"])))


def test_batches_change_no_figure_and_the_unknown_have_a_row(tmp_path: Path) -> None:
    once, parts = judged([120]), judged([7, 1, 50, 62])
    assert once.compute() == parts.compute()
    once.report(tmp_path)
    lines = (tmp_path / "groups.csv").read_text().splitlines()
    assert [line.split(",")[2] for line in lines] == ["group", "f", "m", "unknown"]
    assert sum(int(line.split(",")[3]) for line in lines[1:]) == 120


def test_a_bias_has_aligned_and_conflicting_cases() -> None:
    found = judged([120], bias="sex").compute()
    mean = (found["all/sex/aligned_auc"] + found["all/sex/conflict_auc"]) / 2
    assert found["all/sex/balanced_auc"] == pytest.approx(mean)
    assert "all/sex/conflict_auc" not in judged([120]).compute()


def test_few_cases_are_shown_and_compared_with_nothing() -> None:
    found = judged([120], minimum=100).compute()
    assert "all/sex/eodd_max" not in found
    assert "all/sex/accuracy/f" in found


def test_head_middle_and_tail_go_by_the_training_images() -> None:
    names = ("a", "b", "c")
    evaluation = GroupEvaluation(names, True, False, shares={"a": 0.05, "b": 0.02, "c": 0.009})
    label = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    batch = {"id": list("wxyz"), "path": [""] * 4, "source": ["s"] * 4, "label": label}
    evaluation.update(batch, ClassificationOutputs(logits, names, True))
    found = evaluation.compute()
    for part, name in (("head", "a"), ("middle", "b"), ("tail", "c")):
        assert found[f"s/{part}_ap"] == found[f"s/ap/{name}"]
