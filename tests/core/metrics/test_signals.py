"""Points of signals: binned figures against exact ones, record by record, in any order."""

from __future__ import annotations

import math

import pytest
import torch

from medzoo.core.metrics.anomaly import auroc, average_precision
from medzoo.core.metrics.signals import PointAnomalyMetrics, bin_of


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(3, 400, generator=generator) < 0.2
    return torch.randn(3, 400, generator=generator).exp() * (1 + 0.7 * mask) * (1 + seed), mask


def test_bins_keep_the_order_of_negative_and_positive_scores() -> None:
    scores = torch.tensor([-1e9, -3.0, -1e-8, 0.0, 1e-8, 0.5, 0.51, 2.0, 1e9])
    assert bin_of(scores).diff().gt(0).all()
    assert bin_of(scores).min() >= 0
    assert bin_of(scores).max() < 2**20


def test_pooled_figures_are_those_of_all_points_and_the_macro_one_is_a_mean_of_records() -> None:
    records = [drawn(seed) for seed in range(4)]
    metric = PointAnomalyMetrics()
    for scores, mask in records:
        metric.update(scores, mask)
    metric.update(torch.rand(3, 400), torch.zeros(3, 400))  # a normal record has no macro figure
    found = metric.compute()
    torch.manual_seed(0)
    pooled, masks = (torch.stack([record[i].float() for record in records]) for i in (0, 1))
    only = PointAnomalyMetrics()
    for scores, mask in reversed(records):
        only.update(scores, mask)
    exact = only.compute()
    assert float(exact["point_auroc"]) == pytest.approx(auroc(pooled, masks), abs=2e-4)
    assert float(exact["point_ap"]) == pytest.approx(average_precision(pooled, masks), abs=5e-4)
    macro = sum(auroc(*record) for record in records) / 4
    assert float(found["point_auroc_macro"]) == pytest.approx(macro, abs=1e-6)
    assert float(exact["point_auroc_macro"]) == pytest.approx(macro, abs=1e-6)


def test_nothing_seen_and_nothing_abnormal_are_nan() -> None:
    assert all(math.isnan(float(value)) for value in PointAnomalyMetrics().compute().values())
    metric = PointAnomalyMetrics()
    metric.update(torch.rand(2, 5), torch.zeros(2, 5))
    assert all(math.isnan(float(value)) for value in metric.compute().values())


def test_scores_that_are_not_finite_and_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        PointAnomalyMetrics().update(torch.tensor([[math.nan]]), torch.zeros(1, 1))
    with pytest.raises(ValueError, match="one shape"):
        PointAnomalyMetrics().update(torch.zeros(1, 2), torch.zeros(1, 3))
