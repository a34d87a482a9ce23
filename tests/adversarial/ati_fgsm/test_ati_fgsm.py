"""Some landmarks move to their goals and the others stay, on a small trained network."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medzoo.adversarial.ati_fgsm import LandmarkMaps, ati_fgsm, discs, peaks
from medzoo.adversarial.engine import BIM, Victim
from medzoo.core.errors import ConfigError

SIDE = 24
SHAPES = torch.stack(
    [torch.eye(5), torch.eye(5).flip(0), F.pad(torch.zeros(3, 3), (1, 1, 1, 1), value=1.0)]
)  # two diagonals and a frame


class Toy(NamedTuple):
    """A trained network with images, its landmarks in them, and goals for the first."""

    network: nn.Sequential
    images: Tensor
    clean: Tensor
    goals: Tensor


@pytest.fixture(scope="module")
def toy() -> Toy:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for i, o in ((1, 12), (12, 12), (12, 12)):
            layers += [nn.Conv2d(i, o, 5, padding=2), nn.BatchNorm2d(o), nn.ReLU()]
        network = nn.Sequential(*layers, nn.Conv2d(12, 3, 1))
        optimizer = torch.optim.Adam(network.parameters(), 1e-2)
        for step in range(80):
            images, points = drawn(16, step)
            place = (points[..., 1] * SIDE + points[..., 0]).long().flatten()
            optimizer.zero_grad()
            F.cross_entropy(network(images).flatten(2).flatten(0, 1), place).backward()
            optimizer.step()
    network.eval()
    images, points = drawn(12, 999)
    with torch.no_grad():
        clean = peaks(network(images))
    assert (clean - points).norm(dim=2).mean() < 1
    goals = torch.full_like(points, math.nan)
    goals[:, 0] = points[:, 0] + 7 * torch.where(points[:, 0] < SIDE / 2, 1, -1)
    return Toy(network, images, clean, goals)


def drawn(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images with the three shapes in them, and their centres `(n, 3, 2)`."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.3 + 0.1 * torch.rand(count, 1, SIDE, SIDE, generator=generator)
    points = torch.randint(2, SIDE - 2, (count, 3, 2), generator=generator)
    for image, places in zip(images, points.tolist(), strict=True):
        for shape, (x, y) in zip(SHAPES, places, strict=True):
            image[0, y - 2 : y + 3, x - 2 : x + 3] += 0.35 * shape
    return images.clamp(0, 1), points.float()


def errors(toy: Toy, images: Tensor) -> tuple[float, float]:
    """Mean distance of the moved landmark to its goal, and of the others to where they were, in pixels."""
    with torch.no_grad():
        found = peaks(toy.network(images))
    moved = (found[:, 0] - toy.goals[:, 0]).norm(dim=1).mean()
    return float(moved), float((found[:, 1:] - toy.clean[:, 1:]).norm(dim=2).mean())


@pytest.mark.parametrize("adaptive", [True, False])
def test_landmark_reaches_its_goal_and_the_others_stay(adaptive: bool, toy: Toy) -> None:
    result = ati_fgsm(Victim(toy.network), toy.images, toy.goals, eps=32 / 255, steps=60, adaptive=adaptive)
    moved, stayed = errors(toy, result.images)
    assert moved < 2
    assert stayed < 1
    assert result.linf.max() <= 32 / 255 + 1e-6
    assert result.success.float().mean() > 0.9


def coupled(images: Tensor) -> Tensor:
    """Two landmarks where an image is brightest on the average of 3 × 3 and of 7 × 7 pixels."""
    fine, coarse = (F.avg_pool2d(images, n, 1, n // 2, count_include_pad=False) for n in (3, 7))
    return 60 * torch.cat([fine, coarse], dim=1)


def test_coupled_landmark_stays_only_where_it_has_a_term_and_weights_with_a_floor_hold_it_best() -> None:
    class Moved(LandmarkMaps):
        def weights(self, each: Tensor) -> Tensor:
            return torch.tensor([1.0, 0.0]).expand_as(each)

    images = 0.3 + 0.3 * torch.rand(8, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    clean = peaks(coupled(images))
    goals = torch.full((8, 2, 2), math.nan)
    goals[:, 0] = (clean[:, 0] + 10) % 20
    wished = coupled(images).flatten(2).softmax(dim=2).unflatten(2, (20, 20))
    disc = discs(goals, (20, 20), 1.2)[:, 0]
    wished[:, 0] = disc / disc.sum(dim=(1, 2), keepdim=True)
    settings: dict[str, Any] = {"eps": 32 / 255, "alpha": 1.6 / 255, "steps": 80}
    drift = {}
    for name, result in {
        "no term": BIM(**settings, targeted=True, loss=Moved())(Victim(coupled), images, wished),
        "uniform": ati_fgsm(Victim(coupled), images, goals, adaptive=False, **settings),
        "adaptive": ati_fgsm(Victim(coupled), images, goals, floored=True, **settings),
    }.items():
        found = peaks(coupled(result.images))
        assert (found - goals)[:, 0].norm(dim=1).mean() < 1
        drift[name] = float((found - clean)[:, 1].norm(dim=1).mean())
    assert drift["no term"] > 4
    assert drift["adaptive"] < 1
    assert drift["adaptive"] < drift["uniform"] < drift["no term"]


def test_no_goal_moves_nothing(toy: Toy) -> None:
    result = ati_fgsm(Victim(toy.network), toy.images, torch.full_like(toy.goals, math.nan), eps=8 / 255, steps=20)
    assert result.success.all()
    with torch.no_grad():
        assert (peaks(toy.network(result.images)) - toy.clean).norm(dim=2).max() <= 2


def test_weights_sum_to_the_number_of_landmarks_and_equal_ones_change_nothing() -> None:
    each = torch.tensor([[1.0, 3.0, 8.0], [2.0, 2.0, 2.0], [0.0, 0.0, 0.0]], requires_grad=True)
    weights = LandmarkMaps().weights(each)
    assert not weights.requires_grad
    torch.testing.assert_close(weights.sum(dim=1), torch.full((3,), 3.0))
    torch.testing.assert_close(weights[0], torch.tensor([0.25, 0.75, 2.0]))
    assert torch.equal(weights[1:], torch.ones(2, 3))


@pytest.mark.parametrize("head", ["softmax", "sigmoid", "heat"])
def test_loss_is_least_at_the_wished_maps(head: str) -> None:
    logits = torch.randn(2, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    goal = logits.flatten(2).softmax(dim=2).reshape(logits.shape) if head == "softmax" else logits.sigmoid()
    outputs = (goal if head == "heat" else logits).clone().requires_grad_()
    loss = LandmarkMaps(head)  # type: ignore[arg-type]
    assert loss.each(outputs, goal).abs().max() < 1e-5, "what is where it shall be has no loss, and so no weight"
    (slope,) = torch.autograd.grad(loss.value(outputs, goal).sum(), outputs)
    assert slope.abs().max() < 1e-6
    assert loss.met(outputs, goal).all()
    elsewhere = goal.roll(1, dims=3)
    assert (loss.each(outputs, elsewhere) > 0).all()


@pytest.mark.parametrize("size", [(9, 14), (5, 6, 7)])
def test_disc_is_where_the_point_is_also_at_the_border(size: tuple[int, ...]) -> None:
    corners = torch.tensor([[0.0] * len(size), [n - 1.0 for n in size[::-1]], [2.0] * len(size)])
    maps = discs(corners[None], size, 3.0)
    torch.testing.assert_close(peaks(maps)[0], corners)
    assert maps.max() == 1
    inside = maps[maps > 0]
    assert inside.min() >= math.exp(-0.5)


@pytest.mark.parametrize(
    ("points", "text"),
    [
        (torch.zeros(2, 3), r"points: expected \(1, 2, 2\) for maps \(1, 2, 8, 8\), got \(2, 3\)"),
        (torch.tensor([[[1.0, 1.0], [8.0, 1.0]]]), r"points: \[8.0, 1.0\] lies outside of the map of \[8, 8\] pixels"),
    ],
)
def test_goal_is_no_place(points: Tensor, text: str) -> None:
    victim = Victim(lambda x: torch.cat([x, -x], dim=1))
    with pytest.raises(ConfigError, match=text):
        ati_fgsm(victim, torch.rand(1, 1, 8, 8), points, eps=0.1, steps=2)


def test_logits_are_no_heat() -> None:
    points = torch.ones(1, 1, 2)
    with pytest.raises(ConfigError, match=r"no heat in \[0, 1\]; take softmax"):
        ati_fgsm(Victim(lambda x: -5 * x), torch.rand(1, 1, 8, 8), points, eps=0.1, steps=2, head="heat")
