"""The evaluation of zero-shot scores: against scikit-learn, in any batches, with unknown labels and without any."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, matthews_corrcoef, roc_auc_score

from medzoo.core.errors import DataError
from medzoo.vlm.task import ZeroShotEvaluation, ZeroShotOutputs, predictions

CLASSES = ("mass", "edema", "hernia")
REPORTS = ("No mass.", "Edema.", "A mass is seen.", "Clear.")


def batch(count: int = 60, seed: int = 0) -> tuple[dict[str, Any], ZeroShotOutputs]:
    g = torch.Generator().manual_seed(seed)
    label = (torch.rand(count, 3, generator=g) < torch.tensor([0.5, 0.3, 0.0])).float()
    label[torch.rand(count, 3, generator=g) < 0.1] = math.nan
    logits = label.nan_to_num(0.5) + torch.randn(count, 3, generator=g)
    own = torch.randint(4, (count,), generator=g)
    matches = torch.nn.functional.one_hot(own, 4) + torch.randn(count, 4, generator=g)
    made = {
        "id": [f"i{n:03}" for n in range(count)], "path": [""] * count, "source": ["set"] * count, "label": label,
        "patient": [f"p{n // 2}" for n in range(count)], "text": [REPORTS[n] for n in own],
    }  # fmt: skip
    return made, ZeroShotOutputs(logits, CLASSES, True, -logits, matches)


def judged(size: int, order: list[int], **options: Any) -> tuple[ZeroShotEvaluation, dict[str, float]]:
    whole, outputs = batch()
    evaluation = ZeroShotEvaluation(CLASSES, REPORTS, **options)
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        part = {k: v[chosen] if isinstance(v, torch.Tensor) else [v[i] for i in chosen] for k, v in whole.items()}
        tensors = (outputs.logits, outputs.denials, outputs.matches)
        logits, denials, matches = (tensor[chosen] for tensor in tensors if tensor is not None)
        evaluation.update(part, ZeroShotOutputs(logits, CLASSES, True, denials, matches))
    return evaluation, evaluation.compute()


def test_figures_are_those_of_scikit_learn_over_what_was_looked_for() -> None:
    whole, outputs = batch()
    _, found = judged(60, list(range(60)), thresholds={"mass": 0.4, "edema": 0.6, "hernia": 0.0})
    label, logits = whole["label"].numpy(), outputs.logits.numpy()
    known = ~np.isnan(label)
    areas = [roc_auc_score(label[known[:, c], c], logits[known[:, c], c]) for c in (0, 1)]
    assert found["set/auroc"] == pytest.approx(np.mean(areas))
    assert found["set/auroc/mass"] == pytest.approx(areas[0])
    assert "set/auroc/hernia" not in found  # nobody has it
    assert found["set/labels"] == 2
    steps = [average_precision_score(label[known[:, c], c], logits[known[:, c], c]) for c in (0, 1)]
    assert found["set/ap"] == pytest.approx(np.mean(steps))
    cuts = (0.4, 0.6)
    mcc = [matthews_corrcoef(label[known[:, c], c], logits[known[:, c], c] >= cuts[c]) for c in (0, 1)]
    assert found["set/mcc"] == pytest.approx(np.mean(mcc))
    assert found["set/auroc_low"] < found["set/auroc"] < found["set/auroc_high"]
    assert found["set/neg_auroc"] == pytest.approx(found["set/auroc"])
    assert {"set/i2t_r@1", "set/t2i_r@5", "set/i2t_r@1_low"} <= found.keys()
    assert "set/mcc" not in judged(60, list(range(60)))[1]


def test_any_batches_in_any_order_give_the_same() -> None:
    _, wanted = judged(60, list(range(60)))
    order = np.random.default_rng(1).permutation(60).tolist()
    for size in (1, 7):
        _, found = judged(size, order)
        assert found == pytest.approx(wanted)


def test_rows_and_tables_name_what_was_called_and_labels_without_a_ranking(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation, _ = judged(60, list(range(60)), thresholds={"mass": 0.4, "edema": 0.6, "hernia": 9.0})
    evaluation.report(tmp_path)
    with (tmp_path / "samples.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    for row in rows:
        called = [n for n, cut in (("mass", 0.4), ("edema", 0.6)) if float(row[f"logit_{n}"]) >= cut]
        assert row["prediction"] == "|".join(called)
        assert 1 <= float(row["rank"]) <= 4
    with (tmp_path / "labels.csv").open() as file:
        table = {row["label"]: row for row in csv.DictReader(file)}
    assert table["hernia"]["positives"] == "0"
    assert "no ranking of 1 labels of which all tested images agree: hernia" in capsys.readouterr().out


def test_thresholds_come_from_these_images_alone() -> None:
    evaluation, _ = judged(60, list(range(60)))
    cuts = evaluation.best_thresholds()
    assert np.isfinite(cuts[:2]).all()
    assert math.isinf(cuts[2])
    better = judged(60, list(range(60)), thresholds=dict(zip(CLASSES, cuts.tolist(), strict=True)))[1]["set/mcc"]
    for other in (0.0, 0.5, 1.0):
        assert judged(60, list(range(60)), thresholds=dict.fromkeys(CLASSES, other))[1]["set/mcc"] <= better + 1e-9


def test_of_prompts_in_pairs_the_probe_takes_the_difference_once() -> None:
    whole, _ = batch()
    g = torch.Generator().manual_seed(3)
    there, absent = torch.randn(60, 3, generator=g), torch.randn(60, 3, generator=g)
    found = {}
    for paired in (False, True):
        evaluation = ZeroShotEvaluation(CLASSES)
        logits = there - absent if paired else there
        evaluation.update(whole, ZeroShotOutputs(logits, CLASSES, True, absent, paired=paired))
        found[paired] = evaluation.compute()
    for figure in ("pnc_auroc", "neg_auroc"):
        assert found[True][f"set/{figure}"] == pytest.approx(found[False][f"set/{figure}"])
    assert found[True]["set/auroc"] == pytest.approx(found[True]["set/pnc_auroc"])


def test_labels_without_a_threshold_of_validation_have_no_part_in_the_correlation(tmp_path: Path) -> None:
    alone = judged(60, list(range(60)), thresholds={"mass": 0.4})[1]
    both = judged(60, list(range(60)), thresholds={"mass": 0.4, "edema": 9.0})[1]
    assert both["set/mcc"] == pytest.approx(alone["set/mcc"] / 2)  # nobody is called: 0
    evaluation, found = judged(60, list(range(60)), thresholds={"other": 0.4})
    assert "set/mcc" not in found
    evaluation.report(tmp_path)
    assert "0.0" not in (tmp_path / "labels.csv").read_text().splitlines()[1].split(",")[-1]


def test_data_without_labels_are_judged_by_retrieval_alone() -> None:
    whole, outputs = batch()
    del whole["label"]
    evaluation = ZeroShotEvaluation((), REPORTS)
    evaluation.update(whole, ZeroShotOutputs(outputs.logits[:, :0], (), True, None, outputs.matches))
    found = evaluation.compute()
    assert {name.partition("/")[2].partition("_r@")[0] for name in found} == {"i2t", "t2i", "candidates"}
    assert np.isinf(evaluation.best_thresholds()).all()


def test_a_score_that_is_not_finite_is_named() -> None:
    whole, outputs = batch(3)
    outputs.logits[1, 0] = math.nan
    with pytest.raises(DataError, match="i001"):
        ZeroShotEvaluation(CLASSES, REPORTS).update(whole, outputs)
    with pytest.raises(DataError, match="i001"):
        predictions(whole, outputs, {})
