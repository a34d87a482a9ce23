from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from medzoo.core.backbones.pretrained import find_weights
from medzoo.core.backbones.weights import read_weights
from medzoo.core.cli import main
from medzoo.core.errors import CheckpointError, ConfigError
from medzoo.core.phantoms import radiograph
from medzoo.core.testing.contract import ModelContract
from medzoo.landmark.networks.vgg import VGGEncoder, load_vgg
from medzoo.landmark.uod.module import UOD

TINY: dict[str, Any] = {
    "model.match_size": 64,  # the coarsest map of a smaller image has one cell, and nothing to learn
    "model.patch": 64,
    "model.points": 4,
    "model.vgg_widths": [4, 4, 4, 4, 4],
    "model.vgg_depths": [1, 1, 1, 1, 1],
    "model.decoder_widths": [4, 4, 4, 4],
    "model.embedding": 4,
    "model.size": 32,
    "model.embed": 8,
    "model.heads": [1, 1, 2, 2],
    "model.match_batch": 4,
    "model.detect_batch": 4,
}
DATA = {"data.domains": ["head", "chest"], "data.n_train": 5, "data.n_test": 3, "data.image_size": 48}


class TestUOD(ModelContract):
    name: ClassVar[str] = "uod"
    tiny: ClassVar[dict[str, Any]] = {**TINY, **DATA, "model.self_training": 0.5}


def flags(options: dict[str, Any]) -> list[str]:
    return [part for key, value in options.items() for part in (f"--{key}", json.dumps(value).strip('"'))]


@pytest.fixture
def chest(tmp_path: Path) -> Path:
    """Six labelled chests in the public layout."""
    root = tmp_path / "data"
    (root / "pngs").mkdir(parents=True)
    (root / "labels").mkdir()
    for i in range(6):
        phantom = radiograph("chest", i, 48)
        Image.fromarray((phantom.image * 255).astype(np.uint8)).save(root / "pngs" / f"im{i}.png")
        rows = (phantom.landmarks / 48).clip(0, 1)
        text = "\n".join([str(len(rows)), *(f"{x:.6f} {y:.6f}" for x, y in rows)])
        (root / "labels" / f"im{i}.txt").write_text(text)
    return root


def fit(root: Path, run: Path, *more: str) -> dict[str, Any]:
    """Fit both stages on a folder with the shot im0 and return the pseudo labels."""
    data = ["--data", "chest", "--data.root", str(root), "--data.shots", "[im0]"]
    where = ["--trainer.accelerator", "cpu", "--quiet", "--run_dir", str(run)]
    assert main(["fit", "--model", "uod", *data, *where, "--trainer.max_epochs", "1", *flags(TINY), *more]) == 0
    labels: dict[str, Any] = json.loads((run / "stage1" / "pseudo_labels.json").read_text())["images"]["chest"]
    return labels


def test_training_needs_no_label_but_the_shots(chest: Path, tmp_path: Path) -> None:
    for path in (chest / "labels").iterdir():
        if path.stem != "im0":
            path.unlink()
    labels = fit(chest, tmp_path / "run", "--data.test_fraction", "0", "--data.allow_unlabelled", "true")
    assert sorted(labels) == [f"im{i}" for i in range(6)]


def test_the_shot_keeps_its_own_label_in_the_hand_over(chest: Path, tmp_path: Path) -> None:
    labels = fit(chest, tmp_path / "run")
    rows = np.loadtxt(chest / "labels" / "im0.txt", skiprows=1) * 48
    np.testing.assert_allclose(list(labels["im0"]["points"].values()), rows, atol=1e-3)
    assert set(labels["im0"]["score"].values()) == {1.0}


def test_the_score_of_the_detector_tells_flat_heat_maps_from_peaks() -> None:
    """`softmax` maps are scaled to a peak of 1; the score is the probability near the point, not that peak."""
    tiny = {name.removeprefix("model."): value for name, value in TINY.items()}
    settings = {**tiny, "drop_path": 0.0, "target": "softmax", "decoder": "local_mean", "sigma": 1.0}
    torch.manual_seed(0)
    model = UOD(stage="stage2", domains={"chest": ["a", "b", "c"]}, **settings).eval()
    with torch.no_grad():
        _, flat, _ = model(torch.rand(2, 1, 32, 32), 0)
        for head in model.network.heads:
            head.weight *= 1e6
        _, peaked, _ = model(torch.rand(2, 1, 32, 32), 0)
    assert flat.shape == (2, 3)
    assert 0 < flat.max() < 0.2 < peaked.mean() <= peaked.max() <= 1.0001


def test_vgg_weights_of_torchvision_give_its_features_for_grey_images(tmp_path: Path) -> None:
    torch.manual_seed(0)
    reference = torchvision.models.vgg11(weights=None).eval()
    torch.save(reference.state_dict(), tmp_path / "vgg.pth")
    encoder = VGGEncoder(1, (64, 128, 256, 512, 512), (1, 1, 2, 2, 2)).eval()
    load_vgg(encoder, read_weights(tmp_path / "vgg.pth"))
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        expected = reference.features(image.expand(-1, 3, -1, -1))
        torch.testing.assert_close(encoder(image)[-1], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("heads", [(1, 2, 4, 3), (1, 2, 4)])
def test_heads_that_do_not_fit_are_refused_before_stage_1_is_trained(heads: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"--model.heads: expected divisors of \(8, 16, 32, 64\)"):
        UOD(embed=8, heads=heads)


def test_weights_that_are_none_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file; give a file of weights or one of vgg19"):
        find_weights("resnet")
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04cut")
    with pytest.raises(CheckpointError, match=r"cut\.pth: refused: it is damaged"):
        read_weights(tmp_path / "cut.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="holds no state dict"):
        read_weights(tmp_path / "list.pth")


def test_a_name_that_no_cache_has_gives_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert find_weights("vgg19") is None
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "vgg19-dcbb9e9d.pth").touch()
    assert find_weights("vgg19") == tmp_path / "checkpoints" / "vgg19-dcbb9e9d.pth"
