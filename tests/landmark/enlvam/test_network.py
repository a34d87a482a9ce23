"""The parts of EnLVAM against values by hand."""

from __future__ import annotations

import math

import pytest
import torch

from medzoo.landmark.echo.losses import points_loss
from medzoo.landmark.echo.network import HeatUNet, column_position, column_spread, mean_position, probabilities, spread
from medzoo.landmark.networks.targets import gaussian


def test_a_gaussian_gives_its_centre_over_the_map_and_in_a_column() -> None:
    heat = gaussian(torch.tensor([[20.3, 31.7]]), (64, 48), 2.0)[None]
    heat = heat / heat.sum()
    assert mean_position(heat)[0, 0].tolist() == pytest.approx([20.3, 31.7], abs=1e-3)
    assert column_position(heat, 18)[0, 0].tolist() == pytest.approx([18.0, 31.7], abs=1e-3)
    # The mean distance of a Gaussian in two dimensions is σ √(π/2), in one σ √(2/π).
    half = torch.full((1, 2), 0.5)
    assert float(spread(heat, mean_position(heat), half)) == pytest.approx(math.sqrt(math.pi / 2), rel=0.01)
    rows = column_position(heat, 18)[..., 1]
    assert float(column_spread(heat, rows, 18)) == pytest.approx(2 * math.sqrt(2 / math.pi), rel=0.02)


def test_the_mean_position_has_a_gradient_to_every_logit() -> None:
    logits = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    mean_position(probabilities(logits)).square().sum().backward()
    assert logits.grad is not None
    assert bool((logits.grad != 0).all())


@pytest.mark.parametrize("size", [(96, 64), (97, 61)])
def test_the_network_keeps_any_size_and_has_the_published_channels(size: tuple[int, int]) -> None:
    network = HeatUNet()
    assert network(torch.rand(2, 1, *size)).shape == (2, 4, *size)
    assert [block[0].out_channels for block in network.down] == [6, 12, 24, 48]


def test_the_loss_is_one_norm_an_image_and_leaves_incomplete_ones_out() -> None:
    """Images with errors of 3 and 4 in two coordinates: 5; the mean of squares would be 3.125."""
    truth = torch.zeros(2, 4, 2)
    truth[1, 2, 0] = torch.nan
    predicted = torch.zeros(2, 4, 2)
    predicted[0, 0, 0], predicted[0, 3, 1] = 3, 4
    predicted[1] = 100
    assert float(points_loss(predicted, truth)) == pytest.approx(5)
    predicted.requires_grad_()
    assert float(points_loss(predicted, torch.full_like(truth, torch.nan)).detach()) == 0
