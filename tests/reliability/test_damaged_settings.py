"""Damaged settings, cards, checkpoints, packed weights and arrays are read, or cost one line that names the file."""

from __future__ import annotations

import os
import shutil
import time
import zipfile
from collections.abc import Callable
from io import BytesIO
from itertools import count as numbers
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medzoo.core.errors import MedzooError
from medzoo.core.io.arrays import read_labelled
from medzoo.core.recipes import read_config
from medzoo.core.registry.cards import body, front_matter
from medzoo.core.runs.checkpoint_io import read_checkpoint
from medzoo.core.runs.packed import write_packed
from medzoo.core.testing.damage import KINDS, mutant

SECONDS = float(os.environ.get("MEDZOO_FUZZ_SECONDS", "5"))
SETTINGS = """# settings of a run
model: {class_path: medzoo_toy.model.Toy, init_args: {width: 8, lr: 1.0e-3, names: [a, "0012", yes]}}
data:
  class_path: medzoo_toy.data.ToyData
  init_args: {n: &many 64, val: *many, text: |
      two
      lines
    }
trainer: {max_epochs: 3, callbacks: null}
seed_everything: 0
"""
CARD = """---
name: toy
task: regression
summary: A card with *emphasis*, 0012 and [a list].
extra: {year: 2024, authors: [A, B]}
---
# A card

Text | with a table, and `code`.
"""


def checkpoint() -> dict[str, object]:
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    network(torch.rand(5, 3)).sum().backward()
    optimizer.step()
    return {
        "epoch": 2,
        "global_step": 10,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": network.state_dict(),
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "loops": {},
        "callbacks": {},
        "hyper_parameters": {"width": 8, "lr": 0.001, "_class_path": "medzoo_toy.model.Toy"},
    }


def saved() -> bytes:
    file = BytesIO()
    torch.save(checkpoint(), file)
    return file.getvalue()


def arrays(packing: Callable[..., None]) -> bytes:
    file, rng = BytesIO(), np.random.default_rng(7)
    parts = {f"{part}_images": rng.integers(0, 255, (6, 8, 8), np.uint8) for part in ("train", "test")}
    packing(file, **parts, train_labels=np.arange(6)[:, None], test_labels=np.arange(6) % 2)
    return file.getvalue()


def read_arrays(path: Path) -> None:
    for images, labels in read_labelled(path, ("train", "val", "test"), ["train"]).values():
        assert images.dtype == np.uint8
        assert labels.shape[0] == len(images)


def read_card(path: Path) -> None:
    facts, text = front_matter(path.parent, "toy"), body(path.parent)
    assert all(isinstance(key, str | int | float | bool | tuple | None) for key in facts)
    assert isinstance(text, str)


FILES: dict[str, tuple[Callable[[], bytes], Callable[[Path], object]]] = {
    "config.yaml": (SETTINGS.encode, lambda path: read_config(path, str(path))),
    "card.md": (CARD.encode, read_card),
    "toy.ckpt": (saved, read_checkpoint),
    "arrays.npz": (lambda: arrays(np.savez), read_arrays),
    "packed.npz": (lambda: arrays(np.savez_compressed), read_arrays),
}


def tried(path: Path, read: Callable[[Path], object]) -> str:
    """Return what is wrong with how a file was read or refused; empty where nothing is."""
    started, refused = time.process_time(), ""
    try:
        read(path)
    except MedzooError as error:
        refused = str(error)
    except Exception as error:  # noqa: BLE001 - any other is what this looks for
        return f"{type(error).__name__}: {error}"
    if refused and (not refused.startswith(str(path)) or "\n" in refused or len(refused) > len(str(path)) + 500):
        return f"said {refused!r}"
    return "" if time.process_time() - started < 1 else "took more than a second"


def copies(folder: Path, name: str) -> Callable[[int, str], str]:
    """Return what damages a file in one way and reads it: each copy in a folder of its own, since cards are kept."""
    make, read = FILES[name]
    sound = make()
    (folder / "sound").mkdir()
    (folder / "sound" / name).write_bytes(sound)
    assert not tried(folder / "sound" / name, read)

    def one(seed: int, kind: str) -> str:
        place = folder / f"{kind}{seed}"
        place.mkdir()
        (place / name).write_bytes(mutant(sound, kind, seed, 60))
        wrong = tried(place / name, read)
        shutil.rmtree(place)
        return f"{name} {kind} {seed}: {wrong}" if wrong else ""

    return one


@pytest.mark.parametrize("name", FILES)
def test_damaged_settings_read_or_cost_one_line(tmp_path: Path, name: str) -> None:
    one = copies(tmp_path, name)
    assert not list(filter(None, (one(seed, kind) for seed in range(20) for kind in KINDS)))


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_damaged_settings_for_a_time(tmp_path: Path, name: str, figure: Any) -> None:
    one, stop = copies(tmp_path, name), time.monotonic() + SECONDS
    with figure("F15", f"fuzz: {name}") as count:
        for seed in numbers(1000):
            for kind in KINDS:
                wrong = one(seed, kind)
                count(not wrong, wrong)
            if time.monotonic() > stop:
                break


def packed(folder: Path) -> Path:
    write_packed(checkpoint(), folder, CARD, {"metrics": {"mre": 1.5}})
    return folder


@pytest.mark.parametrize("seconds", [0.5, pytest.param(SECONDS, marks=pytest.mark.slow)])
def test_damaged_packed_weights_read_or_cost_one_line(tmp_path: Path, seconds: float, figure: Any) -> None:
    """One file of the folder at a time; with sums of all files, damage is found whatever it hits."""
    sound = packed(tmp_path / "packed")
    assert not tried(sound, read_checkpoint)
    files = sorted(path for path in sound.iterdir() if path.is_file())
    stop = time.monotonic() + seconds
    with figure("F15", "fuzz: packed weights") as count:
        for seed in numbers():
            for path in files:
                content = path.read_bytes()
                for kind in KINDS:
                    path.write_bytes(mutant(content, kind, seed, 60))
                    wrong = tried(sound, read_checkpoint)
                    count(not wrong, f"{path.name} {kind} {seed}: {wrong}")
                path.write_bytes(content)
            if time.monotonic() > stop:
                break


def test_an_archive_with_a_program_in_the_place_of_an_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train_images", b"import os")
        archive.writestr("train_labels", b"import os")
    with pytest.raises(MedzooError, match="no array"):
        read_labelled(path, ["train"], ["train"])
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(MedzooError, match="one array"):
        read_labelled(tmp_path / "one.npz", ["train"], ["train"])
