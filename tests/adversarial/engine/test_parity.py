"""The engine beside foolbox, torchattacks and ART on one victim; each is skipped where it is not installed."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medzoo.adversarial.engine import BIM, CWL2, DDN, FGSM, MIM, PGD, Attack, Victim

EPS, ALPHA, STEPS = 10 / 255, 2 / 255, 10
REASON = "an optional oracle, see docs/benchmarks/adversarial.md"


def ours(attack: Attack, trained: Any, target: Tensor | None = None) -> Tensor:
    return attack(Victim(trained.network), trained.images, trained.labels if target is None else target).images


def rate(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float((network(images).argmax(dim=1) != labels).float().mean())


def foolbox_images(attack: Any, trained: Any, criterion: Any, eps: float | None) -> Tensor:
    foolbox = pytest.importorskip("foolbox", reason=REASON)
    model = foolbox.PyTorchModel(trained.network, bounds=(0, 1), device="cpu")
    _, clipped, _ = attack(model, trained.images, criterion, epsilons=eps)
    assert isinstance(clipped, Tensor)
    return clipped


@pytest.mark.parametrize("targeted", [False, True])
def test_bim_is_that_of_foolbox_bit_by_bit(targeted: bool, trained: Any) -> None:
    foolbox = pytest.importorskip("foolbox", reason=REASON)
    goal = (trained.labels + 1) % 3 if targeted else trained.labels
    criterion = foolbox.criteria.TargetedMisclassification(goal) if targeted else goal
    attack = foolbox.attacks.LinfBasicIterativeAttack(abs_stepsize=ALPHA, steps=STEPS, random_start=False)
    theirs = foolbox_images(attack, trained, criterion, EPS)
    assert torch.equal(ours(BIM(eps=EPS, alpha=ALPHA, steps=STEPS, targeted=targeted), trained, goal), theirs)


def test_fgsm_is_that_of_foolbox_bit_by_bit(trained: Any) -> None:
    foolbox = pytest.importorskip("foolbox", reason=REASON)
    theirs = foolbox_images(foolbox.attacks.LinfFastGradientAttack(), trained, trained.labels, EPS)
    assert torch.equal(ours(FGSM(eps=EPS), trained), theirs)


def test_l2_pgd_is_that_of_foolbox(trained: Any) -> None:
    foolbox = pytest.importorskip("foolbox", reason=REASON)
    attack = foolbox.attacks.L2BasicIterativeAttack(abs_stepsize=0.1, steps=STEPS, random_start=False)
    theirs = foolbox_images(attack, trained, trained.labels, 0.5)
    found = ours(PGD(eps=0.5, alpha=0.1, steps=STEPS, norm="l2", start=False), trained)
    torch.testing.assert_close(found, theirs, atol=1e-4, rtol=0)


def test_ddn_needs_as_little_as_that_of_foolbox(trained: Any) -> None:
    foolbox = pytest.importorskip("foolbox", reason=REASON)
    theirs = foolbox_images(foolbox.attacks.DDNAttack(steps=100), trained, trained.labels, None)
    result = DDN(steps=100)(Victim(trained.network), trained.images, trained.labels)
    assert result.success.all()
    lengths = (theirs - trained.images).flatten(1).norm(dim=1)
    assert float(result.l2.mean()) == pytest.approx(float(lengths.mean()), rel=0.05)


def test_cw_l2_needs_as_little_as_that_of_foolbox(trained: Any) -> None:
    foolbox = pytest.importorskip("foolbox", reason=REASON)
    attack = foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=6, steps=200, abort_early=False)
    theirs = foolbox_images(attack, trained, trained.labels, None)
    result = CWL2(searches=6, steps=200)(Victim(trained.network), trained.images, trained.labels)
    assert result.success.all()
    lengths = (theirs - trained.images).flatten(1).norm(dim=1)
    assert float(result.l2.mean()) == pytest.approx(float(lengths.mean()), rel=0.05)


@pytest.mark.parametrize("name", ["FGSM", "BIM", "MIFGSM", "PGD"])
def test_attacks_are_those_of_torchattacks_bit_by_bit(name: str, trained: Any) -> None:
    torchattacks = pytest.importorskip("torchattacks", reason=REASON)
    theirs, mine = {
        "FGSM": (lambda: torchattacks.FGSM(trained.network, eps=EPS), FGSM(eps=EPS)),
        "BIM": (
            lambda: torchattacks.BIM(trained.network, eps=EPS, alpha=ALPHA, steps=STEPS),
            BIM(eps=EPS, alpha=ALPHA, steps=STEPS),
        ),
        "MIFGSM": (
            lambda: torchattacks.MIFGSM(trained.network, eps=EPS, alpha=ALPHA, steps=STEPS, decay=1.0),
            MIM(eps=EPS, alpha=ALPHA, steps=STEPS),
        ),
        "PGD": (
            lambda: torchattacks.PGD(trained.network, eps=EPS, alpha=ALPHA, steps=STEPS, random_start=False),
            PGD(eps=EPS, alpha=ALPHA, steps=STEPS, start=False),
        ),
    }[name]
    images = theirs()(trained.images, trained.labels)
    assert torch.equal(ours(mine, trained), images)


@pytest.mark.parametrize("name", ["foolbox", "torchattacks"])
def test_pgd_succeeds_as_often_from_random_places(name: str, trained: Any) -> None:
    library = pytest.importorskip(name, reason=REASON)
    torch.manual_seed(0)
    if name == "foolbox":
        attack = library.attacks.LinfPGD(abs_stepsize=ALPHA, steps=40)
        theirs = foolbox_images(attack, trained, trained.labels, 12 / 255)
    else:
        theirs = library.PGD(trained.network, eps=12 / 255, alpha=ALPHA, steps=40)(trained.images, trained.labels)
    mine = ours(PGD(eps=12 / 255, alpha=ALPHA, steps=40), trained)
    found, expected = (rate(trained.network, images, trained.labels) for images in (mine, theirs))
    assert found == pytest.approx(expected, abs=0.01)


def test_bim_is_that_of_art_bit_by_bit(trained: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evasion = pytest.importorskip("art.attacks.evasion", reason=REASON)
        classification = pytest.importorskip("art.estimators.classification", reason=REASON)
        model = classification.PyTorchClassifier(
            trained.network,
            nn.CrossEntropyLoss(),
            tuple(trained.images.shape[1:]),
            3,
            clip_values=(0, 1),
            device_type="cpu",
        )
        attack = evasion.ProjectedGradientDescentPyTorch(
            model, eps=EPS, eps_step=ALPHA, max_iter=STEPS, num_random_init=0, verbose=False
        )
        theirs = torch.from_numpy(attack.generate(trained.images.numpy(), trained.labels.numpy()))
    assert torch.equal(ours(BIM(eps=EPS, alpha=ALPHA, steps=STEPS), trained), theirs)
