"""ITF: estimates of information and entropy, what their weight does, and what a score is made of."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from medzoo.anomaly.itf.losses import (
    contrast,
    gaussian_entropy,
    likelihood,
    neighbour_entropy,
    neighbour_squares,
)
from medzoo.anomaly.itf.module import ITF
from medzoo.anomaly.itf.views import turned, view
from medzoo.core.errors import ConfigError

TINY = {"size": 16, "widths": [4, 6, 8], "latent": 4}


def model(**options: object) -> ITF:
    torch.manual_seed(0)
    made = ITF(**{**TINY, **options})  # type: ignore[arg-type]
    made.log = made.log_dict = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    return made


def step(net: ITF, image: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(3)
    return net.training_step({"image": image}, 0)


def test_information_is_at_most_the_logarithm_of_the_candidates() -> None:
    torch.manual_seed(0)
    codes = torch.randn(8, 16)
    bound = math.log(15)
    assert contrast(codes, codes, 0.01).item() == pytest.approx(bound, abs=1e-4)  # every partner is found
    assert contrast(codes, codes + 0.3 * torch.randn(8, 16), 0.5).item() < bound
    assert contrast(codes, torch.randn(8, 16), 0.01).item() < 0  # looks at the wrong ones
    assert contrast(torch.ones(8, 16), torch.ones(8, 16), 0.5).item() == pytest.approx(0, abs=1e-6)  # says nothing


def test_information_by_hand_and_without_the_lengths_of_codes() -> None:
    one, other = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    # Each has its partner at a cosine of 1 and two others at 0.
    assert contrast(one, other, 1.0).item() == pytest.approx(math.log(3) + 1 - math.log(math.e + 2), abs=1e-6)


def test_the_likelihood_of_a_restoration_by_hand() -> None:
    assert likelihood(torch.full((1, 3, 2, 2), 0.3), torch.full((1, 3, 2, 2), 0.1)).tolist() == pytest.approx([-2.0])


@pytest.mark.parametrize(("length", "deviation"), [(1, 1.0), (3, 0.2), (6, 5.0)])
def test_entropies_agree_on_a_gaussian_within_5_percent(length: int, deviation: float) -> None:
    codes = deviation * torch.randn(2000, length, generator=torch.Generator().manual_seed(0)) + 7
    exact = 0.5 * math.log(2 * math.pi * math.e * deviation**2)
    found = [entropy(codes, noise=0.0).item() for entropy in (gaussian_entropy, neighbour_entropy)]
    assert found == pytest.approx([exact, exact], abs=0.05 * 0.5 * math.log(2 * math.pi * math.e))


def test_the_entropy_of_a_constant_code_is_that_of_the_noise() -> None:
    codes = torch.ones(10, 4, requires_grad=True)
    assert gaussian_entropy(codes).item() == pytest.approx(0.5 * math.log(2 * math.pi * math.e * 0.01), abs=1e-5)
    for entropy in (gaussian_entropy, neighbour_entropy):
        (gradient,) = torch.autograd.grad(entropy(codes), codes)
        assert torch.equal(gradient, torch.zeros_like(codes))
    assert neighbour_entropy(codes[:1]) == gaussian_entropy(codes[:1])


def test_of_equal_spread_two_clusters_have_less_entropy_for_neighbours_alone() -> None:
    torch.manual_seed(0)
    cloud = torch.randn(400, 2)
    pair = 0.05 * torch.randn(400, 2) + torch.tensor([1.0, 1.0]) * torch.tensor([-1.0, 1.0]).repeat(200)[:, None]
    pair = (pair - pair.mean(0)) / (pair - pair.mean(0)).square().mean().sqrt()
    cloud = (cloud - cloud.mean(0)) / (cloud - cloud.mean(0)).square().mean().sqrt()
    assert gaussian_entropy(pair).item() == pytest.approx(gaussian_entropy(cloud).item(), abs=1e-4)
    assert neighbour_entropy(pair) < neighbour_entropy(cloud) - 0.3


def test_no_code_is_its_own_neighbour() -> None:
    codes = torch.tensor([[0.0], [1.0], [3.0]])
    assert neighbour_squares(codes, codes, 1, own=True).tolist() == [1, 1, 4]
    assert neighbour_squares(codes, codes, 2).tolist() == [1, 1, 4]
    assert neighbour_squares(torch.tensor([[2.5]]), codes, 1).tolist() == [0.25]


def test_views_differ_and_keep_their_range_and_turned_images_are_the_three_others() -> None:
    torch.manual_seed(0)
    images = torch.rand(5, 3, 16, 16)
    one, other = view(images), view(images)
    assert one.shape == images.shape
    assert 0 <= one.min() <= one.max() <= 1
    assert ((one - other).abs().mean((1, 2, 3)) > 0.01).all()
    four = turned(images).reshape(4, 5, 3, 16, 16)
    assert torch.equal(four[0], images)
    assert torch.equal(four[1].rot90(3, (-2, -1)), images)
    assert torch.equal(four[2], images.flip(-1).flip(-2))


def test_without_entropy_the_loss_is_the_restoration_or_the_contrast_alone() -> None:
    torch.manual_seed(1)
    image = torch.rand(6, 3, 16, 16)
    plain = model(information="restoration", entropy_weight=0.0, mirror=False)
    expected = F.mse_loss(plain.made(plain.net(image).code), image) / 0.02
    assert torch.allclose(step(plain, image), expected)
    other = model(entropy_weight=0.0, mirror=False)
    torch.manual_seed(3)
    one, two = (other.net(torch.cat([turned(view(image)), turned(view(image))])).code).chunk(2)
    assert torch.allclose(step(other, image), -contrast(one, two, 0.1))


def test_entropy_is_lowered_for_upright_images_alone() -> None:
    """Turned images stand for abnormal ones: only the contrast reaches them."""
    torch.manual_seed(1)
    net = model(mirror=False)
    image = torch.rand(6, 3, 16, 16)
    seen: list[torch.Tensor] = []
    net.entropy = lambda codes: seen.append(codes) or gaussian_entropy(codes)  # type: ignore[func-returns-value]
    step(net, image)
    torch.manual_seed(3)
    codes = net.net(torch.cat([turned(view(image)), turned(view(image))])).code
    upright = torch.cat([codes[:6], codes[24:30]])
    assert torch.allclose(seen[0], net.placed(upright))


def test_the_score_by_hand() -> None:
    known = torch.tensor([[2.0, 1.0, 0.0], [4.0, 0.0, 1.0]])  # lengths 2 and 4, codes (1, 0) and (0, 1)
    parts = torch.tensor([[6.0, 1.0, 0.0], [3.0, -1.0, 0.0]])
    net = model(entropy_weight=0.0)
    assert net.joined(parts, known).tolist() == pytest.approx([-2.0, 0.0])
    net = model(entropy_weight=2.0)
    surprise = [0.5 * 0.25 / 0.26, 0.5 * 1.25 / 0.26]
    assert net.joined(parts, known).tolist() == pytest.approx([-2 + 2 * surprise[0], 2 * surprise[1]])
    restoring = model(information="restoration", entropy_weight=2.0, entropy="neighbours")
    found = restoring.joined(parts, known)
    # Of two codes the farther: squares 2 and 2 of the first, 4 and 2 of the second.
    assert found.tolist() == pytest.approx([6 + math.log(2 / 2 + 0.02), 3 + math.log(4 / 2 + 0.02)])


def stripes(count: int, seed: int) -> torch.Tensor:
    """Return stripes of any phase `(N, 3, 16, 16)`."""
    generator = torch.Generator().manual_seed(seed)
    phase = torch.rand(count, 1, 1, generator=generator) * 6
    images = 0.5 + 0.2 * torch.sin(torch.arange(16.0)[None, None] + phase)
    images = images.expand(count, 16, 16) + 0.03 * torch.randn(count, 16, 16, generator=generator)
    return images.clamp(0, 1)[:, None].expand(count, 3, 16, 16).contiguous()


def taught(weight: float) -> tuple[float, float]:
    """Train on stripes; return the error of restored ones and how much their codes vary."""
    net = model(information="restoration", entropy_weight=weight)
    optimizer = torch.optim.SGD(net.parameters(), 0.02, momentum=0.9)
    images = stripes(32, 1)
    for number in range(40):
        torch.manual_seed(number)
        loss = net.training_step({"image": images[torch.randperm(32)[:16]]}, 0)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        codes = net.net(images).code
        return F.mse_loss(net.made(codes), images).item(), codes.std(0).mean().item()


def test_weight_on_entropy_makes_codes_constant_and_costs_information() -> None:
    error, spread = taught(0.0)
    costly, constant = taught(30.0)
    assert constant < 0.1 * spread
    assert costly > error


@pytest.mark.parametrize(
    "change",
    [
        {"information": "all"},
        {"entropy": "none"},
        {"entropy_weight": -1.0},
        {"latent": 0},
        {"temperature": 0.0},
        {"size": 24},
        {"size": [16, 32]},
    ],
)
def test_impossible_settings_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"--model.{next(iter(change))}"):
        ITF(**change)  # type: ignore[arg-type]
