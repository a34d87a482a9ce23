from __future__ import annotations

import pytest
import torch

from medzoo.landmark.networks.decode import dark
from medzoo.landmark.networks.heatmaps import find_points, heatmap, heatmap_loss
from medzoo.landmark.networks.targets import alpha_power, gaussian

POINTS = torch.tensor([[[30.0, 25.0]]])


def test_the_saturated_disc_is_the_optimum_and_has_no_gradient() -> None:
    disc = (alpha_power(POINTS, (64, 64), 4.0) > 0).float()
    best = ((2 * disc - 1) * 100).requires_grad_()
    loss = heatmap_loss(best, POINTS, 4.0)
    loss.backward()
    assert best.grad is not None
    assert best.grad.abs().max() < 1e-12
    for inside in (-5.0, 0.0, 5.0):
        for outside in (-5.0, 0.0, 5.0):
            assert heatmap_loss(torch.where(disc > 0, inside, outside), POINTS, 4.0) > loss


def test_one_pixel_of_known_value_costs_what_smooth_l1_says() -> None:
    logits = torch.zeros(1, 1, 1, 1)  # sigmoid 0.5, target 10 at the point: 9.5 - beta / 2
    assert heatmap_loss(logits, torch.zeros(1, 1, 2), 10.0).item() == pytest.approx(9.5 - 0.75)
    away = torch.full((1, 1, 2), 1000.0)  # target 0: 0.5² / (2 beta)
    assert heatmap_loss(logits, away, 10.0).item() == pytest.approx(0.25 / 3)


def test_the_gaussian_target_is_its_own_optimum() -> None:
    ys, xs = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    wanted = torch.exp(-((xs - 30) ** 2 + (ys - 25) ** 2) / 32).clamp(1e-6, 1 - 1e-6)[None, None]
    best = torch.logit(wanted).requires_grad_()
    heatmap_loss(best, POINTS, 4.0, target="gaussian").backward()
    assert best.grad is not None
    assert best.grad.abs().max() < 1e-8


@pytest.mark.parametrize("sigma", [1.0, 4.0])
def test_dark_blurs_as_much_as_the_target_is_wide(sigma: float) -> None:
    """The paper's rule: the kernel has the variance of the training's heat maps, whose ripples it takes away."""
    noise = 0.05 * torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    heat = (gaussian(POINTS, (64, 64), sigma) + noise).clamp(1e-4, 1 - 1e-4)
    found = find_points(torch.logit(heat), "gaussian", "dark", sigma).points
    assert torch.allclose(found, dark(heat, sigma)[0], atol=1e-3)
    assert not torch.allclose(found, dark(heat, 2.0)[0], atol=1e-3)


def test_missing_and_weightless_landmarks_do_not_count() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 2, 32, 32)
    points = torch.tensor([[[10.0, 12.0], [20.0, 8.0]]])
    only = heatmap_loss(logits[:, :1], points[:, :1], 3.0)
    missing = points.clone()
    missing[0, 1] = torch.nan
    assert heatmap_loss(logits, missing, 3.0).item() == pytest.approx(only.item())
    assert heatmap_loss(logits, points, 3.0, weight=torch.tensor([[2.0, 0.0]])).item() == pytest.approx(only.item())
    for target in ("alpha_power", "gaussian", "softmax"):
        free = logits.clone().requires_grad_()
        loss = heatmap_loss(free, missing, 3.0, target=target)
        loss.backward()
        assert free.grad is not None
        assert torch.isfinite(free.grad).all()
        assert free.grad[0, 1].abs().max() == 0
        assert heatmap_loss(logits, torch.full_like(points, torch.nan), 3.0, target=target) == 0


def test_the_softmax_target_is_the_cross_entropy_with_the_normalised_gaussian() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 24, 32)
    points = torch.rand(2, 3, 2) * 24
    wanted = gaussian(points, (24, 32), 2.0).flatten(2)
    wanted = wanted / wanted.sum(2, keepdim=True)
    expected = -(wanted * logits.flatten(2).log_softmax(2)).sum(2).mean()
    torch.testing.assert_close(heatmap_loss(logits, points, 2.0, target="softmax"), expected)


def test_maps_of_the_softmax_target_have_peak_one_and_keep_their_order() -> None:
    logits = torch.randn(2, 3, 8, 8)
    maps = heatmap(logits, "softmax")
    assert torch.equal(maps.amax((2, 3)), torch.ones(2, 3))
    assert torch.equal(maps.flatten(2).argsort(2), logits.flatten(2).argsort(2))
    assert torch.equal(heatmap(logits, "alpha_power"), logits.sigmoid())
