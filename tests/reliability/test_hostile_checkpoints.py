"""F12, F13: a checkpoint is data. Whatever it names is neither run nor imported."""

from __future__ import annotations

import builtins
import functools
import importlib
import os
import pickle
import runpy
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.hub

from medzoo.core.cli import main


class Calls:
    """Unpickles as the result of a call."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def payloads(canary: Path, script: Path) -> dict[str, Callable[[dict[str, Any]], None]]:
    """Twelve objects that touch `canary` when unpickled, each put where a checkpoint of Lightning has such a place."""
    python = f"open({str(canary)!r}, 'w').close()"
    stolen = pickle.dumps(Calls(os.system, f"touch {canary}"))

    def at(*place: str, value: Any) -> Callable[[dict[str, Any]], None]:
        def put(checkpoint: dict[str, Any]) -> None:
            for key in place[:-1]:
                checkpoint = checkpoint.setdefault(key, {})
            checkpoint[place[-1]] = value

        return put

    return {
        "os.system in an optimiser's state": at(
            "optimizer_states", value=[{"state": {0: {"exp_avg": Calls(os.system, f"touch {canary}")}}}]
        ),
        "eval in a callback's state": at("callbacks", "EpochTable", value={"sums": Calls(builtins.eval, python)}),
        "exec among the weights": at("state_dict", "second.weight", value=Calls(builtins.exec, python)),
        "torch.hub at the top": at("extra", value=Calls(torch.hub._load_local, str(script.parent), "touch")),
        "Popen in the hyper-parameters": at(
            "hyper_parameters", "width", value=Calls(subprocess.Popen, ["touch", str(canary)])
        ),
        "open in the data's settings": at("datamodule_hyper_parameters", "n", value=Calls(open, str(canary), "w")),
        "run_path in the schedulers": at("lr_schedulers", value=[Calls(runpy.run_path, str(script))]),
        "import in the loops": at("loops", "fit_loop", value=Calls(importlib.import_module, script.stem)),
        "a second pickle in a list": at("nested", value=[[[{"deep": [Calls(pickle.loads, stolen)]}]]]),
        "Path.touch as a key": at("keys", value={Calls(Path.touch, canary): 1}),
        "partial in a tuple": at("tuple", value=(1, Calls(functools.partial(os.mkdir), str(canary)))),
        "getattr to a method": at("method", value=Calls(builtins.getattr, Calls(open, str(canary), "w"), "close")),
    }


@pytest.fixture
def trained(workdir: Path) -> Path:
    assert main(["fit", "--model", "toy", "--trainer.max_epochs", "1", "--run_dir", "run", "--quiet"]) == 0
    return workdir / "run"


@pytest.fixture
def server(workdir: Path) -> Iterator[tuple[str, list[str]]]:
    """A web server for the working directory, and the paths it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write((workdir / self.path.lstrip("/")).read_bytes())

        def log_message(self, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}", asked
        http.shutdown()


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    err = capsys.readouterr().err.strip()
    assert err.count("\n") == 0, err
    return err


def test_payloads_do_run_where_a_checkpoint_is_unpickled(workdir: Path, figure: Any) -> None:
    # The control: each of them is live, so that its silence below means something.
    script = workdir / "script_of_attack.py"
    canary = workdir / "canary"
    script.write_text(f"open({str(canary)!r}, 'w').close()\n")
    (workdir / "hubconf.py").write_text(f"def touch():\n    open({str(canary)!r}, 'w').close()\n")
    sys.path.insert(0, str(workdir))
    try:
        with figure("F12", "payloads are live (control)") as count:
            for name, put in payloads(canary, script).items():
                checkpoint: dict[str, Any] = {}
                put(checkpoint)
                torch.save(checkpoint, "live.ckpt")
                torch.load("live.ckpt", weights_only=False)
                for _ in range(200):  # Popen needs a moment
                    if canary.exists():
                        break
                    threading.Event().wait(0.01)
                count(canary.exists(), name)
                canary.rmdir() if canary.is_dir() else canary.unlink(missing_ok=True)
    finally:
        sys.path.remove(str(workdir))
        sys.modules.pop(script.stem, None)


def test_a_hostile_checkpoint_is_refused_in_one_line(
    trained: Path, server: tuple[str, list[str]], capsys: pytest.CaptureFixture[str], figure: Any
) -> None:
    url, asked = server
    workdir = trained.parent
    canary, script = workdir / "canary", workdir / "script.py"
    script.write_text(f"open({str(canary)!r}, 'w').close()\n")
    (workdir / "hubconf.py").write_text(f"def touch():\n    open({str(canary)!r}, 'w').close()\n")
    clean = torch.load(trained / "checkpoints/last.ckpt", weights_only=True)
    last = trained / "checkpoints/last.ckpt"
    ways = {
        "test": ["test", "--ckpt_path", str(last)],
        "fit": ["fit", "--ckpt_path", str(last)],
        "resume": ["fit", "--resume", "--run_dir", str(trained)],
        "http": ["predict", "--ckpt_path", f"{url}/run/checkpoints/last.ckpt"],
    }
    capsys.readouterr()
    with figure("F12", "12 payloads, local (test, fit, resume) and http") as count:
        for number, (name, put) in enumerate(payloads(canary, script).items()):
            checkpoint = {**clean}
            put(checkpoint)
            torch.save(checkpoint, last, _use_new_zipfile_serialization=number % 2 == 0)
            for way, args in ways.items():
                code = main(args)
                err = one_line(capsys)
                told = "local file only" in err if way == "http" else "refused: it wants to run " in err
                count(code == 2 and told and not canary.exists(), (name, way, code, err))
        count(not asked, f"the server was asked for {asked}")


def test_a_program_for_torch_is_no_checkpoint(trained: Path, capsys: pytest.CaptureFixture[str], figure: Any) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), "script.ckpt")
    Path("empty.ckpt").touch()
    Path("text.ckpt").write_text("cos\nsystem\n(S'touch canary'\ntR.")
    Path("folder.ckpt").mkdir()
    torch.save([1, 2], "list.ckpt")
    torch.save({"weights": torch.zeros(1)}, "other.ckpt")
    whole = (trained / "checkpoints/last.ckpt").read_bytes()
    Path("cut.ckpt").write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile("archive.ckpt", "w") as archive:
        archive.writestr("../../escaped.txt", "data")
    capsys.readouterr()
    with figure("F12", "files that are no checkpoints") as count:
        for path in sorted(Path().glob("*.ckpt")):
            code = main(["test", "--ckpt_path", str(path)])
            err = one_line(capsys)
            count(code == 2 and str(path) in err and "internal" not in err, (path, code, err))
    assert not Path("canary").exists()


FOREIGN = {
    "_class_path": ["foreign.Foreign", "os.system", "subprocess.Popen", "medzoo.core.method.Method", "foreign"],
    "_instantiator": ["foreign.build"],
}


def test_a_class_that_nobody_registered_is_refused_before_its_import(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, figure: Any
) -> None:
    Path("foreign.py").write_text("open('canary', 'w').close()\nclass Foreign: ...\ndef build(*a, **k): ...\n")
    monkeypatch.syspath_prepend(Path.cwd())
    clean = torch.load(trained / "checkpoints/last.ckpt", weights_only=True)
    capsys.readouterr()
    with figure("F13", "checkpoints that name foreign classes") as count:
        for entry in ("hyper_parameters", "datamodule_hyper_parameters"):
            for key, values in FOREIGN.items():
                for value in values:
                    torch.save({**clean, entry: {**clean[entry], key: value}}, "foreign.ckpt")
                    code = main(["test", "--ckpt_path", "foreign.ckpt", "--quiet"])
                    err = one_line(capsys)
                    # Nothing of medzoo asks for an instantiator: it is passed over.
                    good = code == 0 if key == "_instantiator" else code == 2 and "is not registered" in err
                    count(good and "foreign" not in sys.modules and not Path("canary").exists(), (entry, value, err))
            nested = {
                **clean[entry],
                "seed": {"class_path": "foreign.Foreign"},
                "lr": {"class_path": "foreign.Foreign"},
            }
            torch.save({**clean, entry: nested}, "foreign.ckpt")
            code = main(["test", "--ckpt_path", "foreign.ckpt", "--quiet"])
            err = one_line(capsys)
            count(code == 2 and "foreign" not in sys.modules and "internal" not in err, (entry, "nested", err))


def test_from_python_too_a_foreign_class_is_refused(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medzoo.core.errors import PluginError
    from medzoo.core.zoo import load_checkpoint

    Path("foreign.py").write_text("open('canary', 'w').close()\nclass Foreign: ...\n")
    monkeypatch.syspath_prepend(Path.cwd())
    checkpoint = torch.load(trained / "checkpoints/last.ckpt", weights_only=True)
    checkpoint["hyper_parameters"]["_class_path"] = "foreign.Foreign"
    torch.save(checkpoint, "foreign.ckpt")
    with pytest.raises(PluginError, match="is not registered"):
        load_checkpoint("foreign.ckpt")
    assert not Path("canary").exists()
