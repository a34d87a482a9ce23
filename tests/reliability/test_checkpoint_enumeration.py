"""Every field of a real checkpoint with every kind of wrong value: one line that names file and field, or no matter."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import torch

from medzoo.core.cli import main
from medzoo.core.errors import CheckpointError
from medzoo.core.runs.checkpoint_io import read_checkpoint

TINY = {
    "landmark": "--model heatmap --data landmark-phantoms --data.domains [head] --data.n_train 2 --data.n_test 2 "
    "--data.image_size 32 --data.shots all --model.size [32,32] --model.width 2 --model.steps 1",
    "anomaly": "--model padim --data texture-phantoms --data.train 5 --data.test 4 --data.pixels 64 --data.shots 3 "
    "--data.test_categories [gear] --model.size [64,64] --model.widths [8,12,16] --model.channels 10",
}
WRONG: dict[str, Any] = {
    "nothing": None,
    "text": "text",
    "negative": -1,
    "huge": 10**30,
    "large": 10**7,
    "a fraction": 1.5,
    "yes": True,
    "list": [1, "two"],
    "dictionary": {"a": 1},
}
LIMIT_S = 3.0
SETTINGS = ("hyper_parameters", "datamodule_hyper_parameters")
UNUSED = ("optimizer_states", "lr_schedulers", "callbacks", "loops")
"""Entries that a test with a checkpoint does not use: what of them passes the reader is nothing to it."""
Place = tuple[Any, ...]
Train = Callable[[str], tuple[Path, dict[str, Any]]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Trains each of the two once; returns the folder and what the checkpoint holds."""
    made: dict[str, tuple[Path, dict[str, Any]]] = {}

    def of(name: str) -> tuple[Path, dict[str, Any]]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            with chdir(folder):
                assert main(["fit", *TINY[name].split(), "--run_dir", "run", "--quiet"]) == 0
            made[name] = folder, torch.load(folder / "run/checkpoints/last.ckpt", weights_only=True)
        return made[name]

    return of


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    """All keys and indices, from the top to the leaves."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield (*place, key)
        yield from places(entry, (*place, key))


def changed(checkpoint: dict[str, Any], place: Place, value: Any) -> dict[str, Any]:
    """A copy with another value in one place; what lies elsewhere is shared."""
    result = inner = dict(checkpoint)
    for key in place[:-1]:
        inner[key] = copy.copy(inner[key])
        inner = inner[key]
    inner[place[-1]] = value
    return result


def tells(message: str, path: Path, place: Place) -> bool:
    """Whether a message is one line that names the file and a key on the way to the place."""
    named = any(str(key) in message for key in place if not isinstance(key, int))
    fits = "does not fit its model" in message  # of settings that make another model the line has the weights
    option = len(place) > 1 and f"--data.{place[1]}" in message  # data that cannot satisfy a setting have their own
    return "\n" not in message and (option or (str(path) in message and (named or fits)))


def outcome(capsys: pytest.CaptureFixture[str], path: Path, place: Place) -> str:
    """Test with a checkpoint that the reader let pass; empty where that is as it must be."""
    capsys.readouterr()
    started = time.process_time()
    code = main(["test", "--ckpt_path", str(path), "--quiet"])
    spent = time.process_time() - started
    err = capsys.readouterr().err.strip()
    if spent > LIMIT_S:
        return f"{spent:.1f} s, {code} {err[:200]}"
    return "" if code == 0 or (code == 2 and tells(err, path, place)) else f"{code} {err[:300]}"


def enumerated(
    name: str, trained: Train, capsys: pytest.CaptureFixture[str], count: Any, most: int | None, seed: int = 5
) -> None:
    """Every place and value through the reader; of those that pass it, all that are used or `most`, through a test."""
    folder, clean = trained(name)
    path = folder / "wrong.ckpt"
    passed = []
    for place in places(clean):
        for label, value in WRONG.items():
            torch.save(changed(clean, place, value), path)
            started = time.process_time()
            try:
                read_checkpoint(path)
            except CheckpointError as error:
                quick = time.process_time() - started < LIMIT_S
                count(quick and tells(str(error), path, place), f"{place} {label}: {error}")
            else:
                passed.append((place, label))
    used = [case for case in passed if case[0][0] not in UNUSED]
    chosen = used if most is None else random.Random(seed).sample(used, most)
    count.held += len(passed) - len(used)
    with chdir(folder):
        for place, label in chosen:
            torch.save(changed(clean, place, WRONG[label]), path)
            wrong = outcome(capsys, path, place)
            count(not wrong, f"{place} {label}: {wrong}")


@pytest.mark.parametrize("name", TINY)
def test_a_wrong_field_of_a_real_checkpoint_is_one_line(
    name: str, trained: Train, capsys: pytest.CaptureFixture[str], figure: Any
) -> None:
    with figure("D1", f"each field of a checkpoint of {name}") as count:
        enumerated(name, trained, capsys, count, most=12)


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_every_wrong_field_of_a_real_checkpoint_is_one_line(
    name: str, trained: Train, capsys: pytest.CaptureFixture[str], figure: Any
) -> None:
    with figure("D1", f"each field of a checkpoint of {name}, all used") as count:
        enumerated(name, trained, capsys, count, most=None)
