"""The victim: bounds, normalisation inside, defences before it, methods of the zoo with their batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medzoo.adversarial.engine import BIM, DDN, PGD, LandmarkDistance, MethodVictim, Square, Victim, bpda
from medzoo.core.method import Method
from medzoo.core.sample import Batch
from medzoo.core.tasks.landmark_types import LandmarkOutputs

EPS = 10 / 255


def test_normalisation_inside_is_that_outside(trained: Any) -> None:
    shifted = nn.Sequential(Affine(1 / 0.25, -0.5 / 0.25), Affine(0.25, 0.5), trained.network)
    expected = BIM(eps=EPS)(Victim(lambda x: shifted(x), module=shifted), trained.images, trained.labels)
    inside = Victim(nn.Sequential(Affine(0.25, 0.5), trained.network), mean=0.5, std=[0.25])
    assert torch.equal(BIM(eps=EPS)(inside, trained.images, trained.labels).images, expected.images)


def test_images_in_hounsfield_units(trained: Any) -> None:
    """The same victim in another unit gives the same changes, in that unit."""
    wide = Victim(trained.network, mean=-1000.0, std=1400.0, bounds=(-1000.0, 400.0))
    for attack, scaled in (
        (BIM(eps=EPS), BIM(eps=1400 * EPS)),
        (DDN(steps=40), DDN(steps=40)),
    ):
        unit = attack(Victim(trained.network), trained.images, trained.labels)
        hounsfield = scaled(wide, trained.images * 1400 - 1000, trained.labels)
        assert torch.equal(unit.success, hounsfield.success)
        torch.testing.assert_close(hounsfield.l2 / 1400, unit.l2, rtol=0.02, atol=0)


class Affine(nn.Module):
    def __init__(self, factor: float, shift: float) -> None:
        super().__init__()
        self.factor, self.shift = factor, shift

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor + self.shift


def rounded(x: Tensor) -> Tensor:
    return (x * 32).round() / 32


def test_bpda_gets_through_rounding(trained: Any) -> None:
    bare = Victim(trained.network, before=lambda x, generator: rounded(x))
    assert torch.equal(BIM(eps=EPS)(bare, trained.images, trained.labels).images, trained.images)  # no slope at all
    through = Victim(trained.network, before=bpda(rounded))
    result = BIM(eps=EPS, steps=20)(through, trained.images, trained.labels)
    assert result.success.float().mean() > 0.5
    with torch.no_grad():
        assert torch.equal(trained.network(rounded(result.images)).argmax(1) != trained.labels, result.success)


def test_bpda_takes_the_slope_of_the_surrogate() -> None:
    x = torch.rand(2, 1, 4, 4, requires_grad=True)
    out = bpda(rounded, lambda images: images**2)(x, torch.Generator())
    torch.testing.assert_close(out, rounded(x))
    torch.testing.assert_close(torch.autograd.grad(out.sum(), x)[0], 2 * x)


def noisy(x: Tensor, generator: torch.Generator) -> Tensor:
    return x + 0.1 * torch.randn(x.shape, generator=generator)


def test_several_draws_of_a_randomised_victim_are_averaged(trained: Any) -> None:
    def fresh(result: Any) -> float:
        """How often the result holds for noise that the attack has not seen."""
        generator = torch.Generator().manual_seed(99)
        with torch.no_grad():
            wrong = [trained.network(noisy(result.images, generator)).argmax(1) != trained.labels for _ in range(20)]
        return float(torch.stack(wrong).float().mean())

    attack = BIM(eps=EPS, steps=15)
    one, many = (
        attack(Victim(trained.network, before=noisy, draws=n), trained.images, trained.labels) for n in (1, 20)
    )
    assert (many.queries == 20 * one.queries).all()
    assert fresh(many) > fresh(one)
    again = attack(Victim(trained.network, before=noisy, draws=20), trained.images, trained.labels)
    assert torch.equal(again.images, many.images)


def test_penalty_is_lowered_and_at_no_weight_changes_nothing(trained: Any) -> None:
    kept: list[Tensor] = []

    def spread(weight: float) -> Any:
        def cost(outputs: Tensor, goal: Tensor) -> Tensor:
            kept.append(outputs)
            return weight * outputs.square().sum(dim=1)

        return cost

    victim = Victim(trained.network)
    plain, none, heavy = (
        BIM(eps=EPS, steps=20, targeted=True, penalty=penalty)(victim, trained.images, (trained.labels + 1) % 3)
        for penalty in (None, spread(0.0), spread(1.0))
    )
    assert torch.equal(plain.images, none.images)
    with torch.no_grad():
        sizes = [float(trained.network(result.images).square().sum()) for result in (plain, heavy)]
    assert sizes[1] < sizes[0]


class Points(Method):
    """Finds the brightest place of an image times a mask that its batch has."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))

    def outputs(self, batch: Batch) -> LandmarkOutputs:
        assert len(batch["id"]) == len(batch["image"]) == len(batch["mask"])
        maps = self.scale * F.avg_pool2d(batch["image"], 3, 1, 1) * batch["mask"]
        place = maps.flatten(2).argmax(dim=2)
        points = torch.stack([place % maps.shape[3], place // maps.shape[3]], dim=2).float()
        return LandmarkOutputs(points, maps.flatten(2).amax(dim=2), maps, ("top",))


@pytest.mark.parametrize("attack", [PGD, Square])
def test_method_of_the_zoo_with_its_batch(attack: Any) -> None:
    images = 0.3 + 0.2 * torch.rand(3, 1, 10, 10, generator=torch.Generator().manual_seed(0))
    batch: Batch = {"id": ["a", "b", "c"], "image": images, "mask": torch.ones(3, 1, 10, 10)}
    batch["mask"][1] = 0  # nothing that is done to this image moves anything
    method = Points()
    victim = MethodVictim(method, batch, lambda outputs: outputs.maps)
    goal = method.outputs(batch).points
    more = {"queries": 200} if attack is Square else {"early_stop": True}
    result = attack(eps=0.2, loss=LandmarkDistance(tolerance=2.0), **more)(victim, images, goal)
    assert result.success.tolist() == [True, False, True]
    assert torch.equal(batch["image"], images)
    moved = method.outputs(batch | {"image": result.images}).points
    assert ((moved - goal)[:, 0].norm(dim=1) > 2).tolist() == [True, False, True]
