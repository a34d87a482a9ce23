"""The contract suite holds for the toys, and each of its tests fails for a method that breaks its rule."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medzoo.core.registry.names import forget
from medzoo.core.testing import DataModuleContract, ModelContract


class TestToyData(DataModuleContract):
    name = "toy-data"
    tiny = {"n": 6, "n_test": 5, "val": True}


class TestToy(ModelContract):
    name = "toy"
    differentiates_to = "x"
    tiny = {"data.n": 8, "data.val": True}
    resumes = None


class TestToyByHand(ModelContract):
    name = "toy"
    differentiates_to = "x"
    tiny = {"data.n": 8, "model.two_optimizers": True}


class TestToyStages(ModelContract):
    name = "toy-stages"
    differentiates_to = "x"
    tiny = {"data.n": 8}


CARD = "---\nname: {name}\ntask: regression\nsummary: Breaks a rule.\ndata: toy-data\n---\n"
HEAD = '''
import os, itertools, torch
from torch import nn
from medzoo_toy.model import Toy

class Model(Toy):
    """Breaks a rule.

    Args:
        width: Hidden units.
    """

    def __init__(self, width: int = 8) -> None:
        super().__init__(width)
        self.save_hyperparameters()
'''
STEP = "    def training_step(self, batch, batch_idx):\n        loss = super().training_step(batch, batch_idx)\n"
RULES = {
    "no-card": ("its_name_resolves", ""),
    "no-text": ("every_argument_has_a_text", "    def __init__(self, width: int = 8, mystery: int = 1) -> None: ...\n"),
    "forgetful": (  # a counter that no checkpoint holds
        "resumed_from_any_step",
        "    steps = 0\n" + STEP + "        self.steps += 1\n        return loss * self.steps\n",
    ),
    "late": (  # Lightning calls this hook after the checkpoint of the step is made
        "resumed_from_any_step",
        "    def on_train_batch_end(self, *args):\n"
        "        with torch.no_grad():\n            self.second.bias += 0.1\n",
    ),
    "unseeded": ("the_same_seed", STEP + "        return loss * (1 + os.urandom(1)[0])\n"),
    "unused": (
        "gradients_reach",
        "    def configure_model(self):\n        self.spare = getattr(self, 'spare', None) or nn.Linear(1, 1)\n",
    ),
    "unheld": (
        "gradients_reach",
        "    def configure_optimizers(self):\n        return torch.optim.SGD(self.first.parameters(), 0.1)\n",
    ),
    "not-finite": (
        "a_fit_leaves",
        "    def on_test_epoch_end(self):\n        self.log('toy/mse', float('nan'))\n",
    ),
    "unsafe": ("its_checkpoints_are_data", "    def on_save_checkpoint(self, c):\n        c['extra'] = nn.ReLU()\n"),
    "nameless": (
        "it_predicts",
        "    def predict_step(self, batch, batch_idx):\n        return [{'sum': 1.0} for _ in batch['x']]\n",
    ),
    "blind": (
        "outputs_differentiate",
        "    def outputs(self, batch):\n        with torch.no_grad():\n            return super().outputs(batch)\n",
    ),
    "constant": (
        "outputs_differentiate",
        "    def forward(self, x):\n        return torch.softmax(super().forward(x)[:, None], 1)[:, 0]\n",
    ),
    "without-rows": (
        "a_test_leaves_a_row",
        "    def report(self, folder):\n        self.evaluation.tested.pop()\n        super().report(folder)\n",
    ),
    "unstable": (
        "a_checkpoint_alone",
        "    trained = 0\n    def on_train_start(self):\n        self.trained = 1\n"
        "    def test_step(self, batch, batch_idx):\n        super().test_step(batch, batch_idx)\n"
        "        self.log('toy/trained', float(self.trained), on_epoch=True)\n",
    ),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A plug-in with one model for each rule, on the path, and a file of tests that inherit the contract."""
    site = tmp_path_factory.mktemp("site")
    info = site / "rule_breakers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rule-breakers\nVersion: 1.0\n")
    entries, tests = ["[medzoo.models]"], ["from medzoo.core.testing import ModelContract"]
    for name, (_, body) in RULES.items():
        package = f"rule_{name.replace('-', '_')}"
        (site / package).mkdir()
        (site / package / "__init__.py").touch()
        (site / package / "model.py").write_text(HEAD + body)
        if name != "no-card":
            (site / package / "card.md").write_text(CARD.format(name=name))
        entries.append(f"{name} = {package}.model:Model")
        tests += [
            f"class Test_{package}(ModelContract):",
            f"    name, tiny, differentiates_to = {name!r}, {{'data.n': 8}}, 'x'",
        ]
    (info / "entry_points.txt").write_text("\n".join(entries))
    (site / "test_rules.py").write_text("\n".join(tests))
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()
    forget()
    yield site
    sys.path.remove(str(site))
    forget()


class Outcomes:
    """What became of each test of an inner session."""

    def __init__(self) -> None:
        self.failed: dict[str, str] = {}
        self.passed: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        name = report.nodeid.rpartition("::")[2]
        if report.failed:
            self.failed[name] = str(report.longrepr)
        elif report.when == "call":
            self.passed.append(name)


@pytest.mark.parametrize("name", RULES)
def test_a_method_that_breaks_a_rule_fails_the_test_of_that_rule(broken: Path, name: str) -> None:
    wanted, _ = RULES[name]
    names = [n for n in dir(ModelContract) if n.startswith(f"test_{wanted}")]
    assert len(names) == 1
    outcomes = Outcomes()
    node = f"{broken / 'test_rules.py'}::Test_rule_{name.replace('-', '_')}::{names[0]}"
    options = ["-q", "--no-header", "-p", "no:cacheprovider", "-c", str(broken / "none.ini"), "--rootdir", str(broken)]
    (broken / "none.ini").write_text("[pytest]\n")
    assert pytest.main([*options, node], plugins=[outcomes]) == 1
    assert list(outcomes.failed) == names
    assert "AssertionError" in outcomes.failed[names[0]] or "CheckpointError" in outcomes.failed[names[0]]
