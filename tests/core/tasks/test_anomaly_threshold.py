"""Figures at a threshold where there is none."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from medzoo.core.errors import DataError
from medzoo.core.tasks.anomaly import AnomalyEvaluation, AnomalyOutputs, predictions


def batch_of() -> dict[str, Any]:
    return {
        "id": ["a", "b"], "path": [""] * 2, "source": ["s"] * 2, "patient": ["a", "b"], "kind": ["", "dot"],
        "label": torch.tensor([0, 1]), "image": torch.zeros(2, 3, 8, 8), "original_size": torch.tensor([[8, 8]] * 2),
    }  # fmt: skip


@pytest.mark.parametrize("lost", ["scores", "maps"])
def test_an_image_with_a_score_that_is_not_finite_is_no_normal_one(lost: str) -> None:
    outputs = AnomalyOutputs(torch.tensor([0.1, 0.9]), torch.zeros(2, 8, 8), 0.5)
    getattr(outputs, lost)[1] = math.nan
    for judge in (AnomalyEvaluation(["s"]).update, predictions):
        with pytest.raises(DataError, match="b: gets a score that is not finite"):
            judge(batch_of(), outputs)


def test_without_a_threshold_no_image_is_called_normal() -> None:
    batch = batch_of()
    found = {}
    for threshold in (0.5, math.nan):
        evaluation = AnomalyEvaluation(["s"])
        evaluation.update(batch, AnomalyOutputs(torch.tensor([0.1, 0.9]), torch.zeros(2, 8, 8), threshold))
        found[math.isnan(threshold)] = evaluation.compute()
    assert (found[False]["s/sensitivity"], found[False]["s/specificity"]) == (1, 1)
    assert math.isnan(found[True]["s/sensitivity"])
    assert math.isnan(found[True]["s/specificity"])
