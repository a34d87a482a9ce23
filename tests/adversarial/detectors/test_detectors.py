"""Detectors: formulas beside independent ones, one interface, and that they see a plain attack."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity as Oracle
from torch import Tensor, nn

from medzoo.adversarial.detectors import (
    DETECTORS,
    DropoutVariance,
    KernelDensity,
    Likelihood,
    MagNet,
    Mahalanobis,
    Mixtures,
    Seen,
    SupportVectors,
    TwoSided,
    Watched,
    suite,
)
from medzoo.adversarial.detectors.statistics import local_dimension
from medzoo.adversarial.engine import BIM, Victim
from medzoo.core.errors import ConfigError
from medzoo.core.metrics import auroc

EPS = 16 / 255


class World(NamedTuple):
    watched: Watched
    train: Seen
    normal: Seen
    attacked: Seen
    new: Seen
    new_attacked: Seen


@pytest.fixture(scope="module")
def world(trained: Any, bars: Callable[[int, int], tuple[Tensor, Tensor]]) -> World:
    """The classifier of bars, with images to learn from, and others to judge on."""
    watched = Watched(trained.network, trained.network)

    def attacked(seen: Seen) -> Seen:
        goal = (seen.labels + 1) % 3
        found = BIM(eps=EPS, targeted=True)(Victim(trained.network), seen.images, goal)
        return watched.look_at(found.images[found.success], seen.labels[found.success])

    train, normal, new = (watched.look_at(*bars(count, seed)) for count, seed in ((240, 1), (120, 2), (90, 3)))
    noise = torch.rand(normal.images.shape, generator=torch.Generator().manual_seed(0)) * 4 / 255 - 2 / 255
    noisy = watched.look_at((normal.images + noise).clamp(0, 1), normal.labels)
    both = Seen(
        torch.cat([normal.images, noisy.images]),
        torch.cat([normal.logits, noisy.logits]),
        tuple(torch.cat(pair) for pair in zip(normal.pooled, noisy.pooled, strict=True)),
        torch.cat([normal.labels, noisy.labels]),
    )
    assert not torch.equal(normal.images, noisy.images)
    return World(watched, train, both, attacked(normal), new, attacked(new))


def test_layers_are_those_that_took_part_and_pooling_is_the_mean(world: World) -> None:
    network = world.watched.module
    assert isinstance(network, nn.Sequential)
    assert world.watched.layers == ("2", "5")
    images = world.new.images[:3]
    with torch.no_grad():
        first, head = network[:3](images), network[:-1](images)
    seen = world.watched.look(images)
    assert torch.allclose(seen.pooled[0], first.mean(dim=(2, 3)))
    assert torch.equal(seen.pooled[-1], head)
    apart = world.watched.apart(world.watched.flat(images))
    assert torch.equal(apart.logits, seen.logits)
    assert all(torch.equal(a, b) for a, b in zip(apart.pooled, seen.pooled, strict=True))
    assert not network._forward_hooks
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())


@pytest.mark.parametrize(
    ("network", "layers", "text"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), None, "layers: the victim has no activation module; name"),
        (nn.Sequential(nn.ReLU(), nn.Conv2d(1, 2, 1)), None, "victim: it has no linear head"),
        (nn.Sequential(nn.ReLU(), nn.Linear(4, 2)), ["3"], "layers: the victim has no layer '3'; it has 0"),
    ],
)
def test_a_victim_without_the_layers_costs_one_line(network: nn.Module, layers: list[str] | None, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Watched(network, network, layers)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_layer_that_takes_no_part_costs_one_line() -> None:
    network = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
    spare = nn.ModuleDict({"net": network, "idle": nn.ReLU()})
    with pytest.raises(ConfigError, match="layers: idle takes no part"):
        Watched(network, spare, ["idle"]).look(torch.rand(1, 1, 2, 2))


def test_all_detectors_have_one_interface_and_a_state_that_is_enough(world: World) -> None:
    again = suite(world.watched)
    for name, detector in suite(world.watched).items():
        detector.fit(world.train, world.normal, world.attacked)
        assert detector.state, name
        with torch.no_grad():
            found = detector.score(world.new)
            assert found.shape == (len(world.new),)
            assert found.isfinite().all(), name
            parts = torch.cat([detector.score(world.new.at(torch.tensor([i]))) for i in range(4)])
            assert torch.allclose(parts, found[:4], rtol=1e-3, atol=1e-4), f"{name} depends on the batch"
            again[name].state = detector.state
            assert torch.allclose(again[name].score(world.new), found), name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_learns_where_the_classifier_is(world: World, name: str) -> None:
    network = copy.deepcopy(world.watched.module).cuda()
    watched = Watched(network, network)
    train, normal, attacked, new = (
        watched.look_at(seen.images.cuda(), seen.labels.cuda())
        for seen in (world.train, world.normal, world.attacked, world.new)
    )
    detector = suite(watched, [name])[name]
    detector.fit(train, normal, attacked)
    with torch.no_grad():
        found = detector.score(new)
    assert found.device == new.images.device
    assert found.isfinite().all()
    again = suite(watched, [name])[name]
    again.state = {key: value.cuda() for key, value in detector.state.items()}  # as from a checkpoint
    with torch.no_grad():
        assert torch.allclose(again.score(new), found)


@pytest.mark.parametrize("by", ["error", "answer"])
def test_magnet_rebuilds_images_of_an_odd_size(world: World, by: Any) -> None:
    images = torch.rand(4, 1, 15, 17, generator=torch.Generator().manual_seed(0))
    seen = world.watched.look_at(images, torch.tensor([0, 1, 2, 0]))
    detector = MagNet(world.watched, by)
    detector.fit(seen, seen, seen)
    assert detector.rebuilt(images).shape == images.shape
    assert detector.score(seen).isfinite().all()


def test_a_plain_attack_is_seen(world: World) -> None:
    areas = {}
    for name, detector in suite(world.watched).items():
        detector.fit(world.train, world.normal, world.attacked)
        with torch.no_grad():
            scores = torch.cat([detector.score(world.new), detector.score(world.new_attacked)])
        label = torch.cat([torch.zeros(len(world.new)), torch.ones(len(world.new_attacked))])
        areas[name] = auroc(scores, label)
    assert len(world.new_attacked) > 60
    assert {name for name in ("maha", "svm", "dnn", "lid") if areas[name] < 0.95} == set(), areas
    assert areas["kd"] > 0.7, areas


def test_mixtures_are_those_of_scikit_learn(world: World) -> None:
    mixtures = Mixtures([0, 1, 2], components=2, covariance="full")
    mixtures.fit(world.train)
    for layer in (0, 1, 2):
        for label in range(3):
            own = world.train.at(world.train.labels == label)
            oracle = GaussianMixture(2, n_init=2, max_iter=1000, random_state=0, reg_covar=1e-6)
            oracle.fit(own.pooled[layer].double().numpy())
            classes = torch.full((len(world.new),), label)
            features = world.new.pooled[layer].double().numpy()
            best = mixtures.components_of(layer, world.new, classes).numpy()
            assert (best == oracle.predict(features)).mean() > 0.99
            own_log = mixtures.log_densities(world.new, classes)[:, layer].numpy()
            assert np.allclose(own_log, oracle.score_samples(features), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(("covariance", "least"), [("full", 0.9), ("shrunk", 0.6)])  # shrinking adds variance
def test_the_squared_distance_over_its_features_is_one_on_the_images_that_it_was_fitted_to(
    world: World, covariance: Any, least: float
) -> None:
    mixtures = Mixtures([0, 1], covariance=covariance)
    mixtures.fit(world.train)
    each = mixtures.distances(world.train, world.train.labels).mean(dim=0)
    assert ((each > least) & (each < 1.05)).all(), each


def test_the_density_is_that_of_scikit_learn(world: World) -> None:
    detector = KernelDensity()
    detector.fit(world.train, world.normal, world.attacked)
    own = world.train.pooled[-1][world.train.labels == 0].numpy()
    oracle = Oracle(bandwidth=float(detector.state["bandwidth"])).fit(own)
    called = world.new.at(world.new.predicted == 0)
    assert np.allclose(detector.score(called).detach(), -oracle.score_samples(called.pooled[-1].numpy()), atol=1e-2)


def test_local_dimension_is_that_of_the_space_that_points_fill() -> None:
    generator = torch.Generator().manual_seed(0)
    for dimension in (2, 5):
        flat = torch.rand(2000, dimension, generator=generator)
        points = torch.cat([flat, torch.zeros(2000, 3)], dim=1)
        found = float(local_dimension(points[:200], points).median())
        assert abs(found - dimension) < 0.15 * dimension + 0.2
    batch = torch.rand(50, 4, generator=generator)
    own = local_dimension(batch[:1], batch)
    assert torch.allclose(own, local_dimension(batch[:1], batch[1:])), "a point is not its own neighbour"


def test_mahalanobis_is_its_definition(world: World) -> None:
    detector = Mahalanobis(last=True)
    detector.fit(world.train, world.normal, world.attacked)
    features, labels = world.train.pooled[-1].double(), world.train.labels
    means = torch.stack([features[labels == k].mean(dim=0) for k in range(3)])
    centred = features - means[labels]
    inverse = torch.linalg.pinv(centred.T @ centred / len(features), hermitian=True)
    apart = world.new.pooled[-1].double()[:, None] - means
    wanted = torch.einsum("nkc,cd,nkd->nk", apart, inverse, apart).amin(dim=1) / 2
    assert torch.allclose(detector.score(world.new).double(), wanted, rtol=1e-2)


def test_a_support_vector_machine_gives_the_decision_of_scikit_learn(world: World) -> None:
    from sklearn.svm import SVC

    detector = SupportVectors()
    detector.fit(world.train, world.normal, world.attacked)
    both = torch.cat([world.normal.pooled[-1], world.attacked.pooled[-1]]).double()
    mean, spread = both.mean(dim=0), both.std(dim=0, correction=0).clamp_min(1e-12)
    label = [0] * len(world.normal) + [1] * len(world.attacked)
    oracle = SVC(gamma=1 / both.shape[1]).fit(((both - mean) / spread).numpy(), label)
    wanted = oracle.decision_function(((world.new.pooled[-1].double() - mean) / spread).numpy())
    assert np.allclose(detector.score(world.new).detach(), wanted, atol=1e-3)


def test_dropout_says_nothing_of_a_head_that_ignores_its_features(world: World) -> None:
    head = nn.Linear(world.train.pooled[-1].shape[1], 3)
    detector = DropoutVariance(head)
    detector.fit(world.train, world.normal, world.attacked)
    assert float(detector.score(world.new).amax()) > 0
    nn.init.zeros_(head.weight)
    assert float(detector.score(world.new).amax()) < 1e-12


def test_two_sided_scores_rise_on_either_side(world: World) -> None:
    detector = TwoSided(Mahalanobis())
    detector.fit(world.train, world.normal, world.attacked)
    inner = detector.inner.score(world.normal).detach()
    apart = detector.score(world.normal).detach()
    assert apart[inner.argmin()] > apart.median()
    assert apart[inner.argmax()] > apart.median()


def test_scores_have_gradients_to_the_images(world: World) -> None:
    detectors = suite(world.watched)
    for name, detector in detectors.items():
        detector.fit(world.train, world.normal, world.attacked)
        if name == "dknn":
            continue
        images = world.new.images[:2].clone().requires_grad_()
        (slope,) = torch.autograd.grad(detector.score(world.watched.look(images)).sum(), images)
        assert slope.isfinite().all(), name
        assert float(slope.abs().amax()) > 0, name


def test_too_few_images_of_a_class_cost_one_line(world: World) -> None:
    with pytest.raises(ConfigError, match="class 1 has 1 training images, mixtures need 2"):
        Likelihood(Mixtures([0])).fit(world.train.at(torch.tensor([0, 3, 1, 2, 5])), world.normal, world.attacked)
    with pytest.raises(ConfigError, match="shrunk covariances are of one component"):
        Mixtures([0], components=2)
