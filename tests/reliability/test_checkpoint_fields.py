"""A checkpoint with any one field of another type is told in one line that names the file and the field."""

from __future__ import annotations

import copy
import math
import os
import random
import resource
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from medzoo.core import CheckpointError, PluginError, load_checkpoint
from medzoo.core.cli import main
from medzoo.core.runs.checkpoint_io import read_checkpoint

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


def may_pass(way: str, place: tuple[Any, ...], old: Any, new: Any) -> bool:
    optional = new is None and (place[-1] == "best" or "hyper_parameters" in place[0])
    return old is None or optional or same_kind(old, new) or place[0] in UNUSED[way]


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
            names = list(WAYS)
            # Fields of every way are read by the same check: the ways take turns, apart from the first value.
            for way in names if value is None else [names[number % len(names)]]:
                capsys.readouterr()
                before = set(Path().rglob("*"))
                code = main([*WAYS[way], "--quiet"])
                err = capsys.readouterr().err.strip()
                case = f"{way} {place} {str(value)[:20]}: {code} {err[:300]}"
                if (
                    "internal" in err
                    or err.count("\n")
                    or code not in (0, 2)
                    or (code == 0 and not may_pass(way, place, old, value))
                ):
                    bad.append(case)
                elif code == 2 and set(Path().rglob("*")) != before:
                    bad.append(f"left behind {set(Path().rglob('*')) ^ before}: {case}")
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


UNUSED: dict[str, tuple[str, ...]] = {
    "test": ("optimizer_states", "lr_schedulers", "callbacks"),
    "predict": ("optimizer_states", "lr_schedulers", "callbacks"),
    "resume": ("hyper_parameters", "datamodule_hyper_parameters"),
}
"""Entries that a way does not use, whose leaves are nothing to it; those of a resumed run are in its config.yaml."""


TOYS: dict[str, tuple[list[str], int]] = {
    "a validation": (["--model", "toy", "--trainer.max_epochs", "1", "--data.val", "true"], 9),
    "two optimisers": (["--model", "toy", "--trainer.max_epochs", "1", "--model.two_optimizers", "true"], 9),
}


@pytest.mark.parametrize("name", TOYS)
def test_a_wrong_field_is_one_line(name: str, workdir: Path, capsys: pytest.CaptureFixture[str], figure: Any) -> None:
    args, count_of = TOYS[name]
    clean = train(*args)
    settings = ("hyper_parameters", "datamodule_hyper_parameters")
    everywhere = [place for place in places(clean) if place[0] not in settings or place[1:2] == ("_class_path",)]
    some = random.Random(5).sample(everywhere, count_of)
    with figure("D1", f"fields of a checkpoint of {name}") as count:
        bad = outcomes(capsys, clean, some)
        for number in range(len(some) * len(WRONG)):
            count(number >= len(bad), bad[number] if number < len(bad) else "")


SPECIAL: list[tuple[tuple[Any, ...], Any, str]] = [
    (("callbacks", "EpochTable", "epoch"), torch.zeros(2, 9), "'callbacks.EpochTable.epoch' is a tensor"),
    (("callbacks", "EpochTable"), {}, "'callbacks.EpochTable.epoch' is missing"),
    (("loops", "fit_loop", "epoch_progress"), {"current": {}}, "epoch_progress.total' is missing"),
    (("loops",), {}, "'loops.fit_loop' is missing"),
    (("optimizer_states", 0, "state"), [], "'optimizer_states.0.state' is list"),
    (("lr_schedulers",), None, "'lr_schedulers' is NoneType"),
    (("pytorch-lightning_version",), "new", "'pytorch-lightning_version' is str"),
    (("hyper_parameters", "lr"), torch.zeros(1), "'hyper_parameters.lr' is a tensor"),
    (("hyper_parameters", "lr"), {"a": {1, 2}}, "'hyper_parameters.lr.a' is set"),
    (
        ("state_dict", "second.bias"),
        torch.tensor([math.nan]),
        "'state_dict.second.bias' has values that are not finite",
    ),
    (("state_dict", "second.bias"), torch.zeros(1).expand(10**12), "without data for all of it"),
    (("state_dict",), None, "'state_dict' is NoneType"),
]


def test_the_line_names_file_and_field(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean = train("--model", "toy", "--trainer.max_epochs", "1")
    nested: list[Any] = []
    for _ in range(100):
        nested = [nested]
    endless: list[Any] = []
    endless.append(endless)
    doubled: list[Any] = [1]
    for _ in range(60):
        doubled = [doubled, doubled]
    deep = [
        (("hyper_parameters", "lr"), value, "nested too deep or without end") for value in (nested, endless, doubled)
    ]
    for place, value, told in [*SPECIAL, *deep]:
        put(replaced(clean, place, None) if value is None else replaced(clean, place, value))
        for way in WAYS.values():
            capsys.readouterr()
            started = time.perf_counter()
            assert main([*way, "--quiet"]) == 2, (place, way)
            assert time.perf_counter() - started < 2
            err = capsys.readouterr().err
            assert str(LAST) in err, err
            assert told in err, err
            assert err.count("\n") == 1, err
        with pytest.raises(CheckpointError, match=str(LAST)):
            load_checkpoint(LAST)


def test_what_another_run_made_is_told_by_its_keys(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean = train("--model", "toy", "--trainer.max_epochs", "1")
    sgd = {"state": {}, "param_groups": [{"lr": 0.1, "momentum": 0.9, "params": list(range(6))}]}
    cases: list[tuple[tuple[Any, ...], Any, str]] = [
        (
            ("state_dict", "second.weight"),
            torch.zeros(1, 9),
            "second.weight is (1, 9) in the file and (1, 8) in the model",
        ),
        (("state_dict",), {"other": torch.zeros(1)}, "first.0.weight is missing in the file, first.0.bias is"),
        (
            ("optimizer_states",),
            [sgd],
            "does not fit this run's optimisers: 'optimizer_states.0.param_groups.0.betas' is",
        ),
        (("optimizer_states", 0, "param_groups", 0, "params"), [0], "params' is 1 values, expected 6 values"),
        (("optimizer_states", 0, "state", 0, "exp_avg"), torch.zeros(2), "state.0.exp_avg' is a tensor of shape (2,)"),
        (("hyper_parameters", "_class_path"), "medzoo_toy.stages.module.ToyStages", ""),
    ]
    for place, value, told in cases:
        put(replaced(clean, place, value))
        capsys.readouterr()
        if told:
            assert main([*WAYS["resume"], "--quiet"]) == 2, place
        else:
            assert main(["test", "--model", "toy", "--ckpt_path", str(LAST), "--quiet"]) == 2
            told = "made by toy-stages, asked for toy"
        err = capsys.readouterr().err
        assert str(LAST) in err, err
        assert told in err, err
        assert err.count("\n") == 1, err
    put(replaced(clean, ("state_dict",), {"other": torch.zeros(1)}))
    assert main([*WAYS["test"], "--quiet"]) == 2
    assert "(and 6 more)" in capsys.readouterr().err


def test_an_archive_that_grows_is_refused_before_it_does(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train("--model", "toy", "--trainer.max_epochs", "1")
    torch.save({"state_dict": {"w": torch.zeros(2**24)}}, "large.ckpt")  # 64 MB of zeros
    with zipfile.ZipFile("large.ckpt") as whole, zipfile.ZipFile("small.ckpt", "w", zipfile.ZIP_DEFLATED) as packed:
        for record in whole.infolist():
            packed.writestr(record.filename, whole.read(record))
    assert os.path.getsize("small.ckpt") < 2**20
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    capsys.readouterr()
    assert main(["test", "--ckpt_path", "small.ckpt", "--quiet"]) == 2
    assert time.perf_counter() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 2**10
    assert "small.ckpt: refused: its records are compressed" in capsys.readouterr().err


def test_sizes_in_the_settings_are_bounded_by_the_weights(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean = train("--model", "toy", "--trainer.max_epochs", "1")
    put(replaced(clean, ("hyper_parameters", "width"), 200_000_000))
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    for way in ("test", "predict"):
        capsys.readouterr()
        assert main([*WAYS[way], "--quiet"]) == 2
        assert "far larger model than the weights" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="far larger model"):
        load_checkpoint(LAST)
    assert time.perf_counter() - started < 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 512 * 2**10


def test_flipped_bits_and_cut_ends_are_told(workdir: Path, figure: Any) -> None:
    train("--model", "toy", "--trainer.max_epochs", "1")
    whole, rng = LAST.read_bytes(), random.Random(3)
    clean = torch.load(LAST, weights_only=True)["state_dict"]
    LAST.unlink()
    with figure("D1", "bit flips and cuts of a checkpoint") as count:
        for number in range(200):
            data = bytearray(whole)
            if number % 2:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            else:
                del data[rng.randrange(len(data)) :]
            Path("hurt.ckpt").write_bytes(data)
            try:
                state = read_checkpoint("hurt.ckpt")["state_dict"]
            except CheckpointError as error:
                count("hurt.ckpt" in str(error) and "\n" not in str(error), error)
            else:  # a flip between the records
                count(all(torch.equal(value, clean[name]) for name, value in state.items()), number)


def test_a_damaged_checkpoint_names_the_whole_ones_beside_it(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train("--model", "toy", "--trainer.max_epochs", "1")
    data = LAST.read_bytes()
    LAST.unlink()  # it shares its bytes with best.ckpt
    LAST.write_bytes(data[: len(data) // 2])
    assert main([*WAYS["resume"], "--quiet"]) == 2
    err = capsys.readouterr().err
    assert "whole beside it: run/checkpoints/best.ckpt" in err
    assert err.count("\n") == 1
    LAST.with_name("best.ckpt").write_bytes(b"")
    assert main([*WAYS["resume"], "--quiet"]) == 2
    assert "whole beside it" not in capsys.readouterr().err
