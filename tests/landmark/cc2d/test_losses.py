from __future__ import annotations

import math

import pytest
import torch

from medzoo.landmark.cc2d.losses import discs, voting_loss
from medzoo.landmark.networks.decode import vote

RADIUS = 7
CORNERS = [(0, 0), (63, 0), (0, 47), (63, 47), (20, 31), (5, 44)]


def at(*xy: tuple[float, float]) -> torch.Tensor:
    return torch.tensor([xy]).float()


def offsets(points: torch.Tensor, height: int, width: int, radius: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The way from each pixel to the landmarks, `(B, K, H, W)` along x and y."""
    grid = torch.stack(torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy"), dim=-1)
    x, y = ((points[:, :, None, None] - grid) / radius).unbind(-1)
    return x, y


def test_the_disc_is_open_and_centred_on_the_landmark() -> None:
    disc = discs(at((30, 20)), (48, 64), RADIUS)
    ys, xs = torch.nonzero(disc[0, 0], as_tuple=True)
    inside = {(x, y) for y in range(48) for x in range(64) if math.hypot(x - 30, y - 20) < RADIUS}
    assert set(zip(xs.tolist(), ys.tolist(), strict=True)) == inside


@pytest.mark.parametrize("xy", CORNERS)
def test_votes_of_the_targets_meet_at_the_landmark_even_in_corners(xy: tuple[int, int]) -> None:
    disc = discs(at(xy), (48, 64), RADIUS)
    found, share = vote(disc.float(), *offsets(at(xy), 48, 64, RADIUS), RADIUS)
    assert found[0, 0].tolist() == list(xy)
    assert share.item() * int(3.14 * RADIUS**2) >= disc.sum() - 1e-3


def test_the_loss_has_its_known_value_and_is_zero_for_perfect_maps() -> None:
    points = at((30, 20), (0, 47))
    disc, ways = discs(points, (48, 64), RADIUS), offsets(points, 48, 64, RADIUS)
    assert voting_loss(torch.where(disc, 50.0, -50.0), *ways, points, RADIUS, 2.0).item() == pytest.approx(0, abs=1e-6)
    zero = torch.zeros(1, 2, 48, 64)
    away = sum((o.abs() * disc).sum() / disc.sum() for o in ways)
    expected = 2.0 * 0.5 * math.log(2) + float(away)
    assert voting_loss(zero, zero, zero, points, RADIUS, 2.0).item() == pytest.approx(expected, rel=1e-5)


def test_the_heat_term_is_the_formula_of_the_paper() -> None:
    torch.manual_seed(0)
    logits, points = torch.randn(2, 3, 32, 32, dtype=torch.float64), torch.rand(2, 3, 2) * 31
    disc = discs(points, (32, 32), 4)
    h, g = logits.sigmoid(), disc.double()
    expected = (-(1 - h) * g * h.log() - h * (1 - g) * (1 - h).log()).mean()
    loss = voting_loss(logits, *offsets(points, 32, 32, 4), points, 4, 1.0)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_offsets_count_inside_the_discs_only() -> None:
    points = at((30, 20))
    disc = discs(points, (48, 64), RADIUS)
    found = torch.zeros(1, 1, 48, 64, requires_grad=True)
    voting_loss(torch.zeros(1, 1, 48, 64), found, torch.zeros(1, 1, 48, 64), points, RADIUS, 2.0).backward()
    assert found.grad is not None
    assert not found.grad[~disc].any()
    assert (found.grad[disc] != 0).sum() == disc.sum() - 13  # those above and below the landmark are right already


def test_missing_landmarks_do_not_count() -> None:
    torch.manual_seed(0)
    maps = [torch.randn(1, 2, 32, 32, requires_grad=True) for _ in range(3)]
    points = at((10, 12), (math.nan, math.nan))
    alone = voting_loss(*(m[:, :1] for m in maps), points[:, :1], 4, 2.0)
    loss = voting_loss(*maps, points, 4, 2.0)
    assert loss.item() == pytest.approx(alone.item(), rel=1e-6)
    loss.backward()
    for m in maps:
        assert m.grad is not None
        assert torch.isfinite(m.grad).all()
        assert not m.grad[:, 1].any()
    assert voting_loss(*maps, torch.full((1, 2, 2), math.nan), 4, 2.0) == 0
