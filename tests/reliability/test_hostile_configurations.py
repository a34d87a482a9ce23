"""Configurations, flags and cards that would import, contact, hang or fill the memory: refused in one line."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from medzoo.core.cli import main
from medzoo.core.registry.cards import front_matter
from medzoo.core.safe_yaml import read_yaml, write_yaml

MIX = ["fit", "--model", "heatmap", "--data", "landmark-mix", "--trainer.fast_dev_run", "true"]


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that a module called `canary`, importable from here, writes when it is imported."""
    (tmp_path / "canary.py").write_text(
        f"open({str(tmp_path / 'sung')!r}, 'w').close()\nfrom medzoo.landmark import LandmarkPhantoms as Song\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "sung"
    sys.modules.pop("canary", None)


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """The address of a server on this machine, and what it was asked for."""
    asked: list[str] = []

    class Listens(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"max_epochs: 1\n")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listens) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_address[1]}", asked
        listening.shutdown()


def refused(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """Run a command that must end with exit code 2 and one line, within a second once its libraries are imported."""
    started = time.process_time()
    code = main(list(args))
    spent = time.process_time() - started
    error = capsys.readouterr().err.strip()
    assert code == 2, error
    assert len(error.splitlines()) == 1
    assert "internal error" not in error
    assert spent < 4, f"{spent:.1f} s"
    return error


FOREIGN = [
    [*MIX, "--data.parts", "[{data: canary.Song}]"],
    [*MIX, "--data.parts", "[{data: this.s}]"],
    [*MIX, "--data.parts", "[{data: os.system}]"],
    ["fit", "--model", "canary.Song"],
    ["fit", "--model", "toy", "--data", "canary.Song"],
    ["fit", "--model", "toy", "--trainer.callbacks", "[{class_path: canary.Song}]"],
    ["fit", "--model", "toy", "--trainer.callbacks+", "canary.Song"],
    ["fit", "--model", "toy", "--trainer.logger", "{class_path: canary.Song}"],
    ["fit", "--model", "toy", "--trainer.plugins", "[{class_path: canary.Song}]"],
    ["fit", "--model", "toy", "--trainer.profiler", "{class_path: canary.Song}"],
    ["fit", "--model", "toy", "--trainer.strategy", "{class_path: canary.Song}"],
    ["fit", "--model", "toy", "--trainer.callbacks", "[{class_path: subprocess.Popen, init_args: {args: [id]}}]"],
    ["fit", "--model", "toy", "--trainer.logger", "{class_path: medzoo.core.cli.main}"],
]


@pytest.mark.parametrize("args", FOREIGN, ids=lambda args: " ".join(args[3:]))
def test_what_nobody_registered_is_never_imported(
    canary: Path, capsys: pytest.CaptureFixture[str], args: list[str]
) -> None:
    refused(capsys, *args)
    assert not canary.exists()
    Path("a.yaml").write_text("model: toy\ndata: {class_path: canary.Song}\n")
    refused(capsys, "fit", "--config", "a.yaml")
    assert not canary.exists()


def test_the_watchers_of_the_contract_are_refused_outside_of_it() -> None:
    """In a process of its own: a contract that ran in this one has let its configurations name them."""
    callback = "[{class_path: medzoo.core.testing.replay.Snapshots}]"
    command = [sys.executable, "-m", "medzoo.core", "fit", "--model", "padim", "--trainer.callbacks", callback]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "is not allowed" in done.stderr


def test_a_part_of_a_mix_in_a_checkpoint_is_never_imported(canary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = ["--model.size", "[32,32]", "--model.width", "2", "--model.steps", "1", "--quiet"]
    phantoms = "[{data: landmark-phantoms, domains: [head], n_train: 2, n_test: 2, image_size: 32, shots: all}]"
    mix = ["--data", "landmark-mix", "--data.parts", phantoms, "--data.shots", "all"]
    assert main(["fit", "--model", "heatmap", *mix, *tiny, "--run_dir", "run"]) == 0
    capsys.readouterr()
    checkpoint = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    checkpoint["datamodule_hyper_parameters"]["parts"] = [{"data": "canary.Song"}]
    torch.save(checkpoint, "hostile.ckpt")
    for verb in ("predict", "test"):
        assert "not registered" in refused(capsys, verb, "--ckpt_path", "hostile.ckpt")
    assert not canary.exists()


@pytest.mark.parametrize("option", ["--trainer", "--model", "--data", "--config"])
def test_no_server_is_contacted_by_a_flag(
    workdir: Path, capsys: pytest.CaptureFixture[str], server: tuple[str, list[str]], option: str
) -> None:
    address, asked = server
    refused(capsys, "fit", "--model", "toy", option, f"{address}/x.yaml")
    refused(capsys, "fit", "--model", "toy", f"{option}={address}/x.yaml")
    assert not asked


@pytest.mark.parametrize("key", ["logger", "callbacks", "profiler", "plugins", "strategy"])
def test_no_server_is_contacted_by_a_file(
    workdir: Path, capsys: pytest.CaptureFixture[str], server: tuple[str, list[str]], key: str
) -> None:
    address, asked = server
    Path("a.yaml").write_text(yaml.safe_dump({"model": "toy", "trainer": {key: f"{address}/x.yaml"}}))
    refused(capsys, "fit", "--config", "a.yaml")
    Path("a.yaml").write_text(yaml.safe_dump({"model": "toy", "trainer": f"{address}/x.yaml"}))
    refused(capsys, "fit", "--config", "a.yaml")
    assert not asked


PARTS = {
    "callbacks": [{"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"dirpath": "URL"}}],
    "logger": {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "URL"}},
    "profiler": {"class_path": "lightning.pytorch.profilers.SimpleProfiler", "init_args": {"dirpath": "URL"}},
}


@pytest.mark.parametrize("part", PARTS)
def test_no_part_of_the_trainer_is_given_a_server(
    workdir: Path, capsys: pytest.CaptureFixture[str], server: tuple[str, list[str]], part: str
) -> None:
    address, asked = server
    text = json.dumps(PARTS[part]).replace("URL", f"{address}/x")
    assert "is on a server" in refused(capsys, "fit", "--model", "toy", f"--trainer.{part}", text)
    Path("a.yaml").write_text(f"model: toy\ntrainer: {{{part}: {text}}}\n")
    assert "is on a server" in refused(capsys, "fit", "--config", "a.yaml")
    assert not asked


DEEP = "[" * 100_000
FRESH = [
    ["check", "--data", "landmark-phantoms", "--data", "URL/x.yaml"],
    ["select", "scp", "--budget", "1", "--data", "landmark-phantoms", "--selector", "URL/x.yaml"],
    ["check", "--data", "landmark-folder", "--data.root", "URL/x"],
    ["check", "--data", "landmark-folder", "--data.root", ".", "--data.shots", DEEP],
    ["check", "--data", "landmark-folder", "--data.root", ".", "--data.shots", "[&a [x], *a]"],
    ["check", "--data", "landmark-folder", "--data.root", ".", "--data.shots", "0012"],
    ["check", "--data", "landmark-mix", "--data.parts", "[{data: canary.Song}]"],
]


@pytest.mark.parametrize("args", FRESH, ids=lambda args: " ".join(args)[:60])
def test_every_verb_has_the_limits_in_a_process_of_its_own(
    canary: Path, server: tuple[str, list[str]], args: list[str]
) -> None:
    """Settings of the parsing library hold for a process: after a fit in the same one, these would be set already."""
    address, asked = server
    command = [sys.executable, "-m", "medzoo.core", *(argument.replace("URL", address) for argument in args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2, done.stderr[-300:]
    assert done.stderr.startswith("medzoo: error: ")
    assert len(done.stderr.splitlines()) == 1
    assert len(done.stderr) < 400
    assert not asked
    assert not canary.exists()


@pytest.mark.parametrize("seed", ["-3", "4294967296", "9" * 400])
def test_a_seed_that_cannot_be_is_one_line(workdir: Path, capsys: pytest.CaptureFixture[str], seed: str) -> None:
    assert "--seed_everything: expected" in refused(capsys, "fit", "--model", "toy", "--seed_everything", seed)


def test_an_option_that_a_class_lacks_names_what_was_meant(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "fit", "--model", "uod", "--model.lr", "0.1")
    assert "did you mean --model.match_lr or --model.detect_lr?" in said
    said = refused(capsys, "fit", "--model", "uod", "--data", "landmark-phantoms", "--data.root", "x")
    assert "reads no folder" in said


LAUGHS = "a: &a [x, x]\n" + "\n".join(f"{c}: &{c} [*{p}, *{p}]" for p, c in zip("abcdefgh", "bcdefghi", strict=False))
BOMBS = {
    "aliases": LAUGHS,
    "deep list": "model: " + "[" * 10**6,
    "deep mapping": "{a: " * 10**5,
    "large": "model: toy\nx: " + "y" * 2**22,
    "object": "model: !!python/object/apply:os.system [id]",
    "key twice": "model: toy\nmodel: toy-stages",
    "key of a list": "? [a]\n: b",
    "merge": "a: &a {b: c}\nmodel: {<<: *a}",
    "control characters": "model: \x01",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_small_files_do_not_take_the_machine(workdir: Path, capsys: pytest.CaptureFixture[str], bomb: str) -> None:
    Path("a.yaml").write_text(BOMBS[bomb])
    refused(capsys, "fit", "--config", "a.yaml")
    folder = Path("card")
    folder.mkdir()
    (folder / "card.md").write_text(f"---\n{BOMBS[bomb]}\n---\ntext")
    assert front_matter(folder, "x") == {}


@pytest.mark.parametrize("value", ["[" * 5000, "{a: " * 5000, "&a [*a]", "{class_path: toy", '{"class_path": "toy"'])
@pytest.mark.parametrize("option", ["--model", "--data", "--trainer.callbacks", "--data.n"])
def test_values_of_flags_have_the_same_limits(
    workdir: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    refused(capsys, "fit", "--model", "toy", option, value)


NAMES = ["0012", "010", "1_000", "1:30", "0x1F", "0o7", "yes", "No", "on", "off", "2024-01-05", "+", "9" * 400, "1__2"]


@pytest.mark.parametrize("name", NAMES)
def test_names_stay_text(name: str) -> None:
    assert read_yaml(f"[{name}]") == [name]
    assert read_yaml(write_yaml({"a": [name]})) == {"a": [name]}


def test_numbers_stay_numbers_and_text_like_them_is_quoted() -> None:
    values: list[Any] = [
        0,
        12,
        -3,
        1.5,
        1e-4,
        1e20,
        float("inf"),
        True,
        False,
        None,
        "12",
        "1e-4",
        "null",
        "true",
        "~",
        "",
    ]
    assert read_yaml(write_yaml(values)) == values
    assert read_yaml("[1e-4, 1E3, .5, 5., +1, -0, .inf, ~, null]") == [
        1e-4,
        1000.0,
        0.5,
        5.0,
        1,
        0,
        float("inf"),
        None,
        None,
    ]


def test_a_number_with_leading_zeros_is_asked_about(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "write [0012]" in refused(capsys, "fit", "--model", "toy", "--data.n", "0012")
    assert "write [0012]" in refused(capsys, "fit", "--model", "toy", "--data.n=0012")
    Path("a.yaml").write_text("model: toy\ndata: {class_path: toy-data, init_args: {n: 0012}}\n")
    assert "write [0012]" in refused(capsys, "fit", "--config", "a.yaml")


@pytest.mark.parametrize("name", ["0012", "010", "2024-01-05", "1:30"])
def test_the_shot_is_the_image_of_that_name(workdir: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    import numpy as np
    from PIL import Image

    names = [name, "0010", "10", "8", "90"] if name == "0012" else [name, "8", "90", "11"]
    rows = ["id,a_x,a_y"]
    root = Path("data")
    root.mkdir()
    for number, other in enumerate(names):
        image = (np.random.default_rng(number).random((40, 40)) * 255).astype(np.uint8)
        Image.fromarray(image).save(root / f"{other.replace(':', '_')}.png")
        rows.append(f"{other.replace(':', '_')},{5 + number},6")
    (root / "landmarks.csv").write_text("\n".join(rows))
    shot = name.replace(":", "_")
    settings = {"class_path": "landmark-folder", "init_args": {"root": "data", "test_fraction": 0.0}}
    Path("a.yaml").write_text(yaml.safe_dump({"model": "uod", "data": settings}) + "")
    Path("b.yaml").write_text(f"data: {{class_path: landmark-folder, init_args: {{shots: [{shot}]}}}}\n")
    tiny = [
        "--model.stage",
        "stage1",
        "--trainer.fast_dev_run",
        "true",
        "--model.match_size",
        "64",
        "--model.patch",
        "64",
    ]
    for more in (["--data.shots", f"[{shot}]"], ["--config", "b.yaml"]):
        assert main(["fit", "--config", "a.yaml", *more, *tiny, "--quiet"]) == 0
        assert f"shot {shot}" in capsys.readouterr().out
