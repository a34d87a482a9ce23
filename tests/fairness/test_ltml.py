"""LTML: the contract of the house, and the signs of the method in its dossier."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medzoo.core.errors import ConfigError
from medzoo.core.metrics.anomaly import average_precision
from medzoo.core.testing import ModelContract
from medzoo.core.testing.recipes import packaged, parameters, resolved
from medzoo.fairness.losses import distribution_balanced
from medzoo.fairness.ltml.losses import as_positives, reconsidered
from medzoo.fairness.ltml.module import LTML


class TestLTML(ModelContract):
    name: ClassVar[str] = "ltml"
    tiny: ClassVar[dict[str, Any]] = {
        "model.backbone": "test_resnet",
        "model.size": 32,
        "model.batch": 8,
        "model.rate": 0.2,
        "data.train": 24,
        "data.val": 8,
        "data.test": 12,
        "data.pixels": 16,
        "data.structures": 3,
    }
    resumes: ClassVar[int | None] = 2


COUNTS, TOTAL = torch.tensor([400.0, 60.0, 5.0]), 1000
PLAIN: dict[str, Any] = {"bias": 0.0, "balanced": False, "focusing": False}


def case(n: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, generator=generator), (torch.rand(n, 3, generator=generator) < 0.3).float()


def slope(z: float, adaptive: float | None, detach: bool) -> float:
    """Derivative of the loss of a negative."""
    logits = torch.full((1, 3), z, requires_grad=True)
    scale = 1.0 if adaptive is None else 2.0
    each = distribution_balanced(logits, torch.zeros(1, 3), COUNTS, TOTAL, scale, adaptive, detach, **PLAIN)
    return float(torch.autograd.grad(each.sum(), logits)[0][0, 0])


def test_slopes_of_the_adaptive_regularisation_are_those_of_the_dossier() -> None:
    places = (-1.0, 0.0, 1.0, 6.0)
    detached = (0.0003, 0.500, 0.976, 0.998)
    through = (0.0003, 0.500, 0.456, 0.854)
    for z, own, let, plain in zip(places, detached, through, (0.269, 0.5, 0.731, 0.998), strict=True):
        assert slope(z, 10.0, True) == pytest.approx(own, abs=6e-4)
        assert slope(z, 10.0, False) == pytest.approx(let, abs=6e-4)
        assert slope(z, None, True) == pytest.approx(plain, abs=6e-4)
    assert slope(2.4, 10.0, False) == pytest.approx(0.001, abs=2e-3)
    assert slope(2.4, 14.0, False) < 0  # confident false positives are pushed up
    with pytest.raises(ConfigError, match=r"--model\.slope 14: expected at most 10"):
        LTML(slope=14, detach_scale=False)


def test_without_slope_it_is_the_cross_entropy() -> None:
    logits, label = case()
    each = distribution_balanced(logits, label, COUNTS, TOTAL, adaptive=0.0, **PLAIN)
    assert torch.allclose(each, F.binary_cross_entropy_with_logits(logits, label, reduction="none"))


def test_a_flipped_loss_is_that_of_a_sample_with_this_label_more() -> None:
    logits, label = case()
    kept = logits.clone()
    found = as_positives(logits, label, COUNTS, TOTAL)
    for i, c in [(i, c) for i in range(8) for c in range(3) if label[i, c] == 0]:
        more = label.clone()
        more[i, c] = 1
        alone = distribution_balanced(logits, more, COUNTS, TOTAL)
        assert found[i, c].item() == pytest.approx(alone[i, c].item(), rel=1e-5)
    assert torch.equal(logits, kept)


@pytest.mark.parametrize("mode", ["abandon", "modify"])
def test_exactly_the_negatives_of_largest_loss_are_doubted(mode: Any) -> None:
    each = torch.tensor([[5.0, 1.0, 2.0], [2.0, 0.5, 9.0]])
    label = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    flipped = torch.full((2, 3), 0.1)
    found, doubted = reconsidered(each, flipped, label, 0.34, mode)
    assert doubted.nonzero().tolist() == [[0, 0], [0, 2], [1, 0]]  # k = 3; the positive is never doubted
    assert found[doubted].tolist() == pytest.approx([0.1 if mode == "modify" else 0.0] * 3)
    assert torch.equal(found[~doubted], each[~doubted])
    tied = reconsidered(torch.ones(2, 3), flipped, label, 2 / 6, mode)[1]
    assert tied.nonzero().tolist() == [[0, 0], [0, 1]]


def test_the_first_epoch_and_a_batch_without_negatives_change_nothing() -> None:
    each, label = torch.rand(4, 3), case(4)[1]
    assert torch.equal(reconsidered(each, each * 0, label, 0.0, "abandon")[0], each)
    assert torch.equal(reconsidered(each, each * 0, torch.ones(4, 3), 0.5, "abandon")[0], each)
    assert torch.equal(reconsidered(each, each * 0, label, 0.5, "none")[0], each)


def test_a_batch_without_positives_and_unknown_labels_are_finite() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    label = torch.zeros(4, 3)
    label[1, 1] = math.nan
    each = distribution_balanced(logits, label, COUNTS, TOTAL, adaptive=10.0)
    found, doubted = reconsidered(each, as_positives(logits, label, COUNTS, TOTAL), label, 0.3, "modify")
    found.sum().backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())
    assert logits.grad[1, 1] == 0
    assert not doubted[1, 1]


def test_deleted_positives_are_among_the_doubted() -> None:
    """A network that has learnt the others gives a deleted positive a large loss."""
    generator = torch.Generator().manual_seed(0)
    truth = (torch.rand(500, 3, generator=generator) < 0.2).float()
    noted = truth * (torch.rand(500, 3, generator=generator) > 0.3)
    logits = 4 * (truth - 0.5) + torch.randn(500, 3, generator=generator)
    each = distribution_balanced(logits, noted, COUNTS, TOTAL, adaptive=10.0)
    doubted = reconsidered(each, each, noted, 0.05, "abandon")[1]
    deleted = (truth == 1) & (noted == 0)
    assert deleted[doubted].float().mean() > 5 * deleted[noted == 0].float().mean()


def tail_of(seed: int, loss: str) -> float:
    """Mean average precision of the five rarest of twelve labels, of features of which three in ten positives lack."""
    generator = torch.Generator().manual_seed(seed)
    mix, prior = torch.randn(12, 24, generator=generator), 0.35 * 0.62 ** torch.arange(12)
    truth = (torch.rand(10_000, 12, generator=generator) < prior).float()
    x = 0.9 * truth @ mix + 1.3 * torch.randn(10_000, 24, generator=generator)
    noted = truth * (torch.rand(10_000, 12, generator=generator) > 0.3)
    y, counts = noted[:6000], noted[:6000].sum(0)
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(24, 64), nn.ReLU(), nn.Linear(64, 12))
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    for epoch in range(6):
        for rows in torch.randperm(6000).split(64):
            z, own = network(x[rows]), y[rows]
            if loss == "bce":
                each = F.binary_cross_entropy_with_logits(z, own, reduction="none")
            elif loss == "ltml":
                each = distribution_balanced(z, own, counts, 6000, adaptive=10.0)
                each, _ = reconsidered(each, each, own, 0.02 * epoch, "abandon")
            else:
                each = distribution_balanced(z, own, counts, 6000, 2.0, 10.0 if loss == "anr" else None, **PLAIN)
            optimiser.zero_grad()
            each.mean().backward()
            optimiser.step()
    with torch.no_grad():
        scores = network(x[6000:])
    return sum(average_precision(scores[:, c], truth[6000:, c]) for c in range(7, 12)) / 5


def test_on_features_the_tail_gains_as_the_dossier_says() -> None:
    found = {loss: sum(tail_of(seed, loss) for seed in (0, 1)) / 2 for loss in ("bce", "constant", "anr", "ltml")}
    assert found["bce"] < found["constant"] < found["anr"] < found["ltml"]
    assert found["ltml"] > 1.8 * found["bce"]


def test_recipes_have_their_settings_and_sizes() -> None:
    assert packaged(["ltml"]) == {"ltml/default", "ltml/paper"}
    found = resolved("ltml/paper")
    wanted: dict[str, Any] = {"backbone": "resnet50", "slope": 10.0, "rate": 0.1, "detach_scale": False, "epochs": 8,
              "batch": 32, "reconsider": "abandon", "regularisation": "adaptive", "dropout": 0.5}  # fmt: skip
    assert {name: found["model"]["init_args"][name] for name in wanted} == wanted
    assert found["data"]["init_args"]["order"] == "class"
    given: dict[str, Any] = {"multi_label": True, "channels": 3}
    names = [str(i) for i in range(39)]
    assert parameters("ltml/paper", classes=names, **given) == 25_557_032 - 961 * 2049
    assert parameters("ltml/default", classes=names[:12], **given) == 373_852
