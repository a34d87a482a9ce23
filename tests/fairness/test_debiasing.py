"""PBBL and Ada-ABC: the contract of the house, and the signs of the methods in their dossier."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
import timm
import torch
import torch.nn.functional as F

from medzoo.core import load_checkpoint
from medzoo.core.cli import main
from medzoo.core.testing import ModelContract
from medzoo.core.testing.recipes import packaged, parameters, resolved
from medzoo.fairness.ada_abc.losses import agreement_loss, confidence, council_loss, subsets
from medzoo.fairness.ada_abc.network import Council
from medzoo.fairness.losses import generalised_ce
from medzoo.fairness.pbbl.losses import balanced_softmax, log_prior, youden_threshold
from medzoo.fairness.pbbl.module import PBBL

DATA: dict[str, Any] = {"data.train": 24, "data.val": 8, "data.test": 12, "data.pixels": 16}
SMALL: dict[str, Any] = {"model.backbone": "test_resnet", "model.size": 32, "model.batch": 8, **DATA}


class TestPBBL(ModelContract):
    name: ClassVar[str] = "pbbl"
    tiny: ClassVar[dict[str, Any]] = SMALL
    resumes: ClassVar[int | None] = 2


class TestAdaABC(ModelContract):
    name: ClassVar[str] = "ada-abc"
    tiny: ClassVar[dict[str, Any]] = {**SMALL, "model.members": 2, "model.hidden": 8}
    resumes: ClassVar[int | None] = 2


def case(n: int = 10, c: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, c, generator=generator), torch.randint(c, (n,), generator=generator)


def test_the_prior_of_a_bias_that_tells_nothing_is_that_of_the_classes() -> None:
    bias, label = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), torch.tensor([0, 0, 0, 1, 0, 0, 0, 1])
    prior = log_prior(bias, label, 2)
    assert prior.exp().sum(1).tolist() == pytest.approx([1, 1])
    assert prior[0].tolist() == pytest.approx([math.log(0.75), math.log(0.25)])
    assert torch.equal(prior[0], prior[1])
    logits, labels = case()
    adjusted = F.cross_entropy(logits + torch.tensor([math.log(0.75), math.log(0.25)]), labels)
    found = balanced_softmax(logits, labels, torch.zeros(10, dtype=torch.long), prior)
    assert found.item() == pytest.approx(adjusted.item(), rel=1e-5)


def test_what_was_never_seen_has_a_finite_prior() -> None:
    prior = log_prior(torch.tensor([0, 0]), torch.tensor([0, 0]), 2)
    assert torch.isfinite(prior).all()
    assert prior[0, 0].item() == pytest.approx(0)


def test_under_the_prior_only_conflicting_images_pull() -> None:
    label = torch.tensor([0, 1] * 50)
    bias = label.clone()
    bias[:2] = 1 - bias[:2]
    logits = torch.zeros(100, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(balanced_softmax(logits, label, bias, log_prior(bias, label, 2)), logits)
    size = gradient.abs().sum(1)
    assert size[:2].min() > 20 * size[2:].max()


def test_an_answer_is_without_the_prior() -> None:
    torch.manual_seed(0)
    options: Any = {"classes": ["a", "b"], "multi_label": False, "channels": 3, "backbone": "test_resnet", "size": 32}
    model, batch = PBBL("debias", **options).eval(), {"image": torch.rand(2, 3, 32, 32)}
    assert model.network is not None
    model.prior = torch.tensor([[0.0, -9.0], [-9.0, 0.0]])
    with torch.no_grad():
        assert torch.equal(model.outputs(batch).logits, model.network(batch["image"]))


def test_the_threshold_has_the_largest_youden_index() -> None:
    generator = torch.Generator().manual_seed(2)
    label = torch.randint(2, (200,), generator=generator)
    scores = (torch.randn(200, generator=generator) + label).mul(3).round() / 3  # with ties
    found = youden_threshold(scores, label)
    best = max(
        ((scores[label == 1] > t).double().mean() - (scores[label == 0] > t).double().mean()).item()
        for t in scores.unique()
    )
    own = (scores[label == 1] > found).double().mean() - (scores[label == 0] > found).double().mean()
    assert own.item() == pytest.approx(best)


def test_the_council_and_the_network_have_losses_of_their_own() -> None:
    biased, label = torch.randn(3, 10, 2, requires_grad=True), case()[1]
    own = case()[0].requires_grad_()
    mask = torch.ones(3, 10, dtype=torch.bool)
    agree, disagree = agreement_loss(own, label, confidence(biased, label), 20.0)
    for loss in (agree, disagree):
        (gradient,) = torch.autograd.grad(loss, biased, retain_graph=True, allow_unused=True)
        assert gradient is None
    assert torch.autograd.grad(agree + disagree, own)[0].abs().max() > 0
    assert torch.autograd.grad(council_loss(biased, label, mask), own, allow_unused=True)[0] is None


def test_agreement_at_its_two_ends() -> None:
    logits, label = case()
    plain = F.cross_entropy(logits, label)
    agree, disagree = agreement_loss(logits, label, torch.ones(10), 20.0)
    assert agree.item() == pytest.approx(plain.item())
    assert disagree.item() == 0
    agree, disagree = agreement_loss(logits, label, torch.zeros(10), 20.0)
    assert agree.item() == 0
    assert disagree.item() == pytest.approx(20 * plain.item(), rel=1e-4)


def test_the_councils_confidence_belongs_to_its_sample() -> None:
    logits, label = case()
    council = torch.linspace(0, 1, 10)
    one, two = (sum(agreement_loss(logits, label, c, 5.0)) for c in (council, council.flip(0)))
    assert abs(float(one) - float(two)) > 1e-3


def test_a_head_learns_from_its_own_images_alone() -> None:
    logits = torch.randn(2, 10, 2, requires_grad=True)
    label = case()[1]
    mask = torch.zeros(2, 10, dtype=torch.bool)
    mask[0, :4] = True
    loss = council_loss(logits, label, mask)
    assert loss.item() == pytest.approx(generalised_ce(logits[0, :4], label[:4]).mean().item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient[0, 4:].abs().max() == 0
    assert gradient[1].abs().max() == 0


def test_the_images_of_a_head_are_a_fixed_share() -> None:
    mask = subsets(101, 5, 0.8, 7)
    assert mask.sum(1).tolist() == [81] * 5
    assert torch.equal(mask, subsets(101, 5, 0.8, 7))
    assert not torch.equal(mask[0], mask[1])
    assert bool(subsets(9, 1, 1.0, 0).all())


def test_the_confidence_is_a_mean_of_probabilities() -> None:
    logits = torch.tensor([[[4.0, 0.0]], [[-4.0, 0.0]]])
    assert confidence(logits, torch.tensor([0])).item() == pytest.approx(0.5)
    assert Council("test_resnet", 3, 2, (32, 32), 3, 8)(torch.rand(2, 3, 32, 32)).shape == (3, 2, 2)


def test_every_training_image_gets_one_bias_label_and_the_stages_can_be_run_alone(workdir: Path, capsys: Any) -> None:
    flags = [part for key, value in SMALL.items() for part in (f"--{key}", str(value))]
    cpu = ["--trainer.accelerator", "cpu", "--quiet", "--trainer.max_epochs", "1"]
    assert main(["fit", "--model", "pbbl", *flags, *cpu, "--run_dir", "run"]) == 0
    lines = Path("run/bias/pseudo_bias.csv").read_text().splitlines()
    assert lines[0] == "id,label,score,bias"
    assert [line.split(",")[0] for line in lines[1:]] == [f"train{i:05}" for i in range(24)]
    facts = json.loads(Path("run/bias/pseudo_bias.json").read_text())
    assert sum(map(sum, facts["counts_bias_by_label"])) == 24
    assert 0 <= facts["agreement_conflict"] <= 1
    table = str(Path("run/bias/pseudo_bias.csv"))
    for stage in ("bias", "debias"):
        own = ["--model.stage", stage, "--model.pseudo", table, "--run_dir", stage]
        assert main(["fit", "--model", "pbbl", *flags, *cpu, *own]) == 0
    Path("short.csv").write_text("\n".join(lines[:-1]))
    capsys.readouterr()
    Path("half.csv").write_text("\n".join([lines[0], *(line[:-1] + "0.7" for line in lines[1:])]))
    for given, words in (
        ("short.csv", "has no row for 1 of 24 training images"),
        ("no.csv", "does not exist"),
        ("half.csv", "bias is '0.7', expected a whole number from 0 to 1"),
    ):
        own = ["--model.stage", "debias", "--model.pseudo", given, "--run_dir", "wrong"]
        assert main(["fit", "--model", "pbbl", *flags, *cpu, *own]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.parametrize(("name", "biased"), [("ada-abc", "council.trunk.model."), ("lff", "biased.0.model.")])
def test_both_networks_start_from_the_weights_that_are_given(name: str, biased: str, workdir: Path) -> None:
    torch.save(timm.create_model("test_resnet", num_classes=7).state_dict(), "weights.pt")
    flags = [part for key, value in SMALL.items() for part in (f"--{key}", str(value))]
    more = ["--model.weights", "weights.pt", "--model.lr", "1e-12", "--trainer.max_epochs", "1"]
    cpu = ["--trainer.accelerator", "cpu", "--quiet", "--run_dir", "run"]
    assert main(["fit", "--model", name, *flags, *more, *cpu]) == 0
    state, given = load_checkpoint("run/checkpoints/last.ckpt").state_dict(), torch.load("weights.pt")
    for part in ("network.model.", biased):
        assert torch.allclose(state[f"{part}layer1.0.conv1.weight"], given["layer1.0.conv1.weight"], atol=1e-6)


def test_several_labels_are_refused(workdir: Path, capsys: Any) -> None:
    for name in ("pbbl", "ada-abc"):
        options = ["--data", "lesion-structures", "--data.train", "8", "--data.val", "2", "--data.test", "4"]
        more = ["--model.backbone", "test_resnet", "--model.size", "32", "--quiet", "--trainer.accelerator", "cpu"]
        stage = ["--model.stage", "bias"] if name == "pbbl" else []
        assert main(["fit", "--model", name, *options, *more, *stage, "--run_dir", name]) == 2
        assert "several labels an image, the method is for" in capsys.readouterr().err


def test_recipes_have_their_settings_and_sizes() -> None:
    assert packaged(["pbbl", "ada-abc"]) == {"pbbl/default", "pbbl/paper", "ada-abc/default", "ada-abc/paper"}
    wanted: dict[str, dict[str, Any]] = {
        "pbbl/paper": {"backbone": "densenet121", "bias_steps": 1000, "steps": 1000, "batch": 256, "q": 0.7},
        "ada-abc/paper": {"backbone": "densenet121", "members": 2, "share": 0.8, "disagreement": 5.0, "batch": 8,
                          "epochs": 50, "hidden": 512},
    }  # fmt: skip
    for recipe, settings in wanted.items():
        found = resolved(recipe)["model"]["init_args"]
        assert {name: found[name] for name in settings} == settings
    given = {"classes": ["a", "b"], "multi_label": False, "channels": 1}
    pair, council = parameters("ada-abc/paper", **given), 2 * (1024 * 512 + 512 + 512 * 512 + 512 + 512 * 2 + 2)
    one = parameters("pbbl/paper", **given)
    assert pair == 2 * one - (1024 * 2 + 2) + council
    assert parameters("pbbl/default", **{**given, "channels": 3}) == 372_882
