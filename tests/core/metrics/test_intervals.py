"""An interval needs two that may differ: of one image or patient there is none, rather than one of no width."""

from __future__ import annotations

import math

import torch

from medzoo.core.metrics.anomaly import auroc_interval
from medzoo.core.metrics.landmark import bootstrap_interval
from medzoo.core.metrics.segmentation import group_interval


def test_the_interval_of_one_is_undefined() -> None:
    one = torch.zeros(4)
    scores, labels = torch.tensor([0.1, 0.9, 0.3, 0.4]), torch.tensor([0, 1, 1, 0])
    found = [
        bootstrap_interval(torch.tensor([[1.0, 2.0, 4.0]])),
        bootstrap_interval(torch.tensor([[1.0, 2.0, 4.0], [math.nan, math.inf, math.nan]])),
        group_interval(torch.tensor([0.2, 0.4, 0.9, 0.1]), one),
        group_interval(torch.tensor([0.2, 0.4, 0.9, math.nan]), torch.tensor([0, 0, 0, 1])),
        auroc_interval(scores, labels, one),
    ]
    assert all(math.isnan(low) and math.isnan(high) for low, high in found)


def test_the_interval_of_two_has_a_width() -> None:
    low, high = bootstrap_interval(torch.tensor([[1.0, 2.0], [5.0, 6.0]]))
    assert low < high
    low, high = group_interval(torch.tensor([0.2, 0.9]), torch.tensor([0, 1]))
    assert low < high
