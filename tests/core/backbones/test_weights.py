"""Weights are loaded, or it is said that they were not."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from medzoo.core import CheckpointError
from medzoo.core.backbones.weights import load_weights, read_weights


def network(width: int = 6) -> nn.Sequential:
    return nn.Sequential(*[nn.Linear(width, width) for _ in range(6)], nn.Linear(width, 2))


@pytest.fixture
def state() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return dict(network().state_dict())


@pytest.mark.parametrize("prefix", ["", "module.", "model.backbone."])
@pytest.mark.parametrize("kind", ["weights.safetensors", "weights.pth"])
def test_weights_are_filled_in_whatever_a_wrapper_called_them(
    state: dict[str, Tensor], tmp_path: Path, prefix: str, kind: str
) -> None:
    named = {f"{prefix}{name}": value.clone() for name, value in state.items()}
    if kind.endswith("pth"):
        torch.save({"state_dict": named, "epoch": 3}, tmp_path / kind)
    else:
        save_file(named, tmp_path / kind)
    net = network()
    matched = load_weights(net, read_weights(tmp_path / kind), tmp_path / kind)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert str(matched) == f"{tmp_path / kind}: 14 of 14 tensors loaded"


def test_a_tenth_may_be_missing_and_is_told(state: dict[str, Tensor]) -> None:
    del state["6.bias"]
    matched = load_weights(network(), {**state, "head.weight": torch.zeros(1)}, "f.pth")
    assert str(matched) == "f.pth: 13 of 14 tensors loaded, 1 not in the file (6.bias), 1 of the file not used"


def test_a_file_of_another_network_is_an_error_that_names_keys(state: dict[str, Tensor]) -> None:
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(
        CheckpointError, match=r"f.pth: only 0 of 14 tensors fit; missing 0.weight, 0.bias, .* has a, b"
    ):
        load_weights(net, {"a": torch.zeros(1), "b": torch.zeros(1)}, "f.pth")
    with pytest.raises(CheckpointError, match=r"of another shape 0.weight, 0.bias, 1.weight"):
        load_weights(network(5), state, "f.pth")
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_parts_that_are_not_needed_may_be_missing(state: dict[str, Tensor]) -> None:
    first = {name: value for name, value in state.items() if name[0] in "01"}
    assert load_weights(network(), first, "f.pth", parts=("0", "1")).loaded == 4
    with pytest.raises(CheckpointError, match="only 4 of 14"):
        load_weights(network(), first, "f.pth")


def test_weights_that_are_not_finite_are_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    state["3.bias"] = torch.full((6,), torch.nan)
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(CheckpointError, match=r"nan.pth: the weights '3.bias' have values that are not finite"):
        read_weights(tmp_path / "nan.pth")


def test_what_holds_no_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes(b"\0" * 40)
    (tmp_path / "cut.pth").write_bytes(b"PK")
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    for name, told in [
        ("cut.safetensors", "is damaged"),
        ("cut.pth", "is damaged"),
        ("none.pth", "holds no state dict"),
        ("away.pth", "no such file"),
    ]:
        with pytest.raises(CheckpointError, match=told):
            read_weights(tmp_path / name)


def test_weights_that_grow_are_refused_before_they_do(tmp_path: Path) -> None:
    """A door of its own beside that of checkpoints: what holds for one holds for the other."""
    torch.save({"w": torch.zeros(2**24)}, tmp_path / "large.pth")
    small = tmp_path / "small.pth"
    with zipfile.ZipFile(tmp_path / "large.pth") as whole, zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED) as packed:
        for record in whole.infolist():
            packed.writestr(record.filename, whole.read(record))
    with pytest.raises(CheckpointError, match=r"small.pth: refused: its records are compressed"):
        read_weights(tmp_path / "small.pth")
    torch.save({"w": torch.zeros(1).expand(10**12)}, tmp_path / "claims.pth")
    with pytest.raises(CheckpointError, match=r"claims.pth: the weights 'w' claim more values"):
        read_weights(tmp_path / "claims.pth")
