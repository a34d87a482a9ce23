"""What cannot be done is said in one line, before the victim is touched."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medzoo.adversarial.engine import (
    APGD,
    BIM,
    CWL2,
    DDN,
    DIM,
    DLR,
    FGSM,
    PGD,
    TIM,
    AnomalyScore,
    Attack,
    CrossEntropy,
    LandmarkDistance,
    Margin,
    MultiLabelBCE,
    Patch,
    Square,
    TargetedDLR,
    Universal,
    Victim,
)
from medzoo.core.errors import ConfigError

IMAGES, LABELS = torch.full((2, 1, 8, 8), 0.5), torch.tensor([0, 1])


def two_classes(x: Tensor) -> Tensor:
    mean = x.flatten(1).mean(dim=1)
    return torch.stack([mean, 1 - mean], dim=1)


def refused(attack: Attack, text: str, images: Tensor = IMAGES, goal: Tensor = LABELS, **victim: Any) -> None:
    with pytest.raises(ConfigError, match=text) as caught:
        attack(Victim(**({"model": two_classes} | victim)), images, goal)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("eps", [-1 / 255, 1.01, math.nan, math.inf])
@pytest.mark.parametrize("kind", [FGSM, PGD, APGD, Square, Universal])
def test_budget_is_none(kind: Callable[..., Attack], eps: float) -> None:
    refused(kind(eps=eps), "eps: expected 0 to 1, in the unit of the images")


@pytest.mark.parametrize(
    ("images", "text"),
    [
        (2 * IMAGES - 1.5, r"expected values in \[0, 1\], got -0.5 to -0.5; give images before normalisation"),
        (IMAGES * 255, "got 127.5 to 127.5"),
        (torch.full((2, 1, 8, 8), math.nan), "got nan"),
        ((IMAGES * 255).byte(), "got torch.uint8; divide by 255"),
        (IMAGES[0, 0], r"expected \(n, C, \*S\)"),
    ],
)
def test_images_are_none(images: Tensor, text: str) -> None:
    refused(BIM(eps=0.1), text, images)


@pytest.mark.parametrize(
    ("goal", "text"),
    [
        (torch.tensor([0, 2]), "class 2 is none of the victim's 0 to 1"),
        (torch.tensor([-1, 1]), "class -1 is none"),
        (torch.tensor([0]), "a row for each of the 2 images, got 1"),
        (torch.tensor([0.0, 1.0]), "expected 2 class numbers, got torch.float32"),
    ],
)
@pytest.mark.parametrize("targeted", [False, True])
def test_class_is_none_of_the_victims(goal: Tensor, text: str, targeted: bool) -> None:
    refused(BIM(eps=0.1, targeted=targeted), text, goal=goal)


def test_ratio_of_logits_needs_classes() -> None:
    refused(APGD(eps=0.1, loss=DLR()), "DLR: expected at least 3 classes, the victim has 2; take Margin")
    refused(APGD(eps=0.1, loss=TargetedDLR(), targeted=True), "TargetedDLR: expected at least 4 classes for a target")
    logits = torch.rand(2, 5)
    with pytest.raises(ConfigError, match="DLR: it has no target"):
        DLR().check(logits, LABELS, True)
    with pytest.raises(ConfigError, match="TargetedDLR: the attack has no target"):
        TargetedDLR().check(logits, LABELS, False)


@pytest.mark.parametrize("attack", [FGSM(eps=0.1), PGD(eps=0.1), APGD(eps=0.1), CWL2(), DDN(), Universal(eps=0.1)])
def test_victim_without_gradients(attack: Attack) -> None:
    for model in (lambda x: two_classes(x.detach()), lambda x: two_classes((x > 0.5).float())):
        refused(attack, "no gradient to the images; take square, which needs none, or put bpda", model=model)


def test_square_needs_no_gradients() -> None:
    result = Square(eps=0.3, queries=50)(Victim(lambda x: two_classes(x.detach())), IMAGES - 0.1, torch.tensor([1, 1]))
    assert result.success.all()


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (lambda x: x.mean(), r"expected a tensor with 2 rows, one an image, got shape \(\)"),
        (lambda x: [x], "one an image, got list"),
        (lambda x: x, r"expected logits \(B, K\), the victim returned shape \(2, 1, 8, 8\)"),
        (lambda x: x.flatten(1).mean(1, keepdim=True), "at least 2 classes, the victim has 1; take MultiLabelBCE"),
        (lambda x: two_classes(x) * math.nan, "its outputs for the images are not finite"),
    ],
)
def test_victim_returns_something_else(model: Callable[[Tensor], Any], text: str) -> None:
    refused(BIM(eps=0.1), text, model=model)


@pytest.mark.parametrize(
    ("made", "text"),
    [
        ({"bounds": (1.0, 0.0)}, "bounds: expected lowest < highest, got 1 and 0"),
        ({"std": 0.0}, "std: expected values above 0"),
        ({"draws": 0}, "draws: expected at least 1"),
    ],
)
def test_victim_is_none(made: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Victim(two_classes, **made)


def test_normalisation_has_other_channels() -> None:
    refused(BIM(eps=0.1), "mean: expected 1 or 1 values, one a channel, got 3", mean=[0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    ("attack", "text"),
    [
        (BIM(eps=0.1, steps=0), "steps: expected at least 1, got 0"),
        (BIM(eps=0.1, restarts=3), "restarts: each would be the same search"),
        (BIM(eps=0.1, alpha=-1.0), "alpha"),
        (BIM(eps=0.1, norm="l1"), "--attack.norm: expected linf, l2, got l1"),  # type: ignore[arg-type]
        (BIM(eps=0.1, diversity=2.0), "diversity, shrink"),
        (DIM(eps=0.1, early_stop=True), "early_stop: with diversity"),
        (TIM(eps=0.1, kernel=4), "kernel: expected an odd width, got 4"),
        (APGD(eps=0.1, steps=0), "steps"),
        (CWL2(loss=CrossEntropy()), "loss: the search needs a plain margin"),
        (CWL2(kappa=-1.0), "kappa: at least 0"),
        (CWL2(searches=0), "searches"),
        (DDN(gamma=1.0), "gamma"),
        (DDN(levels=1), "levels"),
        (Square(eps=0.1, norm="l2"), "norm: Square is for linf only, got l2"),
        (Square(eps=0.1, area=0.0), "area"),
        (Patch(size=(9, 2)), r"a patch of \(9, 2\) does not fit into images of \(8, 8\)"),
        (Patch(size=(2, 2), corner=(7, 0)), r"a patch of \(2, 2\) at \(7, 0\) does not fit"),
        (Patch(size=(2,)), "does not fit"),
        (Patch(size=(2, 2), corner=(1,)), "corner: expected 2 values"),
        (Universal(eps=0.1, epochs=0), "epochs, batch"),
        (Universal(eps=0.1, alpha=0.0), "alpha"),
        (BIM(eps=0.1, loss=MultiLabelBCE()), r"expected a value for each logit \(2, 2\), got shape \(2,\)"),
        (BIM(eps=0.1, loss=LandmarkDistance(2.0)), r"expected points"),
        (BIM(eps=0.1, loss=AnomalyScore(math.nan)), "threshold: expected a finite score, got nan"),
    ],
)
def test_settings_are_impossible(attack: Attack, text: str) -> None:
    refused(attack, text)


def test_goals_of_other_losses_are_none() -> None:
    with pytest.raises(ConfigError, match="expected 0 or 1 for each label"):
        MultiLabelBCE().check(torch.zeros(1, 3), torch.tensor([[0.0, 0.5, 1.0]]), False)
    with pytest.raises(ConfigError, match=r"the point \[9.0, 1.0\] lies outside of the map of \[8, 4\] pixels"):
        LandmarkDistance(1.0).check(torch.zeros(1, 1, 4, 8), torch.tensor([[[9.0, 1.0]]]), True)
    with pytest.raises(ConfigError, match="1 for abnormal and 0 for normal"):
        AnomalyScore(0.5).check(torch.zeros(2, 4, 4), torch.tensor([0, 3]), False)


def test_victim_is_restored_after_an_error(network: Callable[..., nn.Sequential]) -> None:
    victim = network(2, 1, 2)
    with pytest.raises(ConfigError):
        BIM(eps=0.1)(Victim(victim), IMAGES, torch.tensor([0, 7]))
    assert victim.training
    assert all(p.requires_grad for p in victim.parameters())
    assert Margin().kappa == math.inf
