"""FairAdaBN: the contract of the house, and the signs of the method in its dossier."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
import timm
import torch
import torchvision
from monai.networks.nets import DenseNet121
from torch import Tensor, nn

from medzoo.core import load_checkpoint
from medzoo.core.classifier.data.items import Cases
from medzoo.core.cli import main
from medzoo.core.errors import ConfigError
from medzoo.core.testing import ModelContract
from medzoo.core.testing.recipes import packaged, parameters, resolved
from medzoo.fairness.data.phantoms import LesionPhantoms
from medzoo.fairness.fair_adabn.losses import disparity, group_sum
from medzoo.fairness.fair_adabn.module import FairAdaBN
from medzoo.fairness.fair_adabn.network import GroupBatchNorm, convert, group_context

Net = TypeVar("Net", bound=nn.Module)
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


class TestFairAdaBN(ModelContract):
    name: ClassVar[str] = "fair-adabn"
    tiny: ClassVar[dict[str, Any]] = TINY
    resumes: ClassVar[int | None] = 2


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5))


def images(n: int = 8, size: int = 32, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def trained(network: Net) -> Net:
    """Give every normalisation statistics and weights of its own."""
    generator = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.weight.data, module.bias.data, module.running_mean):
                assert isinstance(value, Tensor)
                value.copy_(torch.rand(value.shape, generator=generator))
            assert isinstance(module.running_var, Tensor)
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.5)
    return network


NETWORKS = {
    "timm resnet": lambda: timm.create_model("test_resnet", num_classes=3),
    "timm with activations": lambda: timm.create_model("test_efficientnet", num_classes=3),
    "torchvision": lambda: torchvision.models.resnet18(num_classes=3),
    "monai": lambda: DenseNet121(2, 3, 3),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_converted_network_gives_what_it_gave_for_any_group(name: str) -> None:
    network = trained(NETWORKS[name]()).eval()
    x, group = images(6), torch.tensor([0, 2, 1, 2, -1, 0])
    with torch.no_grad():
        before = network(x)
        count, kept = sum(p.numel() for p in network.parameters()), dict(network.state_dict())
        widths = [m.weight.numel() for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        convert(network, 3)
        with group_context(group):
            after = network(x)
    assert torch.allclose(before, after, atol=1e-5)
    assert sum(p.numel() for p in network.parameters()) - count == 2 * 2 * sum(widths)
    branches = {k.replace(".branches.1", "") for k in network.state_dict() if ".branches.1." in k}
    assert {k for k in kept if k.endswith("running_mean")} == {k for k in branches if k.endswith("running_mean")}


def test_training_starts_from_the_weights_of_the_network_as_it_was(workdir: Path) -> None:
    """A file of timm knows no branches: each gets the statistics and weights of the one normalisation."""
    plain = trained(timm.create_model("test_resnet", num_classes=7)).eval()
    torch.save(plain.state_dict(), "weights.pt")
    flags = [part for key, value in TINY.items() for part in (f"--{key}", str(value))]
    more = ["--model.weights", "weights.pt", "--model.lr", "1e-12", "--trainer.max_epochs", "1"]
    cpu = ["--trainer.accelerator", "cpu", "--quiet", "--run_dir", "run"]
    assert main(["fit", "--model", "fair-adabn", *flags, *more, *cpu]) == 0
    model = load_checkpoint("run/checkpoints/last.ckpt")
    assert isinstance(model, FairAdaBN)
    assert model.network is not None
    for name, module in plain.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            branches = model.network.model.get_submodule(name).branches
            assert isinstance(branches, nn.ModuleList)
            assert len(branches) == 2
            for branch in branches:
                assert torch.allclose(branch.weight, module.weight, atol=1e-6)


def test_a_batch_of_one_group_leaves_the_others_untouched() -> None:
    network = convert(net(), 2).train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with group_context(torch.zeros(4, dtype=torch.long)):
        network(images(4)).square().mean().backward()
    other = [n for n, _ in network.named_parameters() if ".branches.1." in n]
    assert other
    assert all(network.get_parameter(n).grad is None for n in other)
    changed = {k for k, v in network.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert not [k for k in changed if ".branches.1." in k]


@pytest.mark.parametrize("training", [True, False])
def test_a_mixed_batch_is_its_groups_one_after_the_other(training: bool) -> None:
    x, group = images(9), torch.tensor([0, 1, 1, 0, 2, 1, 0, 2, 2])
    together, alone = convert(trained(net()), 3).train(training), convert(trained(net()), 3).train(training)
    layer, single = together[1], alone[1]
    features = together[0](x)
    with group_context(group):
        mixed = layer(features)
    for g in range(3):
        with group_context(torch.full((3,), g)):
            assert torch.allclose(mixed[group == g], single(features[group == g]), atol=1e-6)
    assert all(torch.allclose(v, dict(single.state_dict())[k], atol=1e-6) for k, v in layer.state_dict().items())


def test_the_mixture_has_the_moments_of_all_samples_together() -> None:
    layer = GroupBatchNorm(nn.BatchNorm2d(2, momentum=None), 2).train()
    x = torch.cat([images(30, 8)[:, :2], 3 * images(10, 8, 1)[:, :2] + 2])
    with group_context(torch.tensor([0] * 30 + [1] * 10)):
        layer(x)
    layer.eval()
    with group_context(torch.full((40,), -1)):
        pooled = layer(x)
    assert pooled.mean((0, 2, 3)).abs().max() < 1e-4
    assert pooled.std((0, 2, 3)).tolist() == pytest.approx([1, 1], abs=0.01)


def test_a_lone_value_a_channel_is_normalised_by_running_statistics() -> None:
    layer = GroupBatchNorm(nn.BatchNorm1d(3), 2).train()
    with group_context(torch.tensor([0, 0, 1])):
        out = layer(torch.randn(3, 3))
    assert torch.isfinite(out).all()
    assert layer.seen.tolist() == [2, 0]


def test_a_network_that_cannot_be_converted_is_refused() -> None:
    with pytest.raises(ValueError, match="no batch normalisation, so groups cannot have their own"):
        convert(timm.create_model("test_vit"), 2)
    with pytest.raises(ValueError, match="all its batch normalisations are shared"):
        convert(net(), 2, ["*"])
    with pytest.raises(ValueError, match="synchronised"):
        convert(nn.SyncBatchNorm.convert_sync_batchnorm(net()), 2)
    with pytest.raises(ConfigError, match=r"^--model\.backbone test_vit: it has no batch normalisation"):
        FairAdaBN(groups=["a", "b"], classes=["x", "y"], multi_label=False, channels=3, backbone="test_vit", size=64)
    with pytest.raises(ConfigError, match=r"no batch normalisation 'bn1' to share; it has model\.bn1, "):
        FairAdaBN(groups=["a", "b"], classes=["x", "y"], multi_label=False, channels=3, size=32, shared=["bn1"])
    with pytest.raises(RuntimeError, match="expected the groups of 2 samples, got none"):
        convert(net(), 2)(images(2))
    shared = convert(net(), 2, ["1"])
    assert isinstance(shared[1], nn.BatchNorm2d)
    assert isinstance(shared[4], GroupBatchNorm)


def test_the_disparity_has_a_gradient_the_papers_has_none() -> None:
    logits = torch.randn(20, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    group = torch.arange(20) % 2
    soft = disparity(logits.softmax(1), group, 2)
    (gradient,) = torch.autograd.grad(soft, logits)
    assert gradient.abs().max() > 1e-4
    assert not disparity(logits.softmax(1), group, 2, hard=True).requires_grad


def test_the_disparity_by_hand_and_at_its_limits() -> None:
    same = torch.tensor([[0.3, 0.7], [0.3, 0.7]])
    assert disparity(same, torch.tensor([0, 1]), 2).item() == pytest.approx(0)
    hot = torch.eye(3)[torch.tensor([0, 0, 1, 2])]
    group = torch.tensor([0, 0, 1, 1])
    by_hand = 1 + 0.5**2 + 0.5**2
    assert disparity(hot, group, 2).item() == pytest.approx(by_hand)
    assert disparity(hot, group, 2, hard=True).item() == pytest.approx(by_hand)
    assert disparity(torch.eye(2), torch.tensor([0, 1]), 2).item() == 2
    three = disparity(torch.eye(3), torch.tensor([0, 1, 2]), 3)
    assert three.item() == pytest.approx(2)  # the mean over pairs
    for lone in (torch.zeros(3, dtype=torch.long), torch.full((3,), -1)):
        p = torch.eye(3).requires_grad_()
        zero = disparity(p, lone, 2)
        zero.backward()
        assert zero.item() == 0


def test_a_group_without_a_sample_adds_nothing_to_the_loss() -> None:
    each = torch.tensor([1.0, 3.0, 10.0], requires_grad=True)
    assert group_sum(each, torch.tensor([0, 0, 1]), 2).item() == 12
    assert group_sum(each, torch.tensor([0, 0, -1]), 2).item() == 2
    nothing = group_sum(each, torch.tensor([-1, -1, -1]), 2)
    nothing.backward()
    assert (nothing.item(), each.grad is not None) == (0, True)


def model(unknown: str) -> FairAdaBN:
    torch.manual_seed(0)
    made = FairAdaBN(
        groups=["a", "b"], attribute="sex", classes=["x", "y"], multi_label=False, channels=3, backbone="test_resnet",
        size=32, unknown=unknown,  # type: ignore[arg-type]
    ).eval()  # fmt: skip
    for module in made.modules():
        if isinstance(module, GroupBatchNorm):
            for g, branch in enumerate(module.branches):
                mean = branch.running_mean
                assert isinstance(mean, Tensor)
                mean += 0.3 * g
    return made


def test_an_unknown_group_is_refused_pooled_or_averaged() -> None:
    x, group = images(4), torch.tensor([0, 1, -1, -1])
    with pytest.raises(ConfigError, match=r"--model\.unknown: 2 images of a batch have no sex among a, b"):
        model("refuse")(x, group)
    with torch.no_grad():
        known = model("refuse")(x, torch.tensor([0, 1, 0, 1]))
        pooled, average = model("pooled")(x, group), model("average")(x, group)
        first, second = (model("refuse")(x, torch.full((4,), g)) for g in (0, 1))
    assert torch.allclose(pooled[:2], known[:2], atol=1e-5)
    assert torch.allclose(average[:2], known[:2], atol=1e-5)
    mean = (first.softmax(1) + second.softmax(1)) / 2
    assert torch.allclose(average.softmax(1)[2:], mean[2:], atol=1e-6)
    assert not torch.allclose(pooled[2:], average[2:], atol=1e-5)
    assert not torch.allclose(first, second, atol=1e-3)


def test_training_with_unknown_skin_goes_through_and_swapped_groups_are_judged(workdir: Path) -> None:
    flags = [part for key, value in TINY.items() for part in (f"--{key}", str(value))]
    more = ["--data.missing", "0.3", "--model.unknown", "pooled", "--trainer.max_epochs", "1"]
    cpu = ["--trainer.accelerator", "cpu", "--quiet", "--run_dir", "run"]
    assert main(["fit", "--model", "fair-adabn", *flags, *more, *cpu]) == 0
    metrics = json.loads(Path("run/results.json").read_text())["metrics"]
    assert 0 <= metrics["lesions/skin/swapped_accuracy"] <= 1
    rows = Path("run/groups.csv").read_text().splitlines()
    assert [line.split(",")[2] for line in rows] == ["group", "light", "dark", "unknown"]


def test_recipes_have_their_settings_and_sizes() -> None:
    assert packaged(["fair-adabn"]) == {"fair-adabn/default", "fair-adabn/paper"}
    paper = resolved("fair-adabn/paper")["model"]["init_args"]
    wanted = {"backbone": "resnet152", "size": [128, 128], "lr": 1e-4, "epochs": 200, "batch": 64, "alpha": 1.0,
              "disparity": "hard", "shared": ["model.bn1"]}  # fmt: skip
    assert {name: paper[name] for name in wanted} == wanted
    given = {"classes": [str(i) for i in range(9)], "multi_label": False, "channels": 3, "groups": ["light", "dark"]}
    assert parameters("fair-adabn/paper", **given) - 58_162_249 == 151_296
    small = {**given, "classes": ["a", "b"]}
    assert parameters("fair-adabn/default", **small) > parameters("fair-baseline/default", **{**small, "groups": None})


@pytest.fixture
def three_tones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A skin that no training image has, as a third of the images of the test."""
    plain = LesionPhantoms.make_cases

    def cases(data: LesionPhantoms) -> Cases:
        found = plain(data)
        parts = {
            part: tuple(replace(item, groups={"skin": {0: 0, 1: 2, -1: -1}[item.groups["skin"]]}) for item in items)
            for part, items in found.parts.items()
        }
        parts["test"] = tuple(
            replace(item, groups={"skin": 1}) if i % 3 == 0 else item for i, item in enumerate(parts["test"])
        )
        return replace(found, parts=parts)

    monkeypatch.setattr(LesionPhantoms, "group_names", {"skin": ("light", "tan", "dark")})
    monkeypatch.setattr(LesionPhantoms, "make_cases", cases)


def test_a_group_that_training_never_saw_is_unknown_and_has_no_branch_of_untrained_statistics(
    three_tones: None, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [part for key, value in TINY.items() for part in (f"--{key}", str(value))]
    cpu = ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--quiet", "--run_dir", "run"]
    assert main(["fit", "--model", "fair-adabn", *flags, "--model.unknown", "pooled", *cpu]) == 0
    assert load_checkpoint("run/checkpoints/last.ckpt").hparams["groups"] == ["light", "dark"]
    rows = [line.split(",")[2] for line in Path("run/groups.csv").read_text().splitlines()]
    assert rows == ["group", "light", "tan", "dark"]
    assert main(["fit", "--model", "fair-adabn", *flags, *cpu[:-1], "refused"]) == 2
    assert "4 of 20 images for validation and test have no skin among light, dark" in capsys.readouterr().err
    assert not Path("refused/checkpoints").exists()
    one = [*flags, "--data.dark", "0"]
    assert main(["fit", "--model", "fair-adabn", *one, *cpu[:-1], "one"]) == 2
    assert "--model.attribute skin: expected training images of two groups or more, got 1, light" in (
        capsys.readouterr().err
    )
