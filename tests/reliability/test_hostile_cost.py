"""Hostile commands cost no more than an ordinary mistake: a second, 512 MB, no file, no program, no connection."""

from __future__ import annotations

import http.server
import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

VERBS: dict[str, list[str]] = {
    "fit": ["fit", "--model", "toy"],
    "validate": ["validate", "--model", "toy", "--data", "toy-data"],
    "test": ["test", "--model", "toy", "--data", "toy-data"],
    "predict": ["predict", "--model", "toy", "--data", "toy-data"],
    "check": ["check", "--data", "landmark-folder", "--data.root", "."],
    "select": ["select", "scp", "--budget", "1", "--data", "landmark-folder", "--data.root", "."],
}
RUNS = ("fit", "validate", "test", "predict")
CLASSES = (
    "canary.Song",
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "pathlib.os.system",
    "datetime.sys.exit",
    "lightning.pytorch.callbacks.model_checkpoint.os.system",
    "lightning.pytorch.loggers.csv_logs.os.abort",
    "medzoo.core.cli.main",
    "medzoo_toy.model.Toy.canary",
    "..canary.Song",
    "canary:Song",
)


def with_class(name: str) -> list[list[str]]:
    """Commands with a class path in each place where one can stand."""
    whole = json.dumps({"class_path": name, "init_args": {"command": "touch sung", "args": ["id"], "name": "canary"}})
    inner = json.dumps(
        {"class_path": "lightning.pytorch.callbacks.LambdaCallback", "init_args": {"on_fit_start": name}}
    )
    parts = ("callbacks", "logger", "plugins", "profiler", "strategy", "accelerator")
    commands = [[verb, *rest, f"--{key}", name] for verb, *rest in VERBS.values() for key in ("model", "data")]
    commands += [["info", name], ["select", name, "--budget", "1"], [name]]
    for verb in RUNS:
        commands += [
            [*VERBS[verb], f"--trainer.{part}", value] for part in parts for value in (name, whole, f"[{whole}]")
        ]
        commands += [[*VERBS[verb], f"--trainer.{part}.class_path", name] for part in parts]
        commands += [[*VERBS[verb], f"--trainer.{part}+", whole] for part in ("callbacks", "plugins")]
        commands += [[*VERBS[verb], "--trainer.callbacks", f"[{inner}]"]]
    for option in ("model", "data", "model.class_path", "data.class_path", "optimizer", "lr_scheduler", "trainer"):
        commands += [[*VERBS["fit"], f"--{option}", whole], [*VERBS["fit"], f"--{option}={name}"]]
    commands += [[*VERBS["fit"], f"--{option}", whole] for option in ("model.width", "model.lr", "data.n", "data.seed")]
    mix = ["--data", "landmark-mix", "--data.parts"]
    commands += [["fit", "--model", "heatmap", *mix, f"[{{data: {json.dumps(name)}}}]"], ["check", *mix, f"[{whole}]"]]
    commands += [[*VERBS["select"], f"--selector.{option}", whole] for option in ("backbone", "weights", "size")]
    return commands


def with_address(address: str) -> list[list[str]]:
    """Commands with the address of a server in each option that takes a path or a name."""
    commands = []
    for verb, plain in VERBS.items():
        options = ["run_dir", "data.root", "data"] if verb in ("check", "select") else ["model", "data", "run_dir"]
        options += ["ckpt_path", "selector.weights"] if verb == "select" else []
        options += ["ckpt_path", "init_from", "config", "trainer", "trainer.default_root_dir"] if verb in RUNS else []
        commands += [[*plain, f"--{option}", address] for option in options]
        commands += [[*plain, f"--{option}={address}"] for option in options]
    save = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": address}}
    keep = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"dirpath": address}}
    commands += [[*VERBS["fit"], "--trainer.logger", json.dumps(save)], [*VERBS["test"], "--test_set", f"a={address}"]]
    commands += [[*VERBS["fit"], "--trainer.callbacks", json.dumps([keep])], ["info", address], ["select", address]]
    return [*commands, [*VERBS["fit"], "-c", address], [*VERBS["fit"], "--model.lr", address]]


PAIRS = zip("abcdefgh", "bcdefghi", strict=True)
BOMBS = {
    "aliases": "a: &a [x, x]\n" + "\n".join(f"{c}: &{c} [*{p}, *{p}]" for p, c in PAIRS),
    "endless alias": "&a [*a]",
    "deep list": "[" * 10**6,
    "deep list in a value": "model: " + "[" * 10**5,
    "deep mapping": "{a: " * 10**5,
    "deep block": "".join(f"{' ' * n}a:\n" for n in range(1200)),
    "deep keys": "? " * 10**5,
    "deep JSON": '{"a": ' * 10**5,
    "large": "model: toy\nx: " + "y" * 2**22,
    "many keys": "{" + ", ".join(f"k{n}: 1" for n in range(50_000)) + "}",
    "many of one key": "{" + ", ".join("k: 1" for _ in range(50_000)) + "}",
    "many entries": "[" + "1," * 400_000 + "1]",
    "object": "model: !!python/object/apply:os.system [touch sung]",
    "name": "model: !!python/name:os.system",
    "module": "!!python/module:canary",
    "set": "model: !!set {a, b}",
    "binary": "model: !!binary aGVsbG8=",
    "float of text": "model: !!float x",
    "int of text": "model: !!int x",
    "a tag of its own": "model: !canary x",
    "key twice": "model: toy\nmodel: toy-stages",
    "key twice below": "model: {class_path: toy, class_path: toy}",
    "key of a list": "? [a]\n: b",
    "key of a mapping": "{{a: b}: c}",
    "merge": "a: &a {b: c}\nmodel: {<<: *a}",
    "merge of a text": "model: {<<: x}",
    "merge of itself": "&a {<<: *a}",
    "control characters": "model: \x01",
    "two documents": "model: toy\n---\nmodel: toy",
    "half a surrogate": 'model: "\\ud800"',
    "directive": "%YAML 9.9\n---\nmodel: toy\n...\n%",
    "digits": "model: toy\nseed_everything: " + "9" * 10**5,
    "exponent": "model: {class_path: toy, init_args: {lr: 1e999999999}}",
    "nothing": "",
    "zero bytes": "\0" * 10_000,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a module that tells of its import, and a table of labels."""
    (tmp_path / "canary.py").write_text("open('sung', 'w').close()\nclass Song: ...\n")
    (tmp_path / "landmarks.csv").write_text("id,a_x,a_y\n")
    return tmp_path


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """The place of a server on this machine, and what it was asked for."""
    asked: list[str] = []

    class Listens(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listens) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{listening.server_address[1]}/x", asked
        listening.shutdown()


def bombs(folder: Path) -> list[list[str]]:
    """Commands with texts in YAML, in files and flags, that would take the machine or that YAML 1.1 reads otherwise."""
    commands = []
    options = {"fit": ("model", "data", "model.lr", "trainer.callbacks"), "check": ("data.shots", "data")}
    options["select"] = ("selector.weights", "data.shots")
    for name, text in BOMBS.items():
        file = folder / f"{name}.yaml"
        file.write_text(text, errors="surrogatepass")
        commands += [[verb, "--config", file.name] for verb in RUNS]
        short = " ".join(text[:100_000].split())  # an argument has 128 kB at most
        if short[:1] in ("[", "{", "&", "!", "?"):
            commands += [[*VERBS[verb], f"--{key}", short] for verb, keys in options.items() for key in keys]
    return commands


def names_and_sizes() -> list[list[str]]:
    """Commands with names that leave a folder, and with numbers that cannot be."""
    commands = [["info", "../../etc/passwd"], ["select", "../x", "--budget", "1"], ["fit", "--model", "/etc/passwd"]]
    for name in ("../../etc/passwd", "/etc/passwd", "toy/../../x", "uod/../paper", "..", "uod/", "~/x", "a\x1bb"):
        commands += [["fit", "--config", name], [*VERBS["check"], "--data.shots", json.dumps([name])]]
        commands += [["fit", "--model", "toy", "--data", name], ["test", "--ckpt_path", name]]
        commands += [[*VERBS["fit"], "--init_from", name], ["fit", "--resume", "--run_dir", f"{name}/none"]]
        commands += [[*VERBS["test"], "--test_set", f"{name}=."]]
    phantoms, heatmap = ["--data", "landmark-phantoms"], ["fit", "--model", "heatmap"]
    large = ("-1", "1" + "0" * 30, "9" * 400, "1e30", ".inf", ".nan", "0012", "1000000000")
    for size in large:
        commands += [
            ["check", *phantoms, f"--data.{key}", size] for key in ("n_train", "n_test", "image_size", "resize")
        ]
        commands += [["check", "--data", "texture-phantoms", f"--data.{key}", size] for key in ("pixels", "test")]
        commands += [["check", "--data", "ct-phantom", f"--data.{key}", size] for key in ("size", "test", "voxel_mm")]
        commands += [[*heatmap, *phantoms, "--data.num_workers", size], [*VERBS["select"], "--budget", size]]
    commands += [[*VERBS["fit"], "--seed_everything", size] for size in large[:-1]]  # the last one is a seed
    for key in ("devices", "num_nodes"):
        commands += [[*VERBS["fit"], f"--trainer.{key}", size] for size in (*large[1:3], large[-1])]
    return commands


def parts(folder: Path) -> list[list[str]]:
    """Commands with a configuration file of which one part is hostile."""
    commands = []
    hostile = ["canary.Song", {"class_path": "canary.Song"}, [{"class_path": "os.system"}], "http://127.0.0.1:9/x"]
    keys = ("model", "data", "trainer", "optimizer", "config", "trainer.callbacks", "trainer.logger", "model.lr")
    for key in (*keys, "test_sets", "test_sets.a"):
        for number, value in enumerate(hostile):
            outer, _, inner = key.partition(".")
            settings: dict[str, Any] = {"model": "toy", outer: {inner: value} if inner else value}
            if key == "model.lr":
                settings["model"] = {"class_path": "toy", "init_args": {"lr": value}}
            file = folder / f"{key}{number}.yaml"
            file.write_text(yaml.safe_dump(settings))
            commands.append(["test" if "test" in key else "fit", "--config", file.name])
    return commands


PROTOCOLS = ("http", "https", "ftp", "s3", "gs", "memory", "file", "github", "hf", "simplecache::http", "zip::file")
KINDS = {
    "class paths": lambda folder, place: [command for name in CLASSES for command in with_class(name)],
    "addresses": lambda folder, place: [
        command for protocol in PROTOCOLS for command in with_address(f"{protocol}://{place}")
    ],
    "YAML": lambda folder, place: bombs(folder),
    "names and sizes": lambda folder, place: names_and_sizes(),
    "parts of a file": lambda folder, place: parts(folder),
}
EACH = {
    **{f"class path {name}": lambda folder, place, name=name: with_class(name) for name in CLASSES},
    **{
        f"addresses of {protocol}": lambda folder, place, protocol=protocol: with_address(f"{protocol}://{place}")
        for protocol in PROTOCOLS
    },
    **{kind: KINDS[kind] for kind in ("YAML", "names and sizes", "parts of a file")},
}
"""All of them, in parts."""
FEW = 14


def tried(
    kind: str, commands: list[list[str]], folder: Path, measured: Any, figure: Any, server: tuple[str, list[str]]
) -> None:
    """Try commands, each against an ordinary mistake in its verb."""
    with figure("A1", f"{kind} within 1 s and 512 MB") as count:
        for args in commands:
            plain = [*VERBS[args[0]], "--nosuch", "1"] if args[0] in VERBS else ["info", "nosuch"]
            wrong = measured.refused(folder, plain, *args)
            count(not wrong, wrong)
        count(not server[1], f"asked for {server[1]}")


@pytest.mark.parametrize("kind", KINDS)
def test_some_hostile_commands_cost_no_more_than_a_mistake(
    kind: str, folder: Path, measured: Any, figure: Any, server: tuple[str, list[str]]
) -> None:
    commands = KINDS[kind](folder, server[0])
    chosen = random.Random(kind).sample(commands, FEW)
    tried(f"{kind}, {FEW} of {len(commands)},", chosen, folder, measured, figure, server)


@pytest.mark.slow
@pytest.mark.parametrize("kind", EACH)
def test_every_hostile_command_costs_no_more_than_a_mistake(
    kind: str, folder: Path, measured: Any, figure: Any, server: tuple[str, list[str]]
) -> None:
    tried(f"each {kind.partition(' of ')[0]}", EACH[kind](folder, server[0]), folder, measured, figure, server)
