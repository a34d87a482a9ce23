"""The method aegis: the contract of the house, and signs of its two parts."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from medzoo.adversarial.aegis.attacks import Orthogonal, drawn_cushion, without
from medzoo.adversarial.aegis.losses import Knowing
from medzoo.adversarial.aegis.module import Aegis
from medzoo.adversarial.aegis.network import Cushion, Shield, train_shield
from medzoo.adversarial.engine import BIM, Victim
from medzoo.core import load_checkpoint
from medzoo.core.cli import main
from medzoo.core.errors import ConfigError
from medzoo.core.testing import ModelContract
from medzoo.core.testing.recipes import packaged, resolved

TINY: dict[str, Any] = {
    "model.victim_options": {"backbone": "test_resnet", "size": [32, 32], "batch": 8, "epochs": 2},
    "model.shield_width": 4,
    "model.shield_steps": 5,
    "model.eps": [0.05],
    "model.attack_steps": 2,
    "model.draws": 2,
    "data.train": 16,
    "data.val": 12,
    "data.test": 8,
    "data.pixels": 32,
}


class TestAegis(ModelContract):
    name: ClassVar[str] = "aegis"
    tiny: ClassVar[dict[str, Any]] = TINY
    one_process: ClassVar[bool] = True
    resumes: ClassVar[int | None] = 1


def test_the_quick_recipe_has_a_cushion_and_budgets_up_to_where_it_must_fall() -> None:
    assert packaged(["aegis"]) == {"aegis/default"}
    settings = resolved("aegis/default")["model"]["init_args"]
    assert settings["sigma"] == 1.0
    assert settings["eps"] == pytest.approx([4 / 255, 8 / 255, 32 / 255])
    assert (settings["attack_steps"], settings["draws"]) == (20, 4)


def test_the_cushion_is_linear_keeps_constants_and_stops_a_checkerboard() -> None:
    cushion = Cushion(1.0)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 2, 20, 24, generator=generator), torch.rand(2, 2, 20, 24, generator=generator)
    assert torch.allclose(cushion(2 * x - 3 * y), 2 * cushion(x) - 3 * cushion(y), atol=1e-5)
    assert torch.allclose(cushion(torch.full((1, 1, 9, 9), 0.7)), torch.full((1, 1, 9, 9), 0.7), atol=1e-6)
    with pytest.raises(
        ConfigError, match=r"--model\.sigma: a low-pass that reaches 60 pixels is too wide for .* 9 × 9"
    ):
        Cushion(20.0)(torch.rand(1, 1, 9, 9))
    board = (-1.0) ** (torch.arange(20)[:, None] + torch.arange(24))[None, None]
    assert float(cushion(board).abs().amax()) < 0.05
    assert torch.equal(Cushion(0.0)(x), x)
    image = torch.rand(1, 1, 8, 8, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(Cushion(0.5), (image,))


def world(classes: int = 3) -> tuple[Shield, torch.Tensor, torch.Tensor]:
    """A Shield that was trained on maps from which logits follow."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(240, 4, 8, 8, generator=generator)
    called = torch.arange(240) % classes
    for k in range(classes):
        maps[called == k, k] += 1.0
    logits = 8 * maps[:, :classes].mean(dim=(2, 3)) + 0.1 * torch.randn(240, classes, generator=generator)
    torch.manual_seed(0)
    shield = Shield(4, classes, 8)
    train_shield(shield, maps[:180], logits[:180], 250, generator)
    shield.requires_grad_(False)
    shield.doubt = (logits[:180] - shield(maps[:180], logits[:180].argmax(1))).std(dim=0)
    return shield, maps[180:], logits[180:]


def test_there_is_a_head_for_each_class_and_the_called_class_picks_it() -> None:
    shield, maps, logits = world()
    assert len(shield.heads) == 3
    called = logits.argmax(dim=1)
    alone = shield.heads[1]((maps[called == 1] - shield.mean) / shield.spread) * shield.scale
    assert torch.allclose(shield(maps, called)[called == 1], alone, atol=1e-5)
    right = shield.score(maps, logits).mean()
    shield.heads = nn.ModuleList([shield.heads[i] for i in (1, 2, 0)])
    assert float(shield.score(maps, logits).mean()) > 2 * float(right)


def test_logits_that_do_not_follow_from_the_maps_are_doubted() -> None:
    shield, maps, logits = world()
    clean = shield.score(maps, logits)
    flipped = shield.score(maps, logits.roll(1, dims=1))
    assert float((flipped[:, None] > clean[None]).double().mean()) > 0.99


def test_attacks_that_know_the_shield_lower_its_score() -> None:
    loss = Knowing(torch.tensor([1.0, 2.0]), 1.0)
    outputs = torch.tensor([[3.0, 0.0, 0.5], [0.0, 3.0, 2.5], [0.0, 3.0, 1.5]])
    goal = torch.tensor([0, 1, 1])
    assert loss.met(outputs, goal).tolist() == [True, False, True]
    assert Knowing(loss.limits, aware=False).met(outputs, goal).tolist() == [True, True, True]
    selective = Knowing(loss.limits, selective=True).value(outputs, torch.tensor([0, 0, 1]))
    assert selective.tolist() == pytest.approx([0.5, 3.0486, 1.5], abs=1e-3)
    plain = Knowing(loss.limits).value(outputs, goal)
    assert torch.allclose(loss.value(outputs, goal), plain + outputs[:, -1] ** 2)


def test_steps_are_orthogonal_to_what_they_must_not_change() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(5, 1, 6, 7, generator=generator) for _ in range(2))
    left = without(one, other)
    assert float((left * other).flatten(1).sum(dim=1).abs().amax()) < 1e-4
    assert float((left * one).flatten(1).sum(dim=1).amin()) > 0, "the aim itself is still lowered"
    assert torch.equal(without(one, torch.zeros_like(other)), one)


def defended(images: Tensor) -> Tensor:
    """Logits from an image's mean, most of all of its upper half; a detector of changes in the lower half."""
    upper, lower = images.flatten(1).tensor_split(2, dim=1)
    logit = 20 * (upper.mean(dim=1) + 0.5 * lower.mean(dim=1) - 0.75)
    return torch.stack([-logit, logit, 10 * (lower - 0.5).abs().mean(dim=1)], dim=1)


def test_the_orthogonal_attack_reaches_the_class_and_passes_where_the_plain_one_is_seen() -> None:
    images, goal = torch.full((3, 1, 4, 4), 0.45), torch.ones(3, dtype=torch.int64)
    limits = torch.tensor([0.6, 0.6])
    settings: dict[str, Any] = {"eps": 0.2, "steps": 40, "alpha": 0.02, "targeted": True}
    plain = BIM(**settings, loss=Knowing(limits, aware=False))(Victim(defended), images, goal)
    hidden = Orthogonal(**settings, loss=Knowing(limits))(Victim(defended), images, goal)
    assert plain.success.all()
    assert hidden.success.all()
    assert (defended(plain.images)[:, -1] > 0.6).all()
    assert (defended(hidden.images)[:, -1] <= 0.6).all()
    assert float(hidden.linf.amax()) <= 0.2 + 1e-6
    assert int(hidden.queries[0]) == 2 * 40 + 1


def test_drawn_cushions_differ_from_call_to_call_and_repeat_with_the_generator() -> None:
    before, image = drawn_cushion(1.0), torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    first, second = (torch.Generator().manual_seed(3) for _ in range(2))
    one, two = before(image, first), before(image, first)
    assert not torch.equal(one, two)
    assert torch.equal(one, before(image, second))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("aegis") / "run"
    flags = [p for k, v in TINY.items() for p in (f"--{k}", v if isinstance(v, str) else json.dumps(v))]
    fit = ["fit", "--model", "aegis", *flags, "--trainer.accelerator", "cpu", "--quiet", "--run_dir", str(folder)]
    assert main(fit) == 0
    return folder


def test_every_attack_and_budget_has_a_row(run: Path) -> None:
    with (run / "bypass.csv").open() as file:
        rows = list(csv.DictReader(file))
    knowing = {f"knows the Shield, {weight}" for weight in (0.1, 1, 10)}
    assert {row["attack"] for row in rows} == {
        "oblivious", "selective", "orthogonal", "over 2 drawn Cushions", *knowing
    }  # fmt: skip
    for row in rows:
        assert 0 <= float(row["bypass"]) <= float(row["success"]) <= 1


def test_outputs_are_those_behind_the_cushion_and_the_victim_is_frozen(run: Path) -> None:
    model = load_checkpoint(run / "checkpoints/last.ckpt")
    assert isinstance(model, Aegis)
    assert model.shield is not None
    image = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    wanted = model.subject.outputs({"image": model.cushion(image)}).logits
    assert torch.equal(model.outputs({"image": image}).logits, wanted)
    assert not any(p.requires_grad for p in model.parameters())
    assert len(model.limits) == 2
    before = load_checkpoint(run / "victim/victim.ckpt")
    assert isinstance(before, Aegis)
    kept = before.subject.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in model.subject.state_dict().items())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"eps": (2.0,)}, "--model.eps: expected budgets above 0 and up to 1"),
        ({"sigma": -1.0}, "--model.sigma: expected 0 to 20 pixels"),
        ({"false_alarms": 0.0}, "--model.false_alarms: expected a share"),
        ({"draws": -1}, "--model.draws: expected at least 0, got -1"),
        ({"shield_steps": 0}, "expected at least 1, got 0"),
        ({"stage": "attack"}, "--model.stage: expected all, victim or protect, got attack"),
    ],
)
def test_a_wrong_option_is_one_line(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Aegis(**options)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
