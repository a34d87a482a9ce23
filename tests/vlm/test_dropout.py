"""The cheap dropout drops what `torch.nn.Dropout` drops, and no more."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medzoo.vlm.dropout import Dropout

COUNT = 400_000


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_part_scale_and_mean(p: float) -> None:
    torch.manual_seed(0)
    found = Dropout(p)(torch.ones(COUNT))
    assert found.unique().tolist() == pytest.approx([0.0, 1 / (1 - round(p * 65536) / 65536)], rel=1e-6)
    spread = (p * (1 - p) / COUNT) ** 0.5
    assert float((found == 0).float().mean()) == pytest.approx(p, abs=5 * spread)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 64])
def test_neighbours_are_independent(step: int) -> None:
    torch.manual_seed(1)
    dropped = Dropout(0.5)(torch.ones(COUNT)) == 0
    both = float((dropped[:-step] & dropped[step:]).float().mean())
    assert both == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / COUNT) ** 0.5)


def test_gradient_goes_through_what_is_kept() -> None:
    torch.manual_seed(2)
    values = torch.randn(5, 7, 3, requires_grad=True)
    found = Dropout(0.3)(values)
    (slope,) = torch.autograd.grad(found.sum(), values)
    torch.testing.assert_close(found, values * slope)
    assert 0 < int((slope == 0).sum()) < slope.numel()


def test_a_seed_says_what_is_dropped() -> None:
    layer, values = Dropout(0.4), torch.randn(101)
    torch.manual_seed(3)
    first, second = layer(values), layer(values)
    torch.manual_seed(3)
    assert torch.equal(layer(values), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("p", [0.0, 1.0, 1e-9])
def test_ends_are_those_of_torch(p: float) -> None:
    values = torch.randn(50)
    torch.manual_seed(4)
    found = Dropout(p)(values)
    torch.manual_seed(4)
    assert torch.equal(found, nn.Dropout(p)(values))
    assert torch.equal(Dropout(0.5).eval()(values), values)


def test_other_types_and_no_values() -> None:
    assert Dropout(0.5)(torch.ones(8, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert Dropout(0.5)(torch.ones(0, 4)).shape == (0, 4)
