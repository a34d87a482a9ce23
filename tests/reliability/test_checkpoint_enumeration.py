"""Every field of real checkpoints with every kind of wrong value: one line that names file and field, or no matter."""

from __future__ import annotations

import copy
import math
import random
import shutil
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
    "--data.image_size 32 --data.shots all --model.size [32,32] --model.width 2 --model.steps 2",
    "anomaly": "--model padim --data texture-phantoms --data.train 5 --data.test 4 --data.pixels 64 --data.shots 3 "
    "--data.test_categories [gear] --model.size [64,64] --model.widths [8,12,16] --model.channels 10",
    "classification": "--model classifier --data class-phantoms --data.train 4 --data.val 2 --data.test 2 "
    "--data.pixels 32 --model.size 32 --model.batch 4 --model.epochs 2",
}
STOP = {"landmark": "--trainer.max_steps 1", "anomaly": "", "classification": "--trainer.max_epochs 1"}
"""How a training ends half-way; few-shot anomaly methods train nothing."""


def nested(levels: int = 100) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


REMOVED = object()
WRONG: dict[str, Any] = {
    "nothing": None,
    "text": "text",
    "negative": -1,
    "huge": 10**30,
    "large": 10**7,
    "a fraction": 1.5,
    "not a number": math.nan,
    "yes": True,
    "list": [1, "two"],
    "dictionary": {"a": 1},
    "nested": nested(),
    "a tensor": torch.zeros(3, dtype=torch.int64),
    "removed": REMOVED,
}
LIMIT_S, ANSWER_S = 3.0, 30.0
"""Processor time of a refusal; of an answer, which may be that on the default data of a model whose own are unknown."""
UNUSED = ("optimizer_states", "lr_schedulers", "callbacks", "loops", "epoch", "global_step")
"""Entries that only a training that goes on uses."""
WAYS = {
    "test": ["test", "--ckpt_path", "wrong.ckpt", "--quiet"],
    "predict": ["predict", "--ckpt_path", "wrong.ckpt", "--quiet"],
    "resume": ["fit", "--resume", "--run_dir", "again", "--quiet"],
}
FEW = {"test": 5, "predict": 4, "resume": 6}
MANY = 200
"""Of those cases that pass the reader, how many of each way are used: all would take an hour."""
Place = tuple[Any, ...]
Train = Callable[[str], tuple[Path, dict[str, Any]]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Trains each of them half-way, once; returns the folder and what the checkpoint holds."""
    made: dict[str, tuple[Path, dict[str, Any]]] = {}

    def of(name: str) -> tuple[Path, dict[str, Any]]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            with chdir(folder):
                assert main(["fit", *TINY[name].split(), *STOP[name].split(), "--run_dir", "run", "--quiet"]) == 0
            config = folder / "run/config.yaml"
            lines = config.read_text().splitlines()
            whole = ["" if line.strip().startswith(("max_steps", "max_epochs")) else line for line in lines]
            config.write_text("\n".join(whole))
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
    if value is REMOVED:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return result


def says(message: str, place: Place) -> bool:
    """Whether a message is one line that names the file and a key on the way to the place."""
    named = any(str(key) in message for key in place if not isinstance(key, int))
    fits = "does not fit its model" in message  # of settings that make another model the line has the weights
    deep = "nested too deep" in message  # which it names by the key above
    option = "--data" in message  # data that cannot satisfy a setting have their own
    return "\n" not in message and (option or (".ckpt" in message and (named or fits or deep)))


def outcome(capsys: pytest.CaptureFixture[str], way: str, place: Place) -> str:
    """Use a checkpoint that the reader let pass; empty where what comes of it is as it must be."""
    if way == "resume":
        shutil.rmtree("again", ignore_errors=True)
        shutil.copytree("run", "again")
        shutil.copy("wrong.ckpt", "again/checkpoints/last.ckpt")
        Path("again/results.json").unlink(missing_ok=True)
    capsys.readouterr()
    started = time.process_time()
    code = main(WAYS[way])
    spent = time.process_time() - started
    err = capsys.readouterr().err.strip()
    if spent > (LIMIT_S if code else ANSWER_S):
        return f"{spent:.1f} s, {code} {err[:200]}"
    return "" if code == 0 or (code == 2 and says(err, place)) else f"{code} {err[:300]}"


def read_all(name: str, trained: Train, count: Any) -> list[tuple[Place, str]]:
    """Put every value in every place and read the checkpoint; return those cases that pass the reader."""
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
                count(quick and says(str(error), place), f"{place} {label}: {error}")
            else:
                passed.append((place, label))
    return passed


def used(name: str, way: str, passed: list[tuple[Place, str]]) -> list[tuple[Place, str]]:
    """Return the cases that a way may use."""
    if way == "resume":
        return passed if STOP[name] else []
    return [case for case in passed if case[0][0] not in UNUSED]


@pytest.mark.parametrize("name", TINY)
def test_a_wrong_field_of_a_real_checkpoint_is_one_line(
    name: str, trained: Train, capsys: pytest.CaptureFixture[str], figure: Any
) -> None:
    folder, clean = trained(name)
    cases = [(place, label) for place in places(clean) for label in WRONG]
    with figure("D1", f"some fields of a checkpoint of {name}, of {len(cases)} cases") as count, chdir(folder):
        for way, most in FEW.items():
            for place, label in random.Random(f"{name} {way}").sample(used(name, way, cases) or cases, most):
                torch.save(changed(clean, place, WRONG[label]), "wrong.ckpt")
                wrong = outcome(capsys, way if STOP[name] else "test", place)
                count(not wrong, f"{way} {place} {label}: {wrong}")


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_every_wrong_field_read_and_many_used_of_a_real_checkpoint_is_one_line(
    name: str, trained: Train, capsys: pytest.CaptureFixture[str], figure: Any
) -> None:
    folder, clean = trained(name)
    with figure("D1", f"each field of a checkpoint of {name}") as count:
        passed = read_all(name, trained, count)
        with chdir(folder):
            for way in WAYS:
                cases = used(name, way, passed)
                for place, label in random.Random(f"{name} {way}").sample(cases, min(MANY, len(cases))):
                    torch.save(changed(clean, place, WRONG[label]), "wrong.ckpt")
                    wrong = outcome(capsys, way, place)
                    count(not wrong, f"{way} {place} {label}: {wrong}")
