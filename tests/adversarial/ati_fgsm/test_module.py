"""The method ati-fgsm: the contract of the house, its tables, and the measures that it reports."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from medzoo.adversarial.ati_fgsm.clinical import anb, cardiothoracic, measures
from medzoo.adversarial.ati_fgsm.module import ATIFGSM
from medzoo.core.cli import main
from medzoo.core.errors import ConfigError
from medzoo.core.testing import ModelContract
from medzoo.core.testing.recipes import packaged, resolved

TINY: dict[str, Any] = {
    "model.victim_options": {"width": 4, "decoder_width": 8, "size": [32, 32], "steps": 2, "batch": 2},
    "model.eps": [0.05, 0.1],
    "model.attack_steps": 6,
    "data.domains": ["chest"],
    "data.image_size": 48,
    "data.n_train": 4,
    "data.n_test": 3,
}


class TestATIFGSM(ModelContract):
    name: ClassVar[str] = "ati-fgsm"
    tiny: ClassVar[dict[str, Any]] = TINY
    one_process: ClassVar[bool] = True
    resumes: ClassVar[int | None] = 2


def test_the_quick_recipe_leads_heads_and_chests() -> None:
    assert packaged(["ati-fgsm"]) == {"ati-fgsm/default"}
    config = resolved("ati-fgsm/default")
    settings, data = config["model"]["init_args"], config["data"]["init_args"]
    assert settings["victim"] == "heatmap"
    assert settings["eps"] == pytest.approx([4 / 255, 8 / 255])
    assert settings["attack_steps"] == 60
    assert settings["victim_options"] == {"steps": 300, "augment": 0}
    assert data["domains"] == ["head", "chest"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ati") / "run"
    flags = [p for k, v in TINY.items() for p in (f"--{k}", v if isinstance(v, str) else json.dumps(v))]
    fit = ["fit", "--model", "ati-fgsm", *flags, "--trainer.accelerator", "cpu", "--quiet", "--run_dir", str(folder)]
    assert main(fit) == 0
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_both_methods_and_all_budgets_stand_beside_each_other(run: Path) -> None:
    rows = table(run / "budgets.csv")
    assert {(row["method"], float(row["eps"])) for row in rows} == {
        (method, eps) for method in ("ti-fgsm", "ati-fgsm") for eps in (0.05, 0.1)
    }
    assert all(row["images"] == "3" for row in rows)
    assert len({row["error_clean"] for row in rows}) == 1, "clean errors do not depend on the attack"


def test_the_curve_begins_with_the_clean_images(run: Path) -> None:
    rows = table(run / "convergence.csv")
    for method in ("ti-fgsm", "ati-fgsm"):
        own = [row for row in rows if row["method"] == method and float(row["eps"]) == 0.1]
        assert [int(row["step"]) for row in own] == [0, 1, 5, 6]
    first = {(float(row["goal"]), float(row["drift"])) for row in rows if row["step"] == "0"}
    assert len(first) == 1, "before the first step no method or budget differs"


def test_coupling_and_clinical_effect_are_reported(run: Path) -> None:
    for row in table(run / "coupling.csv"):
        assert math.isnan(float(row["nearest"] or "nan")) or -1 <= float(row["nearest"]) <= 1
    rows = table(run / "clinical.csv")
    assert {row["measure"] for row in rows} == {"cardiothoracic ratio"}
    assert (run / "figures/convergence.png").is_file()


def test_anb_is_the_difference_of_two_angles() -> None:
    sella, nasion = torch.tensor([-68.0, 0.0]), torch.tensor([0.0, 0.0])

    def below(angle: float) -> torch.Tensor:
        rad = np.deg2rad(180 - angle)
        return torch.tensor([60 * np.cos(rad), 60 * np.sin(rad)], dtype=torch.float32)

    assert float(anb(sella, nasion, below(82), below(80))) == pytest.approx(2, abs=1e-3)
    assert float(anb(sella, nasion, below(78), below(81))) == pytest.approx(-3, abs=1e-3)
    turned = [torch.stack([-p[1], p[0]]) for p in (sella, nasion, below(82), below(80))]
    assert float(anb(*turned)) == pytest.approx(2, abs=1e-3)


def test_the_ratio_is_that_of_two_widths_and_needs_its_landmarks() -> None:
    points = torch.tensor([[[0.0, 0.0], [60.0, 0.0], [200.0, 0.0], [160.0, 0.0]]])
    assert cardiothoracic(points).tolist() == pytest.approx([0.5])
    assert measures(["a", "b"], torch.zeros(1, 2, 2)) == {}


def test_goals_are_some_landmarks_and_lie_within_the_image() -> None:
    model = ATIFGSM(most=0.5)
    points = torch.full((40, 6, 2), 5.0)
    goals = model._goals(points, (32, 64), torch.Generator().manual_seed(0))
    led = ~goals.isnan().any(dim=2)
    assert led.sum(dim=1).unique().tolist() == [1, 2, 3]
    assert float(goals[led][:, 0].amin()) >= 0.15 * 63 - 1e-4
    assert float(goals[led][:, 0].amax()) <= 0.85 * 63 + 1e-4
    assert float(goals[led][:, 1].amax()) <= 0.85 * 31 + 1e-4


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"eps": ()}, "--model.eps: expected budgets above 0 and up to 1"),
        ({"eps": (0.0,)}, "--model.eps: expected budgets above 0 and up to 1"),
        ({"attack_steps": 0}, "--model.attack_steps: expected at least 1, got 0"),
        ({"most": 0.0}, "--model.most: expected a share above 0"),
    ],
)
def test_a_wrong_option_is_one_line(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ATIFGSM(**options)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_victim_without_landmarks_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = json.dumps({"backbone": "test_resnet", "size": [32, 32], "epochs": 1})
    fit = ["fit", "--model", "ati-fgsm", "--model.victim", "classifier", "--model.victim_options", options]
    numbers = {"train": "6", "val": "4", "test": "4", "pixels": "32"}
    data = ["--data", "class-phantoms", *(part for k, v in numbers.items() for part in (f"--data.{k}", v))]
    own = ["--trainer.accelerator", "cpu", "--quiet", "--run_dir", str(tmp_path / "run")]
    assert main([*fit, *data, *own]) == 2
    err = capsys.readouterr().err.strip()
    assert "--model.victim: expected a model that finds landmarks" in err
    assert err.count("\n") == 0, err
