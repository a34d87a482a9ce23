"""APPLE: the contract of the house, and the signs of the method in its dossier."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from medzoo.core.cli import main
from medzoo.core.errors import ConfigError
from medzoo.core.sample import collate
from medzoo.core.segmenter.data.phantoms import MaskPhantoms
from medzoo.core.segmenter.network import UNet
from medzoo.core.testing import ModelContract
from medzoo.core.testing.recipes import packaged, resolved
from medzoo.fairness.apple.losses import confusion_loss, discriminator_loss, pooled, probe_accuracy
from medzoo.fairness.apple.module import Apple
from medzoo.fairness.apple.network import Discriminator, Perturber, through
from medzoo.fairness.segmentation import GroupSegmentation

DATA: dict[str, Any] = {"data.train": 12, "data.val": 4, "data.test": 10, "data.pixels": 16, "data.minority": 0.5}


class TestApple(ModelContract):
    name: ClassVar[str] = "apple"
    tiny: ClassVar[dict[str, Any]] = {"model.width": 4, "model.depth": 2, "model.size": 16, "model.batch": 4, **DATA}
    resumes: ClassVar[int | None] = 2

    def test_its_results_stand_beside_those_of_the_network_that_it_left_as_it_was(self, run: Path) -> None:
        first, last = (
            json.loads((folder / "results.json").read_text())["metrics"] for folder in (run / "segment", run)
        )
        assert last["structures/base_dice"] == first["structures/dice"]
        assert last["structures/scanner/base_dice/b"] == first["structures/scanner/dice/b"]
        assert {f"structures/scanner/{name}" for name in ("dice_gap", "base_probe", "probe")} <= set(last)
        assert 0 < last["structures/perturbation"] < 1


def perturbing(beta: float = 1.0) -> Apple:
    torch.manual_seed(0)
    return Apple(
        "perturb", attribute="scanner", groups=["a", "b"], channels=1, width=4, depth=2, size=16, beta=beta,
        layers=["down.0", "bottleneck"],
    )  # fmt: skip


def batch_of(count: int = 8) -> dict[str, Any]:
    images = MaskPhantoms(train=count, pixels=16, minority=0.5, size=16)._images("train")
    return collate([images[i] for i in range(count)], MaskPhantoms.sample)


def test_at_first_it_changes_nothing_and_later_no_more_than_epsilon() -> None:
    model, image = perturbing().eval(), batch_of()["image"]
    assert model.network is not None
    assert model.perturbers is not None
    assert torch.equal(model(image), model.network(image))
    for perturber in model.perturbers:
        perturber.get_buffer("spread").copy_(torch.rand(len(perturber.get_buffer("spread"))) + 0.5)
        for parameter in perturber.parameters():
            nn.init.normal_(parameter, std=3)
    _, before, after = model._through(image)
    assert [z.shape[1] for z in before] == [4, 16]
    for perturber, a, b in zip(model.perturbers, before, after, strict=True):
        size, most = (b - a).abs().amax((0, 2, 3)), perturber.get_buffer("spread")
        assert (size <= most * (1 + 1e-5)).all()
        assert (size > 0.9 * most).any()


def test_steps_change_perturber_and_discriminator_and_no_bit_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = perturbing().train(), batch_of()
    assert model.network is not None
    assert model.perturbers is not None
    before = copy.deepcopy(model.network.state_dict())
    monkeypatch.setattr(model, "log_dict", lambda figures: None)
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.01)
    for step in range(3):
        optimiser.zero_grad()
        model.training_step(batch, step).backward()
        optimiser.step()
    after = model.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)  # statistics of normalisation too
    for perturber in model.perturbers:
        assert any(bool(p.detach().any()) for p in perturber.get_submodule("layers.6").parameters())


def test_each_loss_reaches_its_own_network_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = perturbing(), batch_of()
    assert model.perturbers is not None
    for perturber in model.perturbers:
        nn.init.normal_(perturber.get_parameter("layers.6.weight"))
    logged: dict[str, torch.Tensor] = {}
    monkeypatch.setattr(model, "log_dict", logged.update)
    model.training_step(batch, 0)
    own, other = list(model.perturbers.parameters()), list(model.discriminators.parameters())

    def reached(name: str, parameters: list[nn.Parameter]) -> bool:
        found = torch.autograd.grad(logged[f"train/{name}"], parameters, retain_graph=True, allow_unused=True)
        return any(g is not None and float(g.abs().sum()) > 0 for g in found)

    assert [reached("discriminator", p) for p in (own, other)] == [False, True]
    assert [reached("confusion", p) for p in (own, other)] == [True, False]
    assert [reached("fit", p) for p in (own, other)] == [True, False]


def test_confusion_is_least_where_the_discriminator_knows_nothing_of_either_group() -> None:
    group = torch.tensor([0, 0, 0, 1, -1])
    sure = 4 * torch.nn.functional.one_hot(group.clamp(min=0), 2).float()
    assert confusion_loss(torch.zeros(5, 2), group) < confusion_loss(sure, group)
    assert confusion_loss(-10 * sure, group).item() == pytest.approx(-3, abs=1e-3)  # clamped, and no entropy left
    kept = sure.clone()
    kept[4] = 100.0  # of unknown group
    assert discriminator_loss(kept, group).item() == pytest.approx(discriminator_loss(sure, group).item())
    alone = discriminator_loss(sure[:1], torch.tensor([-1]))
    assert alone.item() == 0


def test_a_probe_reads_what_is_there_and_guesses_else() -> None:
    generator = torch.Generator().manual_seed(3)
    group = torch.tensor([0, 1, 1, 1] * 50)
    latent = torch.randn(200, 4, 3, 3, generator=generator)
    shown = latent + group[:, None, None, None] * torch.tensor([0.0, 2.0, 0.0, 0.0])[:, None, None]
    for features, low, high in ((pooled(shown), 0.95, 1.0), (pooled(latent), 0.3, 0.7)):
        found = probe_accuracy(features[:100], group[:100], features[100:], group[100:], 2)
        assert low <= found <= high
    with torch.inference_mode():
        again = probe_accuracy(pooled(shown)[:100], group[:100], pooled(shown)[100:], group[100:], 2)
    assert again >= 0.95
    assert probe_accuracy(pooled(shown), group, pooled(shown), torch.full_like(group, -1), 2) != found  # NaN


@pytest.mark.parametrize(("layer", "channels"), [("bottleneck", 16), ("down.0", 4)])
def test_any_layer_of_any_network_can_be_perturbed(layer: str, channels: int) -> None:
    network, image = UNet(1, 4, 2).eval(), torch.rand(2, 1, 16, 16)
    output, (before,), (after,) = through(network, [layer], image, [lambda latent: latent * 0 + 1])
    assert before.shape[1] == channels
    assert torch.allclose(after, before + 1)
    assert not torch.equal(output, network(image))  # and the network is as it was
    assert torch.equal(through(network, [layer], image)[0], network(image))
    with pytest.raises(ValueError, match="no layer 'nowhere'; it has down"):
        through(network, ["nowhere"], image)


def test_it_works_on_a_stand_in_of_another_family_with_three_groups() -> None:
    """An encoder whose embedding 64 channels wide goes, with a prompt that stays, into a decoder."""

    class Promptable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.prompt = nn.Conv2d(3, 64, 16, 16), nn.Parameter(torch.randn(64, 1, 1))
            self.decoder = nn.ConvTranspose2d(64, 1, 16, 16)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.decoder(self.encoder(image) + self.prompt)
            return found

    network, perturber, discriminator = Promptable(), Perturber(64), Discriminator(64, 3)
    logits, _, (after,) = through(network, ["encoder"], torch.rand(3, 3, 64, 64), [perturber])
    assert logits.shape == (3, 1, 64, 64)
    assert torch.isfinite(confusion_loss(discriminator(after), torch.tensor([0, 1, 2])))
    share = sum(p.numel() for p in perturber.parameters()) / sum(p.numel() for p in UNet(1, 32, 4).parameters())
    assert share < 0.05


def test_groups_are_compared_by_their_means() -> None:
    evaluation = GroupSegmentation({"scanner": ["a", "b"]})
    rows = [(0, 0.9), (0, 0.7), (1, 0.5), (1, 0.5), (-1, 0.0)]
    evaluation.tested = [
        {"id": str(i), "source": "s", "patient": "", "group_scanner": g, "dice": d} for i, (g, d) in enumerate(rows)
    ]
    found = evaluation.compute()
    assert found["s/dice"] == pytest.approx(0.52)
    assert found["s/scanner/dice_gap"] == pytest.approx(0.3)
    assert found["s/scanner/dice/a"] == pytest.approx(0.8)
    assert found["s/scanner/ser"] == pytest.approx(0.5 / 0.2)


def test_wrong_options_are_one_line(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"--model\.beta: expected at least 0, got -1"):
        Apple(beta=-1)
    with pytest.raises(ConfigError, match=r"--model\.layers: the network has no layer 'x'"):
        Apple("perturb", groups=["a", "b"], channels=1, width=4, depth=2, size=16, layers=["x"])
    with pytest.raises(ConfigError, match=r"--model\.layers: expected names, each once, got up, up"):
        Apple(layers=["up", "up"])
    small = [part for key, value in DATA.items() for part in (f"--{key}", str(value))]
    options = ["--model.stage", "perturb", "--model.size", "16", "--run_dir", str(tmp_path / "run"), "--quiet"]
    assert main(["fit", "--model", "apple", *options, *small, "--trainer.accelerator", "cpu"]) == 2
    assert "--model.victim: the stage perturb needs a checkpoint" in capsys.readouterr().err


def test_recipes_have_their_settings() -> None:
    assert packaged(["apple"]) == {"apple/default"}
    found = resolved("apple/default")["model"]["init_args"]
    assert {name: found[name] for name in ("stage", "beta", "epsilon", "layers")} == {
        "stage": "all", "beta": 0.1, "epsilon": 1.0, "layers": ["bottleneck"],
    }  # fmt: skip


def test_groups_are_found_by_name_where_the_data_have_others_in_another_order(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"model.width": 4, "model.depth": 2, "model.size": 16, "model.batch": 4, **DATA}
    flags = [part for key, value in small.items() for part in (f"--{key}", str(value))]
    cpu = ["--trainer.accelerator", "cpu", "--trainer.max_epochs", "1", "--quiet"]
    assert main(["fit", "--model", "apple", *flags, *cpu, "--run_dir", "run"]) == 0
    first = json.loads(Path("run/results.json").read_text())["metrics"]
    plain = MaskPhantoms.make_parts

    def renumbered(data: MaskPhantoms) -> Any:
        """Number scanners as a table does that knows one more."""
        data.group_names = {"scanner": ("z", "b", "a")}
        numbers = {0: 2, 1: 1}
        return {
            part: tuple(replace(item, groups={"scanner": numbers[item.groups["scanner"]]}) for item in items)
            for part, items in plain(data).items()
        }

    monkeypatch.setattr(MaskPhantoms, "make_parts", renumbered)
    assert main(["test", "--ckpt_path", "run/checkpoints/last.ckpt", *cpu[:2], "--quiet", "--run_dir", "again"]) == 0
    again = json.loads(Path("again/results.json").read_text())["metrics"]
    names = ("probe", "base_probe", "dice/b", "base_dice/b", "dice_gap")
    assert {n: again[f"structures/scanner/{n}"] for n in names} == {n: first[f"structures/scanner/{n}"] for n in names}
