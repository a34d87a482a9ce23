"""Losses hold their formulas, and know when they are met."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medzoo.adversarial.engine import (
    BIM,
    DLR,
    PGD,
    AnomalyScore,
    CrossEntropy,
    LandmarkDistance,
    Margin,
    MultiLabelBCE,
    Square,
    TargetedDLR,
    Victim,
)

LOGITS = torch.tensor([[3.0, 1.0, -1.0, -2.0], [-5.0, -2.0, -9.0, -4.0]])
GOAL = torch.tensor([0, 3])


def test_class_losses_by_hand() -> None:
    torch.testing.assert_close(CrossEntropy().value(LOGITS, GOAL), -LOGITS.log_softmax(dim=1)[[0, 1], GOAL])
    # The second row has negative logits only: a mask of zeros would take 0 for the largest other.
    torch.testing.assert_close(Margin().value(LOGITS, GOAL), torch.tensor([-2.0, 2.0]))
    torch.testing.assert_close(Margin(kappa=1.5).gain(LOGITS, GOAL, False), torch.tensor([-2.0, 1.5]))
    torch.testing.assert_close(Margin(kappa=1.5).gain(LOGITS, GOAL, True), torch.tensor([1.5, -2.0]))
    torch.testing.assert_close(DLR().value(LOGITS, GOAL), torch.tensor([-2.0 / 4, 2.0 / 3]))
    torch.testing.assert_close(TargetedDLR().value(LOGITS, GOAL), torch.tensor([-2.0 / 4.5, 2.0 / 5]))
    assert CrossEntropy().met(LOGITS, GOAL).tolist() == [True, False]


def test_labels_without_a_goal_count_for_nothing() -> None:
    logits = torch.tensor([[2.0, -1.0, 5.0]], requires_grad=True)
    goal = torch.tensor([[1.0, 0.0, math.nan]])
    value = MultiLabelBCE().value(logits, goal)
    torch.testing.assert_close(value, F.softplus(torch.tensor([-2.0])) + F.softplus(torch.tensor([-1.0])))
    assert MultiLabelBCE().met(logits, goal).all()
    assert torch.autograd.grad(value.sum(), logits)[0][0, 2] == 0


def test_multi_label_attack_flips_the_wished_label_alone() -> None:
    torch.manual_seed(0)
    victim = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    images = torch.rand(6, 1, 8, 8)
    with torch.no_grad():
        truth = (victim(images) > 0).float()
    goal = truth.clone()
    goal[:, 1] = 1 - goal[:, 1]
    result = PGD(eps=0.4, targeted=True, loss=MultiLabelBCE())(Victim(victim), images, goal)
    assert result.success.all()
    with torch.no_grad():
        assert torch.equal((victim(result.images) > 0).float(), goal)


def test_single_logit_victim_is_attacked_by_bce() -> None:
    victim = Victim(lambda x: 10 * (x.flatten(1).mean(dim=1, keepdim=True) - 0.5))
    result = BIM(eps=0.2, loss=MultiLabelBCE())(victim, torch.full((2, 1, 4, 4), 0.6), torch.ones(2, 1))
    assert result.success.all()


@pytest.mark.parametrize("shape", [(6, 9), (4, 5, 6), (12,)])
def test_landmark_distance_is_that_of_a_peak(shape: tuple[int, ...]) -> None:
    maps = torch.full((1, 2, *shape), -50.0)
    at = [n - 2 for n in shape]
    maps[(0, 0, *at)] = 50.0
    maps[(0, 1, *[0] * len(shape))] = 50.0
    goal = torch.stack([torch.tensor(at[::-1]).float(), torch.zeros(len(shape))])[None]
    loss = LandmarkDistance(tolerance=1.5)
    loss.check(maps, goal, True)
    assert loss.value(maps, goal).item() == pytest.approx(0, abs=1e-4)
    assert loss.met(maps, goal).all()
    goal[0, 1, 0] += 3
    assert loss.value(maps, goal).item() == pytest.approx(3, abs=1e-4)
    assert not loss.met(maps, goal).any()
    goal[0, 1] = math.nan
    assert loss.value(maps, goal).item() == pytest.approx(0, abs=1e-4)
    assert loss.met(maps, goal).all()


def brightest(images: Tensor) -> Tensor:
    """Two landmarks where a smoothed image is brightest and darkest."""
    smooth = F.avg_pool2d(images, 3, 1, 1)
    return torch.cat([smooth, -smooth], dim=1)


def test_landmarks_are_moved_to_where_the_attacker_wants_them() -> None:
    images = torch.rand(4, 1, 12, 12, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.3
    goal = torch.tensor([[3.0, 8.0], [9.0, 2.0]]).expand(4, 2, 2)
    loss = LandmarkDistance(tolerance=1.0, sharpness=60.0)
    result = BIM(eps=0.25, steps=100, alpha=0.01, targeted=True, loss=loss)(Victim(brightest), images, goal)
    assert result.success.all()
    found = brightest(result.images).flatten(2).argmax(dim=2)
    assert ((torch.stack([found % 12, found // 12], dim=2) - goal).norm(dim=2) <= 1).all()


def test_anomalies_are_hidden_and_made() -> None:
    victim = Victim(lambda x: (x - 0.5).abs()[:, 0])
    images = torch.full((4, 1, 6, 6), 0.5)
    images[2:, 0, 2, 2] = 0.9
    truth = torch.tensor([0, 0, 1, 1])
    loss = AnomalyScore(threshold=0.3)
    assert loss.met(victim(images, torch.Generator()), truth).all()
    assert not BIM(eps=0.05, loss=loss)(victim, images + 0.01, truth).success.any()
    assert BIM(eps=0.35, steps=20, loss=loss)(victim, images + 0.01, truth).success.all()
    hidden = Square(eps=0.4, queries=300, loss=AnomalyScore(0.05, "mean"))(victim, images + 0.01, torch.tensor([0] * 4))
    assert hidden.success.all()
