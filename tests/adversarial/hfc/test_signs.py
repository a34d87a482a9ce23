"""Signs of a faithful feature constraint on the classifier of bars: what it hides, what it must not do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from medzoo.adversarial.detectors import Mahalanobis, Mixtures, Seen, Watched
from medzoo.adversarial.detectors.seen import joined
from medzoo.adversarial.engine import ATTACKS, BIM, Victim
from medzoo.adversarial.hfc.diagnostics import directions, some_of, stress
from medzoo.adversarial.hfc.losses import FeatureConstraint, OnLogits
from medzoo.adversarial.hfc.report import HidingEvaluation
from medzoo.adversarial.hfc.trials import Experiment, Plan, noisy
from medzoo.adversarial.targets import other_classes
from medzoo.core.errors import ConfigError
from medzoo.core.metrics import auroc

EPS = 20 / 255


class World(NamedTuple):
    watched: Watched
    experiment: Experiment
    train: Seen
    test: Seen
    goal: Tensor
    detector: Mahalanobis


@pytest.fixture(scope="module")
def world(trained: Any, bars: Callable[[int, int], tuple[Tensor, Tensor]]) -> World:
    watched = Watched(trained.network, trained.network)
    train, val, test = (watched.look_at(*bars(count, seed)) for count, seed in ((300, 1), (120, 2), (60, 3)))
    # The head of this network takes four places of the map, which a mean over space does not know.
    mixtures = Mixtures([0, 1, 2], covariance="full")
    mixtures.fit(train)
    generator = torch.Generator().manual_seed(0)
    experiment = Experiment(watched, mixtures, {}, Plan(EPS, 10, 60, 1.0), 20.0)
    bim = experiment.run("bim", False, val, other_classes(val.labels, 3, generator), generator)
    noise = watched.look_at(noisy(val.images, 2 / 255, generator), val.labels)
    detector = Mahalanobis()
    detector.fit(train, joined([val, noise]), bim.seen.at(bim.success))
    return World(watched, experiment, train, test, other_classes(test.labels, 3, generator), detector)


def area(world: World, images: Seen, success: Tensor) -> float:
    with torch.no_grad():
        scores = torch.cat([world.detector.score(world.test), world.detector.score(images)[success]])
    return auroc(scores, torch.cat([torch.zeros(len(world.test)), torch.ones(int(success.sum()))]))


def attack(world: World, layers: list[int] | None, goal: Tensor | None = None) -> tuple[float, float]:
    """Return success and area of Mahalanobis of an attack with the constraint on some layers."""
    plan = world.experiment.plan
    mixtures = Mixtures(layers or [], covariance="full")
    mixtures.state = world.experiment.mixtures.state
    constraint = FeatureConstraint(world.watched, mixtures) if layers else None
    attack = plan.attack("bim", 3, constraint, 20.0)
    if goal is not None:  # toward a class while features are those of another
        assert constraint is not None
        attack = BIM(
            eps=EPS, steps=60, alpha=EPS / 30, targeted=True, loss=OnLogits(3),
            penalty=lambda outputs, _: 10 * constraint.of(outputs, goal),
        )  # fmt: skip
    found = attack(world.experiment.victim, world.test.images, world.goal)
    seen = world.watched.look_at(found.images, world.test.labels)
    success = seen.predicted == world.goal
    return float(success.double().mean()), area(world, seen, success) if bool(success.any()) else 0.5


def test_without_weight_it_is_the_plain_attack_bit_for_bit(world: World) -> None:
    constraint = FeatureConstraint(world.watched, world.experiment.mixtures, weight=0.0)
    settings: dict[str, Any] = {"eps": EPS, "targeted": True}
    plain = BIM(**settings)(Victim(world.watched.classify, module=world.watched.module), world.test.images, world.goal)
    hidden = BIM(**settings, loss=OnLogits(3), penalty=constraint)(
        world.experiment.victim, world.test.images, world.goal
    )
    assert torch.equal(plain.images, hidden.images)


def test_features_at_the_mean_of_the_class_cost_nothing_and_have_no_gradient_to_the_mixture(world: World) -> None:
    mixtures = world.experiment.mixtures
    pooled = tuple(mixtures.state[f"{layer}.means"][1] for layer in (0, 1, 2))
    seen = Seen(torch.zeros(1, 0), torch.zeros(1, 3), pooled, torch.empty(0))
    assert float(mixtures.distances(seen, torch.tensor([1])).abs().sum()) == 0
    assert not any(value.requires_grad for value in mixtures.state.values())


def test_the_plain_attack_is_seen_and_the_hidden_one_is_not(world: World) -> None:
    plain_success, plain = attack(world, None)
    hidden_success, hidden = attack(world, [0, 1, 2])
    assert plain_success > 0.95
    assert plain > 0.95
    assert hidden_success > 0.9
    assert hidden < plain - 0.3


def test_mixtures_of_the_source_class_make_the_attack_fail(world: World) -> None:
    success, _ = attack(world, [0, 1, 2], goal=world.test.labels)
    assert success < 0.2


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_of_the_engine_takes_the_constraint_and_lowers_it(world: World, name: str) -> None:
    few = world.test.at(torch.arange(12))
    goal = world.goal[:12]
    cost = {}
    for hide in (False, True):
        found = world.experiment.run(name, hide, few, goal, torch.Generator().manual_seed(0))
        assert found.attack == (f"{name}+hfc" if hide else name)
        if name not in ("cw-l2", "ddn"):
            assert float(found.linf.amax()) <= EPS + 1e-6
        each = world.experiment.constraint.of(world.watched.flat(found.seen.images), goal).detach()
        changed = found.linf > 0  # what looks for the least change leaves an image that it cannot hide as it is
        cost[hide] = float(each[changed].mean())
        assert bool(changed.any())
    assert cost[True] < cost[False] or name == "fgsm"  # one step as long as the budget may overshoot


def test_two_classes_have_one_direction(network: Any, bars: Callable[[int, int], tuple[Tensor, Tensor]]) -> None:
    made = network(2, 1, 2).eval()
    watched = Watched(made, made)
    images, _ = bars(12, 5)
    seen = watched.look_at(images, made(images).argmax(dim=1))
    found = directions(watched, seen, 1 - seen.labels, 2 / 255)
    assert found["cosine_min"] > 0.999
    assert found["cosine_to_weights"] > 0.999
    assert -1 <= found["correlation"] <= 1


def test_the_stress_test_moves_every_layer_both_ways(world: World) -> None:
    rows = stress(world.watched, world.experiment.victim, world.test.at(torch.arange(24)), 4 / 255)
    assert [row["layer"] for row in rows] == [*world.watched.layers, "head input"]
    for row in rows:
        assert row["lowest"] < row["clean"] < row["highest"], row
        assert row["trail"] > 0
    spread = [(row["highest"] - row["lowest"]) / row["clean"] for row in rows]
    assert spread[1] > spread[0], "deeper layers move farther"


def test_the_images_of_the_diagnostics_have_two_classes_where_a_batch_has_them() -> None:
    mixed, sorted_, alone = torch.tensor([0, 1] * 10), torch.tensor([0] * 12 + [1] * 8), torch.zeros(6).long()
    assert some_of(mixed, 4).tolist() == [0, 1, 2, 3]
    assert some_of(sorted_, 4).tolist() == [0, 1, 12, 13]
    assert some_of(alone, 4).tolist() == [0, 1, 2, 3]


def test_a_folder_that_stands_class_by_class_has_a_trail_in_the_end(world: World) -> None:
    victim = Victim(world.watched.flat, module=world.watched.module)
    evaluation = HidingEvaluation(["a", "b", "c"], {}, {})
    for labels in ([0], [0, 1]):
        part = world.test.at(torch.isin(world.test.labels, torch.tensor(labels)))
        part = part.at(some_of(part.labels, 8))
        evaluation.diagnostics = {"stress": stress(world.watched, victim, part, 4 / 255, 2)}
        assert evaluation.lacks_trail == (labels == [0])


def test_noise_is_not_nothing_and_goals_are_other_classes() -> None:
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.full((4, 1, 3, 3), 0.5), torch.arange(300) % 3
    changed = (noisy(images, 2 / 255, generator) - images).abs()
    assert 0 < float(changed.amin()) < float(changed.amax()) <= 2 / 255 + 1e-7
    goals = other_classes(labels, 3, generator)
    assert not bool((goals == labels).any())
    assert len(torch.unique(goals * 3 + labels)) == 6


def test_a_least_change_with_a_penalty_needs_a_margin_that_ends(world: World) -> None:
    bad = ATTACKS["cw-l2"](penalty=world.experiment.constraint, loss=OnLogits(3, ATTACKS["cw-l2"]().loss))
    with pytest.raises(ConfigError, match="take Margin"):
        bad(world.experiment.victim, world.test.images[:1], world.goal[:1])
