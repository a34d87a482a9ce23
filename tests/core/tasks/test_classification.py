"""The task of classification: each figure against its definition written out, whatever the batches."""

from __future__ import annotations

import csv
import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medzoo.core.errors import ConfigError, DataError
from medzoo.core.metrics.classification import areas, intervals
from medzoo.core.sample import collate, misfit
from medzoo.core.tasks.classification import (
    ClassificationEvaluation,
    ClassificationOutputs,
    ClassificationSample,
    predictions,
    write_predictions,
)

NAMES = ("clear", "nodule", "mesh")


def sample(index: int, label: torch.Tensor, patient: str = "", source: str = "chest") -> dict[str, Any]:
    return {
        "id": f"{index:03}",
        "path": "",
        "source": source,
        "domain": 0,
        "patient": patient,
        "groups": {"sex": index % 2},
        "image": torch.zeros(1, 2, 2),
        "affine": torch.eye(2, 3, dtype=torch.float64),
        "original_size": torch.tensor([2, 2]),
        "label": label,
    }


def judged(
    logits: torch.Tensor,
    labels: torch.Tensor,
    names: tuple[str, ...] = NAMES,
    multi: bool = False,
    sizes: int = 4,
    order: list[int] | None = None,
    **options: Any,
) -> ClassificationEvaluation:
    evaluation = ClassificationEvaluation(names, multi, **options)
    order = list(range(len(logits))) if order is None else order
    for start in range(0, len(order), sizes):
        part = order[start : start + sizes]
        batch = collate([sample(i, labels[i], f"p{i // 2}") for i in part], ClassificationSample)
        assert misfit(batch, ClassificationSample) is None
        evaluation.update(batch, ClassificationOutputs(logits[part], names, multi))
    return evaluation


def drawn(count: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=count)
    logits = rng.normal(size=(count, classes)).round(1)  # rounded, so that there are ties
    logits[np.arange(count), labels] += 0.7
    return torch.tensor(logits), torch.tensor(labels)


def pairs_auroc(score: np.ndarray, label: np.ndarray) -> float:
    ups, downs = score[label == 1], score[label == 0]
    return float(np.mean([(u > d) + 0.5 * (u == d) for u, d in product(ups, downs)]))


def steps_ap(score: np.ndarray, label: np.ndarray) -> float:
    total, last = 0.0, 0.0
    for limit in sorted(set(score.tolist()), reverse=True):
        recall = float((label[score >= limit] == 1).sum() / (label == 1).sum())
        total += (recall - last) * float((label[score >= limit] == 1).mean())
        last = recall
    return total


def test_figures_of_exclusive_classes_are_their_definitions() -> None:
    logits, labels = drawn(37, 3)
    found = judged(logits, labels).compute()
    p, y = logits.softmax(1).numpy(), labels.numpy()
    called = p.argmax(1)
    assert found["chest/accuracy"] == pytest.approx((called == y).mean())
    assert found["chest/balanced_accuracy"] == pytest.approx(np.mean([(called == y)[y == c].mean() for c in range(3)]))
    each = [pairs_auroc(p[:, c], y == c) for c in range(3)]
    assert [found[f"chest/auroc/{n}"] for n in NAMES] == pytest.approx(each)
    assert found["chest/auroc"] == pytest.approx(np.mean(each))
    each = [steps_ap(p[:, c], (y == c).astype(float)) for c in range(3)]
    assert [found[f"chest/ap/{n}"] for n in NAMES] == pytest.approx(each)
    assert found["chest/ap"] == pytest.approx(np.mean(each))
    assert found["chest/brier"] == pytest.approx(((p - np.eye(3)[y]) ** 2).sum(1).mean())
    top, ece = p.max(1), 0.0
    for b in range(15):
        inside = (top >= b / 15) & (top < (b + 1) / 15)
        if inside.any():
            ece += inside.mean() * abs(top[inside].mean() - (called == y)[inside].mean())
    assert found["chest/ece"] == pytest.approx(ece)
    for name in ("accuracy", "balanced_accuracy", "auroc", "auroc/mesh"):
        assert found[f"chest/{name}_low"] < found[f"chest/{name}"] < found[f"chest/{name}_high"]


def test_labels_that_were_not_looked_for_count_nowhere() -> None:
    rng = np.random.default_rng(3)
    logits = torch.tensor(rng.normal(size=(40, 3)))
    labels = torch.tensor((rng.random((40, 3)) < 0.4).astype(np.float32))
    labels[torch.tensor(rng.random((40, 3)) < 0.3)] = math.nan
    found = judged(logits, labels, multi=True).compute()
    p, y = logits.sigmoid().numpy(), labels.numpy()
    known = ~np.isnan(y)
    right = (p >= 0.5) == (y == 1)
    assert found["chest/accuracy"] == pytest.approx(right[known].mean())
    rates = [(right[y[:, c] == v, c]).mean() for c in range(3) for v in (0, 1)]
    assert found["chest/balanced_accuracy"] == pytest.approx(np.mean(rates))
    each = [pairs_auroc(p[known[:, c], c], y[known[:, c], c]) for c in range(3)]
    assert found["chest/auroc"] == pytest.approx(np.mean(each))
    assert found["chest/brier"] == pytest.approx(np.nansum((p - y) ** 2, axis=1)[known.any(1)].mean())
    # Whatever the model says of what nobody looked for changes nothing.
    other = torch.where(labels.isnan(), torch.tensor(rng.normal(size=(40, 3))), logits)
    assert judged(other, labels, multi=True).compute() == found


def test_two_classes_have_the_second_as_the_positive_one() -> None:
    logits, labels = drawn(30, 2, seed=5)
    names = ("normal", "pneumonia")
    found = judged(logits, labels, names).compute()
    p, y = logits.softmax(1).numpy()[:, 1], labels.numpy()
    assert found["chest/auroc"] == pytest.approx(pairs_auroc(p, y))
    assert found["chest/ap"] == pytest.approx(steps_ap(p, y))
    assert found["chest/sensitivity"] == pytest.approx((p > 0.5)[y == 1].mean())
    assert found["chest/specificity"] == pytest.approx((p <= 0.5)[y == 0].mean())
    assert not [name for name in found if "/" in name.removeprefix("chest/")]


def test_results_do_not_depend_on_batches_or_their_order() -> None:
    logits, labels = drawn(23, 3)
    first = judged(logits, labels).compute()
    assert judged(logits, labels, sizes=23).compute() == first
    order = np.random.default_rng(0).permutation(23).tolist()
    assert judged(logits, labels, sizes=5, order=order).compute() == first


def test_a_class_without_samples_has_no_figure_and_spoils_no_mean() -> None:
    logits, labels = drawn(30, 3)
    labels[labels == 2] = 0
    found = judged(logits, labels).compute()
    assert "chest/auroc/mesh" not in found
    assert found["chest/auroc"] == pytest.approx((found["chest/auroc/clear"] + found["chest/auroc/nodule"]) / 2)
    assert all(math.isfinite(value) for value in found.values())


def test_an_interval_draws_patients() -> None:
    logits, labels = drawn(60, 2, seed=1)
    p, y = logits.softmax(1).numpy(), np.eye(2)[labels.numpy()]
    low, high = intervals(lambda w: areas(p, y, w), np.arange(60).astype(str))
    twice = np.concatenate([p, p]), np.concatenate([y, y])
    same = np.tile(np.arange(60).astype(str), 2)  # every patient has two equal images, which tell nothing new
    again = intervals(lambda w: areas(*twice, w), same)
    assert (low, high) == (pytest.approx(again[0]), pytest.approx(again[1]))
    narrower = intervals(lambda w: areas(*twice, w), np.arange(120).astype(str))
    assert narrower[1][1] - narrower[0][1] < 0.85 * (high - low)[1]
    assert np.isnan(intervals(lambda w: areas(p, y, w), np.array(["one"] * 60))[0]).all()


def test_rows_and_files_tell_each_sample(tmp_path: Path) -> None:
    logits, labels = drawn(12, 3)
    evaluation = judged(logits, labels, spread=False)
    assert not [name for name in evaluation.compute() if name.endswith("_low")]
    evaluation.report(tmp_path)
    rows = list(csv.DictReader((tmp_path / "samples.csv").open()))
    assert [row["label"] for row in rows] == [NAMES[i] for i in labels]
    assert [float(row["error"]) for row in rows] == (logits.argmax(1) != labels).double().tolist()
    assert [row["group_sex"] for row in rows] == [str(i % 2) for i in range(12)]
    shown = [[float(row[f"p_{name}"]) for name in NAMES] for row in rows]
    assert torch.tensor(shown, dtype=torch.float64).allclose(logits.softmax(1), atol=1e-6)
    table = list(csv.DictReader((tmp_path / "confusion_chest.csv").open()))
    assert sum(int(row[name]) for row in table for name in NAMES) == 12
    assert int(table[1]["mesh"]) == int(((labels == 1) & (logits.argmax(1) == 2)).sum())
    assert {p.name for p in (tmp_path / "figures").iterdir()} == {"chest_confusion.png", "chest_reliability.png"}


def test_rows_of_labels_leave_what_is_unknown_empty(tmp_path: Path) -> None:
    labels = torch.tensor([[1.0, math.nan, 0.0], [1.0, 1.0, 0.0]])
    logits = torch.tensor([[2.0, 2.0, 2.0], [2.0, -2.0, -2.0]])
    evaluation = judged(logits, labels, multi=True, spread=False)
    evaluation.compute()
    evaluation.report(tmp_path)
    first, second = csv.DictReader((tmp_path / "samples.csv").open())
    assert (first["label"], first["prediction"], first["error"]) == ("clear", "clear|nodule|mesh", "0.5")
    assert (first["label_clear"], first["label_nodule"], first["label_mesh"]) == ("1", "", "0")
    assert (second["label"], second["prediction"]) == ("clear|nodule", "clear")


def test_classes_of_the_data_are_found_by_name_in_those_of_the_model() -> None:
    batch = collate([sample(0, torch.tensor(0)), sample(1, torch.tensor(1))], ClassificationSample)
    logits = torch.tensor([[0.0, 0.0, 9.0], [0.0, 9.0, 0.0]])
    evaluation = ClassificationEvaluation(("mesh", "nodule"), spread=False)
    evaluation.update(batch, ClassificationOutputs(logits, NAMES))
    assert evaluation.compute()["chest/accuracy"] == 1
    with pytest.raises(ConfigError, match="has a class 'bone', the model knows clear, nodule, mesh"):
        ClassificationEvaluation(("mesh", "bone")).update(batch, ClassificationOutputs(logits, NAMES))
    with pytest.raises(ConfigError, match="several labels an image, the model gives one class an image"):
        ClassificationEvaluation(NAMES, True).update(batch, ClassificationOutputs(logits, NAMES))
    numbered = ClassificationEvaluation(("0", "1", "2"), spread=False)
    numbered.update(batch, ClassificationOutputs(logits.flip(1), NAMES))
    assert numbered.compute()["chest/accuracy"] == 1


def test_a_logit_that_is_not_finite_is_told_with_its_image() -> None:
    batch = collate([sample(7, torch.tensor(0))], ClassificationSample)
    lost = ClassificationOutputs(torch.full((1, 3), math.nan), NAMES)
    with pytest.raises(DataError, match="007: gets a score that is not finite"):
        ClassificationEvaluation(NAMES).update(batch, lost)
    with pytest.raises(DataError, match="007: gets a score that is not finite"):
        predictions(batch, lost)


def test_predictions_are_records_and_a_table(tmp_path: Path) -> None:
    batch = collate([sample(0, torch.tensor(0)), sample(1, torch.tensor(1))], ClassificationSample)
    logits = torch.tensor([[0.0, 3.0, 0.0], [5.0, 5.5, 0.0]], requires_grad=True)
    one = [answer.record for answer in predictions(batch, ClassificationOutputs(logits, NAMES))]
    several = [answer.record for answer in predictions(batch, ClassificationOutputs(logits - 1, NAMES, True))]
    assert [record["prediction"] for record in one] == ["nodule", "nodule"]
    assert [record["prediction"] for record in several] == [["nodule"], ["clear", "nodule"]]
    assert sum(one[0]["probabilities"].values()) == pytest.approx(1)
    write_predictions(several, tmp_path)
    assert [row["prediction"] for row in csv.DictReader((tmp_path / "predictions.csv").open())] == [
        "nodule",
        "clear|nodule",
    ]
    (gradient,) = torch.autograd.grad(ClassificationOutputs(logits, NAMES).probabilities[:, 1].sum(), logits)
    assert gradient.abs().sum() > 0
