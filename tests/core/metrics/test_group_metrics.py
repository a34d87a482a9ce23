"""Metrics of groups over batches: no property of the batches, nor of what each of them lacks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from medzoo.core.metrics.fairness import GAPS, NEEDS, ScoreCounts, group_metrics
from medzoo.core.metrics.group_metrics import GroupMetrics, GroupRates

NAMES = ("light", "dark", "absent")


def cases(size: int = 200) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (size,), generator=generator)
    scores = torch.rand(size, generator=generator) * 0.6 + 0.3 * labels
    groups = torch.randint(-1, 2, (size,), generator=generator)
    return scores, labels, groups


def test_values_are_those_of_each_group_alone() -> None:
    scores, labels, groups = cases()
    metric = GroupMetrics(NAMES)
    metric.update(scores, labels, groups)
    found = metric.compute()
    for number, name in ((0, "light"), (1, "dark"), (-1, "unknown")):
        own = groups == number
        wanted = group_metrics(ScoreCounts.of(scores[own].double().numpy(), labels[own].numpy()), 0.5)
        for key in NEEDS:
            assert float(found[f"{key}/{name}"]) == pytest.approx(float(wanted[key]), abs=1e-12)
        assert found[f"positives/{name}"] == labels[own].sum()
    assert math.isnan(found["tpr/absent"])
    assert found["positives/absent"] == 0
    assert float(found["eopp1_gap"]) == pytest.approx(abs(float(found["tpr/light"] - found["tpr/dark"])), abs=1e-12)
    assert found["worst_auc"] == min(found["auc/light"], found["auc/dark"])


def test_batches_and_their_order_do_not_matter() -> None:
    scores, labels, groups = cases()
    whole, parts = GroupMetrics(NAMES), GroupMetrics(NAMES)
    whole.update(scores, labels, groups)
    order = torch.argsort(groups, descending=True)  # most batches lack a group
    for part in order.split(7):
        parts.update(scores[part], labels[part], groups[part])
    for name, value in whole.compute().items():
        assert np.array_equal(value, parts.compute()[name], equal_nan=True), name


def test_keys_depend_on_no_data_and_nothing_seen_is_nan() -> None:
    empty, seen = GroupMetrics(NAMES), GroupMetrics(NAMES)
    seen.update(*cases())
    found = empty.compute()
    assert set(found) == set(seen.compute()) >= set(GAPS)
    assert all(torch.isnan(value) or value == 0 for value in found.values())
    assert math.isnan(found["dp_gap"])


def test_a_group_without_positives_is_in_no_gap_of_the_true_positive_rate() -> None:
    metric = GroupRates(("a", "b", "c"), minimum=1)
    scores, labels = torch.tensor([0.9, 0.2, 0.9, 0.2, 0.1, 0.2]), torch.tensor([1, 0, 1, 0, 0, 0])
    metric.update(scores, labels, torch.tensor([0, 0, 1, 1, 2, 2]))
    found = metric.compute()
    assert found["eopp1_gap"] == 0
    assert math.isnan(found["tpr/c"])
    assert set(found) & {"auc_gap", "ece_gap"} == set()


@pytest.mark.parametrize(
    ("scores", "labels", "groups"),
    [
        ([math.nan], [1], [0]),
        ([0.5], [2], [0]),
        ([0.5], [1], [3]),
        ([0.5], [1], [-2]),
        ([0.5, 0.5], [1], [0]),
        ([1.5], [1], [0]),
    ],
)
def test_wrong_values_are_refused(scores: list[float], labels: list[int], groups: list[int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        GroupMetrics(NAMES).update(torch.tensor(scores), torch.tensor(labels), torch.tensor(groups))


def test_names_are_distinct_and_none_is_unknown() -> None:
    for names in (("a", "a"), ("a", "unknown")):
        with pytest.raises(ValueError, match="distinct"):
            GroupRates(names)
