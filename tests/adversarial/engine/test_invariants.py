"""What holds for every attack of the engine, whatever it does inside."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medzoo.adversarial.engine import (
    APGD,
    ATTACKS,
    BIM,
    CWL2,
    DDN,
    DIM,
    FGSM,
    MIM,
    PGD,
    TIM,
    Attack,
    Bounded,
    Corruption,
    CWLinf,
    Ensemble,
    Margin,
    Noise,
    Square,
    Victim,
)

EPS = 10 / 255
QUICK: dict[str, dict[str, Any]] = {
    "cw-l2": {"steps": 20, "searches": 3},
    "cw-linf": {"steps": 5},
    "ddn": {"steps": 20},
    "apgd": {"steps": 10},
    "pgd": {"steps": 5, "restarts": 2},
    "bim": {"steps": 5},
    "mim": {"steps": 5},
    "dim": {"steps": 5},
    "tim": {"steps": 5, "kernel": 5},
    "square": {"queries": 40},
}
LONG: dict[str, dict[str, Any]] = {"ddn": {"steps": 60}, "cw-l2": {"searches": 6}}
BOUNDED = [name for name, kind in ATTACKS.items() if issubclass(kind, Bounded)]


def quick(name: str, eps: float = EPS, **more: Any) -> Attack:
    kind = ATTACKS[name]
    budget: dict[str, Any] = {"eps": eps} if issubclass(kind, Bounded) else {}
    return kind(**budget, **(QUICK.get(name, {}) | more))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", ATTACKS)
def test_result_is_within_budget_and_bounds_and_says_the_truth(name: str, trained: Any) -> None:
    images, labels = trained.images[:6], trained.labels[:6]
    result = quick(name)(Victim(trained.network), images, labels, seeded())
    assert result.images.dtype == torch.float32
    assert result.images.amin() >= 0
    assert result.images.amax() <= 1
    delta = (result.images - images).flatten(1)
    torch.testing.assert_close(result.linf, delta.abs().amax(dim=1))
    torch.testing.assert_close(result.l2, delta.norm(dim=1))
    if name in BOUNDED:
        assert result.linf.amax() <= EPS + 1e-6
    with torch.no_grad():
        wrong = trained.network(result.images).argmax(dim=1) != labels
    assert torch.equal(wrong, result.success)
    assert (result.queries > 0).all()


@pytest.mark.parametrize("name", BOUNDED)
def test_no_budget_returns_the_image(name: str, trained: Any) -> None:
    result = quick(name, eps=0.0)(Victim(trained.network), trained.images[:4], trained.labels[:4], seeded())
    assert torch.equal(result.images, trained.images[:4])
    assert not result.success.any()


@pytest.mark.parametrize("name", sorted({*BOUNDED} - {"fgsm", "tim"}))
def test_whole_budget_always_succeeds(name: str, trained: Any) -> None:
    more: dict[str, Any] = {"apgd": {"steps": 30}, "square": {"queries": 400}}.get(name, {"steps": 30, "alpha": 0.02})
    attack = quick(name, eps=1.0, **more)
    assert attack(Victim(trained.network), trained.images, trained.labels, seeded()).success.all()


@pytest.mark.parametrize("attack", [CWL2(steps=100, searches=6), DDN(steps=60)])
def test_attacks_without_budget_always_succeed(attack: Attack, trained: Any) -> None:
    result = attack(Victim(trained.network), trained.images[:8], trained.labels[:8])
    assert result.success.all()
    assert result.l2.amax() < 3


@pytest.mark.parametrize("kind", [BIM, MIM, partial(TIM, kernel=3), CWLinf])
def test_more_steps_are_never_weaker(kind: Callable[..., Attack], trained: Any) -> None:
    before = torch.zeros(len(trained.images), dtype=torch.bool)
    rates = []
    for steps in (1, 2, 4, 8, 16):
        attack = kind(eps=EPS, alpha=2 / 255, steps=steps)
        found = attack(Victim(trained.network), trained.images, trained.labels).success
        assert (found | ~before).all()
        before = found
        rates.append(float(found.float().mean()))
    assert rates[-1] > rates[0]


def test_more_restarts_are_never_weaker(trained: Any) -> None:
    few, many = (
        PGD(eps=EPS, steps=3, restarts=n)(Victim(trained.network), trained.images, trained.labels, seeded()).success
        for n in (1, 6)
    )
    assert (many | ~few).all()


@pytest.mark.parametrize("eps", [8 / 255, EPS])
def test_black_box_is_no_stronger_than_white_box(eps: float, trained: Any) -> None:
    victim = Victim(trained.network)
    black = Square(eps=eps, queries=100)(victim, trained.images, trained.labels, seeded()).success
    white = APGD(eps=eps, steps=30, loss=Margin())(victim, trained.images, trained.labels, seeded()).success
    assert black.float().mean() <= white.float().mean()


@pytest.mark.parametrize("name", ATTACKS)
def test_targets_are_reached_or_said_not_to_be(name: str, trained: Any) -> None:
    target = (trained.labels[:6] + 1) % 3
    kind = quick(name, eps=0.5, targeted=True, **({"queries": 300} if name == "square" else {}))
    result = kind(Victim(trained.network), trained.images[:6], target, seeded())
    with torch.no_grad():
        assert torch.equal(trained.network(result.images).argmax(dim=1) == target, result.success)
    if name not in ("fgsm", "tim", "square"):
        assert result.success.float().mean() >= 0.5


@pytest.mark.parametrize("name", ATTACKS)
def test_victim_is_left_as_it_was(name: str, network: Callable[..., nn.Sequential]) -> None:
    victim = network(2, 3, 4)
    victim.train()
    victim[0].eval()
    next(victim[0].parameters()).requires_grad_(False)
    state = {key: value.clone() for key, value in victim.state_dict().items()}
    quick(name)(Victim(victim), torch.rand(3, 3, 8, 8, generator=seeded()), torch.tensor([0, 1, 2]), seeded())
    assert victim.training
    assert victim[1].training
    assert not victim[0].training
    assert [p.requires_grad for p in victim.parameters()] == [False] + [True] * (len(list(victim.parameters())) - 1)
    assert all(p.grad is None for p in victim.parameters())
    assert all(torch.equal(value, state[key]) for key, value in victim.state_dict().items())


@pytest.mark.parametrize(
    "attack",
    [
        *(quick(name) for name in ATTACKS),
        PGD(eps=2.0, norm="l2", steps=3, restarts=3),
        APGD(eps=EPS / 2, steps=3, restarts=3),
        Ensemble(eps=EPS / 2, steps=3, queries=10),
        Noise(eps=EPS),
        *(Corruption(kind=kind, severity=5) for kind in ("gaussian-noise", "shot-noise", "impulse-noise")),
    ],
    ids=repr,
)
def test_batch_of_n_is_n_batches_of_one_where_each_image_draws_for_itself(attack: Attack, trained: Any) -> None:
    images, labels = trained.images[:5], trained.labels[:5]
    network = trained.network
    one = Victim(
        lambda x: torch.cat([network(each) for each in x.split(1)]),  # no rounding of batches
        module=network,
        before=lambda x, generator: x + 0.01 * torch.rand(x.shape, generator=generator),
    )
    whole = attack(one, images, labels, tuple(seeded(i) for i in range(5)))
    for i in range(5):
        single = attack(one, images[i : i + 1], labels[i : i + 1], (seeded(i),))
        assert torch.equal(single.images[0], whole.images[i])
        assert bool(single.success[0]) is bool(whole.success[i])
        assert int(single.queries[0]) == int(whole.queries[i])


@pytest.mark.parametrize("attack", [BIM(eps=EPS, early_stop=True), MIM(eps=EPS, early_stop=True)])
def test_stopping_early_changes_no_success_and_saves_queries(attack: Attack, trained: Any) -> None:
    victim = Victim(trained.network)
    early = attack(victim, trained.images, trained.labels)
    late = type(attack)(eps=EPS)(victim, trained.images, trained.labels)  # type: ignore[call-arg]
    assert torch.equal(early.success, late.success)
    assert early.success.any()
    assert early.queries[early.success].float().mean() < late.queries.float().mean()


@pytest.mark.parametrize("name", ["pgd", "dim", "apgd", "square"])
def test_generator_alone_decides_what_is_random(name: str, trained: Any) -> None:
    def result(seed: int, noise: int) -> Tensor:
        torch.manual_seed(noise)
        return quick(name)(Victim(trained.network), trained.images[:4], trained.labels[:4], seeded(seed)).images

    assert torch.equal(result(0, 1), result(0, 2))
    assert not torch.equal(result(0, 1), result(1, 1))


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("shape", [(1, 20), (1, 8, 9), (2, 8, 7, 6), (1, 6, 6, 6), (4, 8, 8)], ids=str)
def test_any_channels_and_axes(name: str, shape: tuple[int, ...], network: Callable[..., nn.Sequential]) -> None:
    victim = network(len(shape) - 1, shape[0], 3).eval()
    images = torch.rand(2, *shape, generator=seeded())
    with torch.no_grad():
        truth = victim(images).argmax(dim=1)
    result = quick(name, **LONG.get(name, {}))(Victim(victim), images, truth, seeded())
    assert result.images.shape == images.shape
    assert not torch.equal(result.images, images)


def test_works_in_inference_mode_and_under_autocast(trained: Any) -> None:
    expected = BIM(eps=EPS)(Victim(trained.network), trained.images, trained.labels).images
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        images, labels = trained.images.clone(), trained.labels.clone()
        found = BIM(eps=EPS)(Victim(trained.network), images, labels).images
    assert torch.equal(found, expected)


def test_l2_budget_holds(trained: Any) -> None:
    for attack in (PGD(eps=0.5, norm="l2", steps=10), APGD(eps=0.5, norm="l2", steps=10), FGSM(eps=0.5, norm="l2")):
        result = attack(Victim(trained.network), trained.images, trained.labels, seeded())
        assert result.l2.amax() <= 0.5 + 1e-5
        assert result.linf.amax() > 0.03
        assert result.success.any()


def test_without_their_own_ingredient_all_are_bim(trained: Any) -> None:
    victim, images, labels = Victim(trained.network), trained.images, trained.labels
    expected = BIM(eps=EPS)(victim, images, labels).images
    for attack in (
        MIM(eps=EPS, momentum=0.0),
        DIM(eps=EPS, diversity=0.0),
        TIM(eps=EPS, kernel=1),
        PGD(eps=EPS, start=False, alpha=EPS / 5, steps=10),
    ):
        assert torch.equal(attack(victim, images, labels).images, expected), attack


def test_auto_pgd_raises_the_loss_at_least_as_far_as_bim(trained: Any) -> None:
    victim = Victim(trained.network)
    bim = BIM(eps=EPS, steps=20)(victim, trained.images, trained.labels)
    auto = APGD(eps=EPS, steps=20)(victim, trained.images, trained.labels, seeded())
    assert auto.gain.mean() >= bim.gain.mean() - 1e-3
    assert auto.success.sum() >= bim.success.sum()


def test_images_are_judged_as_they_are(trained: Any) -> None:
    victim, attack = Victim(trained.network), BIM(eps=12 / 255, steps=20)
    assert not attack.succeeds(victim, trained.images, trained.labels).any()
    result = attack(victim, trained.images, trained.labels)
    assert torch.equal(attack.succeeds(victim, result.images, trained.labels), result.success)
    saved = (result.images * 255).round() / 255
    assert attack.succeeds(victim, saved, trained.labels).float().mean() > 0.9
