"""A kind that a package adds, a verb that a package cannot take, and predictions that do not pile up in memory."""

from __future__ import annotations

import gc
import importlib
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from medzoo.core.cli import main
from medzoo.core.errors import PluginError
from medzoo.core.registry import find, kinds, load
from medzoo.core.registry.names import forget
from medzoo.core.runs.writers import PredictionWriter
from medzoo.core.tasks.base import Prediction

CODE = '''
class Attack:
    """The base."""

class Noise(Attack):
    """An attack."""

class Other:
    """Something else."""

def fit(args):
    print("not the fit of medzoo")

def wave(args):
    print("a verb of its own", *args)
'''
ENTRIES = """[medzoo.kinds]
attack = attackers:Attack
model = attackers:Attack

[medzoo.attacks]
noise = attackers:Noise
other = attackers:Other

[medzoo.verbs]
fit = attackers:fit
wave = attackers:wave
"""


@pytest.fixture
def attackers(tmp_path: Path) -> Iterator[None]:
    """An installed package with a kind, plug-ins of it, a verb, and claims on a kind and a verb of core."""
    info = tmp_path / "aaa_attackers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: aaa-attackers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    (tmp_path / "attackers.py").write_text(CODE)
    sys.path.insert(0, str(tmp_path))
    importlib.invalidate_caches()
    forget()
    yield
    sys.path.remove(str(tmp_path))
    sys.modules.pop("attackers", None)
    forget()


@pytest.mark.usefixtures("attackers")
def test_a_package_adds_a_kind_with_plug_ins_and_takes_none_of_cores() -> None:
    found = kinds()["attack"]
    assert (found.group, found.base, found.title, found.noun) == (
        "medzoo.attacks",
        "attackers:Attack",
        "attacks",
        "attack",
    )
    assert kinds()["model"].base == "lightning.pytorch:LightningModule"
    assert "attackers" not in sys.modules, "a kind is known without an import"
    assert load(find("attack", "noise")).__name__ == "Noise"
    with pytest.raises(PluginError, match="is not a Attack: attackers:Other"):
        load(find("attack", "other"))
    with pytest.raises(PluginError, match="no attack named 'nois'; did you mean noise"):
        find("attack", "nois")


@pytest.mark.usefixtures("attackers")
def test_a_package_adds_a_verb_and_cannot_take_the_place_of_one_of_cores(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wave", "5"]) == 0
    assert capsys.readouterr().out == "a verb of its own 5\n"
    assert main(["fit", "--help"]) == 0
    out = capsys.readouterr().out
    assert "not the fit of medzoo" not in out
    assert "usage: medzoo fit" in out


class Saved:
    """Writes the map of a prediction."""

    def __init__(self, name: str) -> None:
        self.name, self.map = name, torch.ones(8)

    def __call__(self, folder: Path) -> dict[str, Any]:
        (folder / f"{self.name}.txt").write_text(str(float(self.map.sum())))
        return {"map": f"{self.name}.txt"}


class Answering(LightningModule):
    """Answers each of a batch, and watches what becomes of the answers before."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[weakref.ref[Callable[..., Any]]] = []
        self.alive: list[int] = []

    def predict_step(self, batch: torch.Tensor, batch_idx: int) -> list[Any]:
        gc.collect()
        self.alive.append(sum(ref() is not None for ref in self.made))
        saved = [Saved(f"image{int(i)}") for i in batch]
        self.made += map(weakref.ref, saved)
        answers: list[Any] = [Prediction({"id": part.name}, part) for part in saved]
        return [*answers, {"id": f"record of batch {batch_idx}"}]


def test_predictions_are_saved_as_they_come_and_only_records_are_kept(tmp_path: Path) -> None:
    writer, model = PredictionWriter(tmp_path), Answering()
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        callbacks=[writer],
        default_root_dir=tmp_path,
    )
    trainer.predict(model, torch.utils.data.DataLoader(torch.arange(12), batch_size=2), return_predictions=False)
    assert len(writer.records) == 18
    assert writer.records[0] == {"id": "image0", "map": "image0.txt"}
    assert writer.records[2] == {"id": "record of batch 0"}
    assert (tmp_path / "image11.txt").read_text() == "8.0"
    assert max(model.alive) <= 2, f"maps of earlier batches are still in memory: {model.alive}"
