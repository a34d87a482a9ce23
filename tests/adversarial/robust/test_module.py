"""The method robust-classifier: the contract of the house, and what its rules are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from medzoo.adversarial.robust.losses import Divergence, divergence, smoothed
from medzoo.adversarial.robust.module import RobustClassifier
from medzoo.core.errors import ConfigError
from medzoo.core.testing import ModelContract
from medzoo.core.testing.recipes import packaged, parameters, resolved

TINY: dict[str, Any] = {
    "model.backbone": "test_resnet",
    "model.size": 32,
    "model.batch": 8,
    "model.inner_steps": 2,
    "data.train": 16,
    "data.val": 6,
    "data.test": 8,
    "data.pixels": 32,
}


class TestRobustClassifier(ModelContract):
    name: ClassVar[str] = "robust-classifier"
    tiny: ClassVar[dict[str, Any]] = {**TINY, "model.rule": "trades"}
    resumes: ClassVar[int | None] = 1


def model(**options: Any) -> RobustClassifier:
    torch.manual_seed(0)
    small = {"classes": ["a", "b", "c"], "multi_label": False, "channels": 1, "backbone": "test_resnet", "size": 32}
    return RobustClassifier(**{**small, **options}).eval()


def test_the_quick_recipe_trains_on_attacked_images_of_two_classes() -> None:
    assert packaged(["robust-classifier"]) == {"robust-classifier/default"}
    config = resolved("robust-classifier/default")
    settings, data = config["model"]["init_args"], config["data"]["init_args"]
    assert (settings["rule"], settings["inner_steps"], settings["backbone"]) == ("trades", 4, "test_resnet")
    assert (settings["eps"], settings["beta"]) == (pytest.approx(2 / 255), 1)
    assert (data["classes"], data["augment"]) == (2, 0.3)
    known = {"classes": ["a", "b", "c"], "multi_label": False, "channels": 1}
    assert parameters("robust-classifier/default", **known) == 372_691


def test_losses_are_their_definitions() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, attacked = torch.randn(5, 3, generator=generator), torch.randn(5, 3, generator=generator)
    label = torch.tensor([0, 1, 2, 1, 0])
    p, q = clean.softmax(1), attacked.softmax(1)
    wanted = (p * (p / q).log()).sum(1)
    assert torch.allclose(divergence(p, attacked), wanted, atol=1e-6)
    assert float(divergence(p, clean).abs().amax()) < 1e-6
    with pytest.raises(ConfigError, match="expected probabilities of shape"):
        Divergence().check(clean, label, False)


def test_without_weight_trades_learns_from_clean_images_alone() -> None:
    images = torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    batch = {"image": images, "label": torch.tensor([0, 1, 2, 0, 1, 2])}
    values = {}
    for beta in (0.0, 1.0):
        made = model(rule="trades", beta=beta, inner_steps=2).train()
        made.log = lambda *args: None  # type: ignore[method-assign, assignment]
        made._trainer = SimpleNamespace(datamodule=None, global_step=0)  # type: ignore[assignment]
        values[beta] = float(made.training_step(batch, 0).detach())
        assert all(part.training for part in made.modules())
    assert values[0.0] < values[1.0]


def test_a_vote_is_the_mean_probability() -> None:
    logits = torch.randn(7, 4, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(smoothed(logits).softmax(1), logits.softmax(2).mean(0), atol=1e-6)
    assert torch.allclose(smoothed(logits[:1]), logits[0].log_softmax(1), atol=1e-6)


def test_attacked_images_are_within_the_budget_and_raise_what_they_shall() -> None:
    made = model(inner_steps=5, eps=0.05)
    images = torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    aim = made(images).softmax(1).detach()
    for goal, loss in ((aim, Divergence()), (aim.argmax(1), None)):
        from medzoo.adversarial.engine import CrossEntropy

        used = loss or CrossEntropy()
        found = made._attacked(images, goal, used)
        assert float((found - images).abs().amax()) <= 0.05 + 1e-6
        assert bool((used.value(made(found), goal) > used.value(made(images), goal)).all())


def test_smoothing_answers_alike_each_time_and_for_any_batch() -> None:
    made = model(rule="smoothing", draws=5, sigma=0.2)
    images = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(1), requires_grad=True)
    first = made.outputs({"image": images}).logits
    assert torch.equal(first, made.outputs({"image": images}).logits)
    alone = made.outputs({"image": images[2:3]}).logits
    assert torch.allclose(alone, first[2:3], atol=1e-5)
    (slope,) = torch.autograd.grad(first[:, 0].sum(), images)
    assert float(slope.abs().amax()) > 0
    still = model(rule="smoothing", draws=3, sigma=0.0)
    assert torch.allclose(still.outputs({"image": images}).probabilities, still(images).softmax(1), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rule": "hope"}, "--model.rule: expected pgd-at, trades, smoothing, got hope"),
        ({"eps": 0.0}, "--model.eps: expected above 0 and up to 1, got 0.0"),
        ({"inner_steps": 0}, "--model.inner_steps: expected at least 1, got 0"),
        ({"draws": 0}, "--model.draws: expected at least 1, got 0"),
        ({"beta": -1.0}, "--model.beta: expected at least 0"),
        ({"sigma": -1.0}, "--model.sigma: expected at least 0"),
    ],
)
def test_a_wrong_option_is_one_line(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RobustClassifier(**options)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
