from __future__ import annotations

from typing import Any, ClassVar

import pytest

from medzoo.core.cli import main
from medzoo.core.errors import ConfigError
from medzoo.core.testing.contract import ModelContract
from medzoo.landmark.heatmap.module import Heatmap

DATA: dict[str, Any] = {
    "model.batch": 4,
    "model.decoder_width": 4,
    "data.domains": ["head", "chest"],
    "data.n_train": 5,
    "data.n_test": 3,
    "data.image_size": 48,
}


class TestUNet(ModelContract):
    name: ClassVar[str] = "heatmap"
    tiny: ClassVar[dict[str, Any]] = {**DATA, "model.width": 2, "model.size": [32, 32]}


class TestTimm(ModelContract):
    name: ClassVar[str] = "heatmap"
    tiny: ClassVar[dict[str, Any]] = {**DATA, "model.backbone": "test_convnext", "model.size": [32, 32]}
    resumes: ClassVar[int | None] = 1


def test_unknown_backbones_and_odd_sizes_cost_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"--model\.backbone: timm has no model"):
        Heatmap({"head": ["a"]}, backbone="hrnet_w19")
    with pytest.raises(ConfigError, match="those of a timm model"):
        Heatmap(weights="some.pth")
    run = ["fit", "--model", "heatmap", "--model.backbone", "test_convnext", "--trainer.fast_dev_run", "true"]
    assert main([*run, "--model.size", "[40, 64]", "--data.n_train", "2", "--quiet"]) == 2
    assert "--model.size: expected multiples of 32 for test_convnext, got (40, 64)" in capsys.readouterr().err
