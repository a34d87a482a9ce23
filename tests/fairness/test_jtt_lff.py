"""The debiasing baselines JTT and LfF: the contract of the house, and what their weights do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from medzoo.core.cli import main
from medzoo.core.errors import ConfigError
from medzoo.core.testing import ModelContract
from medzoo.core.testing.recipes import packaged, parameters
from medzoo.fairness.jtt.module import JTT
from medzoo.fairness.lff.losses import relative_difficulty

DATA: dict[str, Any] = {"data.train": 24, "data.val": 8, "data.test": 12, "data.pixels": 16}
SMALL: dict[str, Any] = {"model.backbone": "test_resnet", "model.size": 32, "model.batch": 8, **DATA}


class TestJTT(ModelContract):
    name: ClassVar[str] = "jtt"
    tiny: ClassVar[dict[str, Any]] = SMALL
    resumes: ClassVar[int | None] = 2


class TestLfF(ModelContract):
    name: ClassVar[str] = "lff"
    tiny: ClassVar[dict[str, Any]] = SMALL
    resumes: ClassVar[int | None] = 2


def test_what_the_biased_network_fails_at_weighs_more() -> None:
    weight = relative_difficulty(torch.tensor([3.0, 0.01, 1.0]), torch.tensor([0.1, 1.0, 1.0]))
    assert weight.tolist() == pytest.approx([3 / 3.1, 0.01 / 1.01, 0.5])
    assert torch.isfinite(relative_difficulty(torch.zeros(2), torch.zeros(2))).all()


def test_the_second_training_weighs_the_errors_of_the_first(workdir: Path) -> None:
    flags = [part for key, value in SMALL.items() for part in (f"--{key}", str(value))]
    cpu = ["--trainer.accelerator", "cpu", "--quiet", "--trainer.max_epochs", "1"]
    assert main(["fit", "--model", "jtt", *flags, *cpu, "--run_dir", "run"]) == 0
    lines = Path("run/identify/errors.csv").read_text().splitlines()
    assert lines[0] == "id,label,wrong"
    assert len(lines) == 25
    wrong = {name: int(mark) for name, _, mark in (line.split(",") for line in lines[1:])}
    model = JTT("train", classes=["a", "b"], multi_label=False, channels=3, backbone="test_resnet", size=32, upweight=9)
    model.wrong = dict.fromkeys(wrong, 0) | {"train00003": 1}
    torch.manual_seed(0)
    image, label = torch.rand(2, 3, 32, 32), torch.tensor([0, 1])
    batch = {"image": image, "label": label, "id": ["train00001", "train00003"]}
    model.eval()
    object.__setattr__(model, "log", lambda *_: None)
    type(model).given = property(lambda _: (("a", "b"), False))  # type: ignore[method-assign,assignment]
    try:
        loss = model.training_step(batch, 0)
    finally:
        del type(model).given
    each = torch.nn.functional.cross_entropy(model(image), label, reduction="none")
    assert loss.item() == pytest.approx(((each[0] + 9 * each[1]) / 10).item(), rel=1e-5)


def test_recipes_and_wrong_options() -> None:
    assert packaged(["jtt", "lff"]) == {"jtt/default", "lff/default"}
    given: dict[str, Any] = {"classes": ["a", "b"], "multi_label": False, "channels": 3}
    assert parameters("jtt/default", **given) == 372_882
    assert parameters("lff/default", **given) == 2 * 372_882
    with pytest.raises(ConfigError, match=r"--model\.upweight: expected at least 1, got 0.5"):
        JTT(upweight=0.5)
