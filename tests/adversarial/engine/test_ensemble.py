"""The worst case of several attacks, and the standard AutoAttack where its package is installed."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch

from medzoo.adversarial.engine import APGD, AnomalyScore, AutoAttack, CrossEntropy, Ensemble, Margin, Victim
from medzoo.adversarial.engine.square import Square
from medzoo.core.errors import ConfigError

EPS = 9 / 255


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_ensemble_is_at_least_as_strong_as_each_member(norm: Any, trained: Any) -> None:
    victim, eps = Victim(trained.network), EPS if norm == "linf" else 0.3
    whole = Ensemble(eps=eps, norm=norm, steps=10, queries=40)(victim, trained.images, trained.labels)
    members: list[Any] = [APGD(eps=eps, norm=norm, steps=10, loss=loss) for loss in (CrossEntropy(), Margin())]
    members += [Square(eps=eps, queries=40)] if norm == "linf" else []
    single = [member(victim, trained.images, trained.labels) for member in members]
    assert (whole.success >= single[0].success).all(), "the first member sees the same images with the same draws"
    assert int(whole.success.sum()) >= max(int(one.success.sum()) for one in single) - 1  # later ones draw anew
    assert 0 < int(whole.success.sum()) < len(whole.success)
    size = whole.linf if norm == "linf" else whole.l2
    assert float(size.amax()) <= eps + 1e-5
    with torch.no_grad():
        wrong = trained.network(whole.images).argmax(dim=1) != trained.labels
    assert torch.equal(wrong, whole.success)


@pytest.mark.parametrize("nd", [1, 2, 3])
def test_two_classes_and_any_number_of_axes(nd: int, network: Any) -> None:
    made = network(nd, 1, 2).eval()
    images = torch.rand(4, 1, *[8] * nd, generator=torch.Generator().manual_seed(0))
    labels = made(images).argmax(dim=1)
    nothing = Ensemble(eps=0.0, steps=2, queries=3)(Victim(made), images, labels)
    assert torch.equal(nothing.images, images)
    assert not nothing.success.any()
    assert Ensemble(eps=1.0, steps=20, queries=20)(Victim(made), images, labels).success.all()


def test_other_tasks_have_no_ensemble() -> None:
    with pytest.raises(ConfigError, match="ensemble: it is of classifiers"):
        Ensemble(eps=0.1, loss=AnomalyScore(0.5))(
            Victim(lambda x: x.mean((1, 2, 3))), torch.rand(1, 1, 4, 4), torch.ones(1)
        )


@pytest.mark.parametrize(
    ("settings", "bounds", "text"),
    [
        ({"targeted": True}, (0.0, 1.0), "autoattack: it leads classifiers away from the truth"),
        ({}, (-1000.0, 400.0), r"autoattack: its images lie in \[0, 1\]"),
    ],
)
def test_what_autoattack_is_not_defined_for_is_one_line(settings: Any, bounds: Any, text: str, network: Any) -> None:
    victim = Victim(network(2, 1, 5).eval(), bounds=bounds)
    with pytest.raises(ConfigError, match=text):
        AutoAttack(eps=0.1, **settings)(victim, torch.rand(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64))


def test_without_its_package_one_line_says_what_to_install(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'medzoo-adversarial\[autoattack\]'"):
        AutoAttack(eps=0.1)(Victim(network(2, 1, 5).eval()), torch.rand(2, 1, 8, 8), torch.zeros(2, dtype=torch.int64))


def test_autoattack_is_that_of_the_package_and_refuses_few_classes_and_volumes(network: Any) -> None:
    pytest.importorskip("pyautoattack", reason="an optional extra, medzoo-adversarial[autoattack]")
    generator = torch.Generator().manual_seed(0)
    made = network(2, 1, 5).eval()
    images = torch.rand(6, 1, 8, 8, generator=generator)
    labels = made(images).argmax(dim=1)
    weak = AutoAttack(eps=0.002)(Victim(made), images, labels)
    strong = AutoAttack(eps=0.5)(Victim(made), images, labels)
    assert strong.success.all()
    assert int(weak.success.sum()) < len(images), "members run on survivors without an error"
    assert float(weak.linf.amax()) <= 0.002 + 1e-6
    assert torch.equal(AutoAttack(eps=0.0)(Victim(made), images, labels).images, images)
    with pytest.raises(ConfigError, match="it needs 4 classes, the victim has 3; take ensemble"):
        AutoAttack(eps=0.1)(Victim(network(2, 1, 3).eval()), images, torch.zeros(6, dtype=torch.int64))
    with pytest.raises(ConfigError, match="take apgd"):
        AutoAttack(eps=0.1)(
            Victim(network(3, 1, 5).eval()), torch.rand(1, 1, 6, 6, 6), torch.zeros(1, dtype=torch.int64)
        )
