"""The baselines: the contract of the house, and every loss against its definition and its limits."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medzoo.core.classifier.losses import asymmetric
from medzoo.core.cli import main
from medzoo.core.errors import ConfigError
from medzoo.core.testing import ModelContract
from medzoo.core.testing.recipes import dry_run, packaged, parameters
from medzoo.fairness.baseline.losses import worst_groups
from medzoo.fairness.baseline.module import LOSSES, FairBaseline
from medzoo.fairness.baseline.network import with_features
from medzoo.fairness.data.phantoms import LesionPhantoms
from medzoo.fairness.losses import (
    cross_entropies,
    distribution_balanced,
    effective_weights,
    equal_groups,
    focal,
    generalised_ce,
    log_priors,
)
from medzoo.fairness.method import attribute_of

TINY: dict[str, Any] = {
    "model.backbone": "test_resnet",
    "model.size": 32,
    "model.batch": 8,
    "data.train": 24,
    "data.val": 8,
    "data.test": 12,
    "data.pixels": 16,
    "data.dark": 0.5,
}


class TestGroupDRO(ModelContract):
    name: ClassVar[str] = "fair-baseline"
    tiny: ClassVar[dict[str, Any]] = {
        **TINY, "model.loss": "group-dro", "model.select": "worst", "model.average": 0.5,
    }  # fmt: skip
    resumes: ClassVar[int | None] = 2


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains_on_the_labels_that_it_is_for(loss: str, workdir: Any) -> None:
    labels = loss in ("asl", "db")
    options = {**TINY, "model.loss": loss}
    if labels:
        options |= {"data": "lesion-structures", "data.structures": 3}
        del options["data.dark"]
    assert dry_run("fair-baseline/default", options) == 0


def test_each_group_trains_its_own_head_and_a_test_needs_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FairBaseline, "data", None)
    given: dict[str, Any] = {"attribute": "skin", "groups": ["light", "dark"], "classes": ["a", "b", "c"]}
    model = FairBaseline("group-heads", **given, multi_label=False, channels=3, backbone="test_resnet", size=32)
    image = torch.rand(4, 3, 32, 32)
    assert torch.allclose(model.eval()(image), model.heads(image)[:, 0] + model.heads(image)[:, 1], atol=1e-6)
    batch = {"image": image, "label": torch.tensor([0, 1, 2, 0]), "id": list("abcd")}
    batch["groups"] = [{"skin": 1}, {"skin": 1}, {"skin": -1}, {}]
    monkeypatch.setattr(model, "log", lambda name, value: None)
    model.training_step(batch, 0).backward()
    (slope,) = [p.grad for name, p in model.named_parameters() if name.endswith("fc.weight")]
    assert slope is not None
    assert slope[:3].abs().sum() == 0
    assert slope[3:].abs().sum() > 0
    unknown = {**batch, "groups": [{}] * 4}
    assert model.training_step(unknown, 0).item() == 0


def tiny(monkeypatch: pytest.MonkeyPatch, **options: Any) -> FairBaseline:
    monkeypatch.setattr(FairBaseline, "data", None)
    torch.manual_seed(0)
    given: dict[str, Any] = {"attribute": "skin", "groups": ["light", "dark"], "classes": ["a", "b", "c"]}
    model = FairBaseline(**options, **given, multi_label=False, channels=3, backbone="test_resnet", size=32)
    monkeypatch.setattr(model, "log", lambda name, value: None)
    return model


def some() -> dict[str, Any]:
    image = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    groups = [{"skin": g} for g in (0, 1, 0, 1, -1, 1)]
    return {"image": image, "label": torch.tensor([0, 1, 2, 0, 1, 2]), "id": list("abcdef"), "groups": groups}


def test_the_adversarys_gradient_comes_to_the_features_reversed(monkeypatch: pytest.MonkeyPatch) -> None:
    def slopes(weight: float, loss: str = "gradient-reversal") -> dict[str, Tensor]:
        model = tiny(monkeypatch, loss=loss, adversary=weight).eval()
        model.training_step(some(), 0).backward()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    none, one, two, plain = slopes(0), slopes(1), slopes(2), slopes(1, "mean")
    below = [name for name in plain if ".fc." not in name]
    assert all(torch.allclose(none[name], plain[name], atol=1e-6) for name in plain)
    for name in below:  # one step of the weight moves the gradient as far as the next
        assert torch.allclose(two[name] - one[name], one[name] - none[name], atol=1e-5)
    assert any(not torch.allclose(one[name], none[name], atol=1e-4) for name in below)
    own = [name for name in one if name.startswith("adversary")]
    assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in own)  # it learns as fast for any weight
    assert sum(float(one[name].abs().sum()) for name in own) > 0

    model = tiny(monkeypatch, loss="gradient-reversal").eval()
    assert model.network is not None
    assert model.adversary is not None
    batch, group = some(), torch.tensor([0, 1, 0, 1, -1, 1])
    features = with_features(model.network, batch["image"])[1].detach().requires_grad_()
    sent: list[Tensor] = []
    for weight in (1.0, -1.0):  # the opposite of a reversed gradient is the adversary's own
        wrong = F.cross_entropy(model.adversary(features, weight)[group >= 0], group[group >= 0])
        sent.append(torch.autograd.grad(wrong, features)[0])
    assert torch.allclose(sent[0], -sent[1])


def test_of_a_trained_network_the_last_layer_alone_is_trained_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny(monkeypatch, trains="head").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.AdamW(model.parameters(), 0.1, weight_decay=1e-4)
    for step in range(2):
        optimiser.zero_grad()
        model.training_step(some(), step).backward()
        optimiser.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"network.model.fc.weight", "network.model.fc.bias"}  # statistics stay too


def test_the_average_is_that_of_the_last_steps_and_answers_in_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = tiny(monkeypatch, average=0.5).train(), some()
    trainer = SimpleNamespace(estimated_stepping_batches=4)
    monkeypatch.setattr(FairBaseline, "trainer", trainer)
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    assert model.network is not None
    assert model.averaged is not None
    kept: list[dict[str, Tensor]] = []
    for step in range(4):
        optimiser.zero_grad()
        model.training_step(batch, step).backward()
        optimiser.step()
        monkeypatch.setattr(FairBaseline, "global_step", step + 1)
        model.on_train_batch_end(None, batch, step)
        kept.append({name: value.clone() for name, value in model.network.state_dict().items()})
        if step == 1:
            assert not model.averaged.begun
            assert torch.equal(model.eval()(batch["image"]), model.network(batch["image"]))
            model.train()
    found = {name.removeprefix("module."): value for name, value in model.averaged.state_dict().items()}
    for name, value in kept[3].items():
        if value.is_floating_point():
            assert torch.allclose(found[name], (kept[2][name] + value) / 2, atol=1e-5), name
    assert torch.equal(model.network.state_dict()["model.fc.weight"], kept[3]["model.fc.weight"])
    model.eval()
    assert torch.equal(model(batch["image"]), model.averaged(batch["image"]))
    assert not torch.allclose(model(batch["image"]), model.network(batch["image"]))


def case(n: int = 12, c: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, c, generator=generator, dtype=torch.float64)
    return logits, torch.randint(c, (n,), generator=generator), torch.randint(-1, 3, (n,), generator=generator)


def test_generalised_cross_entropy_lies_between_cross_entropy_and_absolute_error() -> None:
    logits, label, _ = case()
    logits.requires_grad_()
    p = logits.softmax(1).gather(1, label[:, None])[:, 0].detach()
    (plain,) = torch.autograd.grad(F.cross_entropy(logits, label, reduction="sum"), logits)
    for q in (0.01, 0.7, 1.0):
        (own,) = torch.autograd.grad(generalised_ce(logits, label, q).sum(), logits)
        assert torch.allclose(own, p[:, None] ** q * plain, atol=1e-5)
    assert torch.allclose(generalised_ce(logits, label, 1.0).double(), 1 - p, atol=1e-6)
    assert torch.allclose(generalised_ce(logits, label, 1e-4).double(), -p.log(), atol=1e-2)


def test_focal_without_focus_is_the_cross_entropy() -> None:
    logits, label, _ = case()
    assert torch.allclose(focal(logits, label, 0.0), F.cross_entropy(logits, label, reduction="none"))
    p = logits.softmax(1)[range(12), label]
    assert torch.allclose(focal(logits, label), -((1 - p) ** 2) * p.log())
    marks = F.one_hot(label, 4).double()
    marks[0, 1] = math.nan
    assert torch.allclose(focal(logits, marks, 0.0), cross_entropies(logits, marks))


def test_asymmetric_loss_drops_easy_negatives() -> None:
    marks = torch.zeros(1, 1)
    assert asymmetric(torch.tensor([[-4.0]]), marks).item() == 0  # p = 0.018 is below the clip
    p = torch.sigmoid(torch.tensor(1.0)).item()
    assert asymmetric(torch.tensor([[1.0]]), marks).item() == pytest.approx(-((p - 0.05) ** 4) * math.log(1.05 - p))
    assert asymmetric(torch.tensor([[1.0]]), 1 - marks).item() == pytest.approx(-(1 - p) * math.log(p), rel=1e-5)
    plain = asymmetric(torch.tensor([[1.0]]), marks, 0, 0, 0).item()
    assert plain == pytest.approx(F.binary_cross_entropy_with_logits(torch.tensor([[1.0]]), marks).item(), rel=1e-5)


def test_weights_of_rare_classes() -> None:
    weights = effective_weights(torch.tensor([1000, 10, 0]), 0.99)
    by_hand = [(1 - 0.99) / (1 - 0.99**n) for n in (1000, 10, 1)]
    assert weights.tolist() == pytest.approx([w / (sum(by_hand) / 3) for w in by_hand], rel=1e-5)
    assert effective_weights(torch.tensor([9, 1]), 0.0).tolist() == [1, 1]
    priors = log_priors(torch.tensor([30, 10]), torch.tensor([40, 40]), False)
    assert priors.tolist() == pytest.approx([math.log(0.75), math.log(0.25)])
    odds = log_priors(torch.tensor([30, 0]), torch.tensor([40, 40]), True)
    assert odds.tolist() == pytest.approx([math.log(3), math.log(1 / 39)])


def test_distribution_balanced_loss_by_a_loop() -> None:
    logits, _, _ = case(5, 3)
    marks = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1], [1, math.nan, 0]])
    counts, total = torch.tensor([50.0, 10.0, 2.0]), 100
    kept = logits.clone()
    found = distribution_balanced(logits, marks, counts, total)
    assert torch.equal(logits, kept)
    for i in range(5):
        share = sum(1 / counts[j].item() for j in range(3) if marks[i, j] == 1)
        for c in range(3):
            if marks[i, c].isnan():
                assert found[i, c] == 0
                continue
            v = -0.025 * math.log(total / counts[c].item() - 1)
            r = 1 / counts[c].item() / share if share else math.inf
            w = 0.1 + (1 / (1 + math.exp(-10 * (r - 0.2))) if share else 1.0)
            z = logits[i, c].item() + v
            z, w = (-z, w) if marks[i, c] == 1 else (2 * z, w / 2)
            loss = math.log1p(math.exp(z))
            assert found[i, c].item() == pytest.approx(2 * w * (1 - math.exp(-loss)) ** 2 * loss, rel=1e-4)


def test_losses_over_groups_by_hand() -> None:
    each, group = torch.tensor([1.0, 3.0, 10.0, 99.0]), torch.tensor([0, 0, 2, -1])
    assert equal_groups(each, group, 3).item() == 6
    q = torch.tensor([0.5, 0.25, 0.25])
    loss, new = worst_groups(each, group, q, 0.1)
    raw = [0.5 * math.exp(0.2), 0.25, 0.25 * math.exp(1.0)]
    assert new.tolist() == pytest.approx([r / sum(raw) for r in raw])
    assert loss.item() == pytest.approx((new[0] * 2 + new[2] * 10).item())
    alone = torch.tensor([1.0], requires_grad=True)
    equal_groups(alone, torch.tensor([-1]), 2).backward()
    assert alone.grad is not None


def test_the_attribute_is_found_or_asked_for() -> None:
    assert attribute_of(LesionPhantoms(8, 4, 4), None) == ("skin", ("light", "dark"))
    with pytest.raises(ConfigError, match=r"--model\.attribute: expected .* \(skin, ink\), got None"):
        attribute_of(LesionPhantoms(8, 4, 4, conflict=0.1), None)
    assert attribute_of(LesionPhantoms(8, 4, 4), None, ["dark", "tan"]) == ("skin", ("light", "dark"))
    with pytest.raises(ConfigError, match=r"^--model\.loss db: is for several labels"):
        FairBaseline("db", multi_label=False)
    with pytest.raises(ConfigError, match=r"--model\.average: expected 0 to 1, got 2"):
        FairBaseline(average=2)
    with pytest.raises(ConfigError, match=r"^--model\.loss: expected"):
        FairBaseline("ce")  # type: ignore[arg-type]


@pytest.mark.parametrize("model", [["fair-baseline", "--model.loss", "group-mean"], ["fair-adabn"]])
def test_groups_that_the_data_do_not_have_are_no_training_without_groups(
    model: list[str], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All images would count as of unknown group and be left out, and nothing would be learnt."""
    small = ["--model.backbone", "test_resnet", "--model.size", "32", "--data.train", "8", "--data.val", "4"]
    own = ["--data.pixels", "16", "--trainer.accelerator", "cpu", "--quiet", "--model.groups", '["Light", "Dark"]']
    assert main(["fit", "--model", *model, *small, *own]) == 2
    assert "--model.groups: the data have light, dark of skin, and none of Light, Dark" in capsys.readouterr().err
    wrong = ["--model.attribute", "sex"]
    assert main(["fit", "--model", *model, *small, *own, *wrong]) == 2
    assert "--model.attribute: expected a sensitive attribute of the data (skin), got sex" in capsys.readouterr().err


def test_the_quick_recipe_is_a_small_network() -> None:
    assert packaged(["fair-baseline"]) == {"fair-baseline/default"}
    assert parameters("fair-baseline/default", classes=["a", "b"], multi_label=False, channels=3) == 372_882
