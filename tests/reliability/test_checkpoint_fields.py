"""A checkpoint with any one field of another type is told in one line that names the file and the field."""

from __future__ import annotations

import copy
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from medzoo.core import CheckpointError, PluginError, load_checkpoint
from medzoo.core.cli import main

WRONG: list[Any] = [None, 7, "text", [1, "two"], {"a": 1}, torch.zeros(2, 9), math.nan, 10**30, -(10**9)]
WAYS = {
    "test": ["test", "--ckpt_path", "run/checkpoints/last.ckpt"],
    "predict": ["predict", "--ckpt_path", "run/checkpoints/last.ckpt"],
    "resume": ["fit", "--resume", "--run_dir", "run", "--trainer.max_epochs", "2"],
}
LAST = Path("run/checkpoints/last.ckpt")


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """All keys and indices of a checkpoint, from the top to the leaves."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield (*place, key)
        yield from places(entry, (*place, key))


def replaced(checkpoint: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(checkpoint)
    inner: Any = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return changed


def at(checkpoint: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        checkpoint = checkpoint[key]
    return checkpoint


def kind(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return "tensor"
    return "list" if isinstance(value, tuple) else "dict" if isinstance(value, dict) else type(value).__name__


def train(*args: str) -> dict[str, Any]:
    assert main(["fit", *args, "--run_dir", "run", "--quiet"]) == 0
    return torch.load(LAST, weights_only=True)


def put(checkpoint: dict[str, Any]) -> None:
    """Replace the checkpoint of the run and whatever a resumed run left."""
    LAST.unlink(missing_ok=True)
    torch.save(checkpoint, LAST)


def same_kind(old: Any, new: Any) -> bool:
    """Whether a value could stand there: then the run may go on, or tell of it, but not fail without a name."""
    number = ("int", "float")
    return kind(old) == kind(new) or (kind(old) in number and kind(new) in number)


def outcomes(capsys: pytest.CaptureFixture[str], clean: dict[str, Any], some: list[tuple[Any, ...]]) -> list[str]:
    """What went wrong with telling of wrong fields; empty where all is well."""
    bad = []
    backup = Path("backup")
    shutil.copytree("run", backup, dirs_exist_ok=True)
    for number, place in enumerate(some):
        for value in WRONG:
            old = at(clean, place)
            if isinstance(old, dict) and not old and isinstance(value, dict):
                continue
            put(replaced(clean, place, value))
            before = sorted(str(p) for p in Path().rglob("*"))
            names = list(WAYS)
            # Fields of every way are read by the same check: the ways take turns, apart from the first value.
            for way in names if value is None else [names[number % len(names)]]:
                capsys.readouterr()
                code = main([*WAYS[way], "--quiet"])
                err = capsys.readouterr().err.strip()
                case = f"{way} {place} {str(value)[:20]}: {code} {err[:300]}"
                if (
                    "internal" in err
                    or err.count("\n")
                    or code not in (0, 2)
                    or (code == 0 and not (old is None or same_kind(old, value) or place[0] in UNUSED.get(way, ())))
                ):
                    bad.append(case)
                elif code == 2 and sorted(str(p) for p in Path().rglob("*")) != before:
                    bad.append(f"left something behind: {case}")
                if code == 0:
                    shutil.rmtree("run")
                    shutil.copytree(backup, "run")
                    put(replaced(clean, place, value))
            try:
                load_checkpoint(LAST)
            except (CheckpointError, PluginError):
                pass
            except Exception as error:  # noqa: BLE001 - what the test is about
                bad.append(f"load_checkpoint {place} {str(value)[:20]}: {type(error).__name__} {error}")
    return bad


UNUSED: dict[str, tuple[str, ...]] = dict.fromkeys(
    ("test", "predict"), ("optimizer_states", "lr_schedulers", "callbacks")
)
"""Entries that a way does not read: their inner values beyond the structure are nothing to it."""
