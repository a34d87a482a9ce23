"""F23, F24: a bad plug-in costs nothing to the others, and using it costs one line with its distribution."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from medzoo.core import list_models, registry
from medzoo.core.cli import main
from medzoo.core.registry.names import forget

Install = Callable[..., Path]
FAULTS = {
    "import error": "import a_library_that_is_not_installed",
    "syntax error": "def f(:\n",
    "runtime error": "raise RuntimeError('no licence found\\nsecond line')",
    "exit": "import sys\nsys.exit(3)",
    "endless import": "while True: pass",
    "missing module": None,
    "missing attribute": "class SomethingElse: ...",
    "not a module of Lightning": "class Model: ...",
    "own kind of error": "class Odd(BaseException): ...\nraise Odd('odd')",
}
MENDED = "from medzoo_toy.model import Toy as Model"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a fake distribution with one model on the path: a dist-info folder and a package of one module."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def put(
        name: str, module: str | None, model: str = "bad", init: str = "", entries: str | None = None, card: bytes = b""
    ) -> Path:
        package = name.replace("-", "_")
        info = site / f"{package}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        entries = f"[medzoo.models]\n{model} = {package}.inner.model:Model\n" if entries is None else entries
        (info / "entry_points.txt").write_text(entries)
        (site / package / "inner").mkdir(parents=True)
        (site / package / "__init__.py").write_text(init)
        (site / package / "inner/__init__.py").write_text("")
        if module is not None:
            (site / package / "inner/model.py").write_text(module)
        if card:
            (site / package / "inner/card.md").write_bytes(card)
        importlib.invalidate_caches()
        forget()
        return site

    yield put
    forget()
    for name in [n for n, m in sys.modules.items() if str(getattr(m, "__file__", "")).startswith(str(site))]:
        del sys.modules[name]


@pytest.fixture
def trained(workdir: Path) -> Path:
    assert main(["fit", "--model", "toy", "--trainer.max_epochs", "1", "--run_dir", "run", "--quiet"]) == 0
    return workdir / "run/checkpoints/last.ckpt"


def unaffected(trained: Path, capsys: pytest.CaptureFixture[str], light: bool = False) -> dict[str, bool]:
    """Run every verb (`light`: those without torch) on healthy plug-ins beside the broken one; tell which worked."""
    out = str(trained.parents[2])
    verbs = {
        "help": ["--help"],
        "version": ["--version"],
        "list": ["list"],
        "list --json": ["list", "--json"],
        "list --long": ["list", "--long"],
        "info": ["info", "toy"],
        "check": ["check", "--data", "toy-data"],
        "fit --help": ["fit", "--model", "toy", "--help"],
        "fit": ["fit", "--model", "toy", "--trainer.fast_dev_run", "true", "--quiet"],
        "validate": ["validate", "--ckpt_path", str(trained), "--data.val", "true", "--run_dir", f"{out}/validated"],
        "test": ["test", "--ckpt_path", str(trained), "--run_dir", f"{out}/tested"],
        "predict": ["predict", "--ckpt_path", str(trained), "--run_dir", f"{out}/predicted"],
    }
    chosen = list(verbs)[:6] if light else list(verbs)
    worked = {verb: main(verbs[verb]) == 0 for verb in chosen}
    errors = capsys.readouterr().err
    return worked | {"no error is printed": "error" not in errors}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_plug_in_leaves_the_others_alone_and_tells_its_name(
    install: Install,
    trained: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    figure: Any,
    fault: str,
) -> None:
    for spec in [*registry.specs("model"), *registry.specs("datamodule")]:
        assert (
            spec.missing or registry.broken(spec) is None
        )  # so that the healthy ones are imported before patience gets short
    install("bad-plug-in", FAULTS[fault])
    monkeypatch.setattr(registry.broken, "__defaults__", (1.0,))
    with figure("F23", "broken plug-ins: every verb on the others") as count:
        for verb, worked in unaffected(trained, capsys).items():
            count(worked, (fault, verb))
    with figure("F23", "broken plug-ins: using and listing them") as count:
        if fault != "endless import":  # that one ends with Ctrl-C only
            for args in (["fit", "--model", "bad"], ["fit", "--model", "bad", "--help"]):
                code = main(args)
                err = capsys.readouterr().err.strip()
                told = "bad-plug-in 1.2" in err and err.count("\n") == 0
                count(code == 2 and told and "internal" not in err, (fault, code, err))
        code = main(["list"])
        listed = capsys.readouterr().out
        count(code == 0 and "bad" in listed and "toy" in listed, (fault, listed))
        code = main(["doctor"])
        report = capsys.readouterr().out
        lines = [line for line in report.splitlines() if "BROKEN" in line]
        count(code == 2 and len(lines) == 1 and "bad-plug-in 1.2" in lines[0], (fault, code, report))


def test_listing_imports_nothing_not_even_the_package_around_a_model(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("loud-plug-in", MENDED, model="loud", init="raise SystemExit('imported')")
    assert main(["list"]) == 0
    assert main(["info", "loud"]) == 0
    assert "loud" in capsys.readouterr().out
    assert "loud_plug_in" not in sys.modules


@pytest.mark.parametrize(
    "card",
    [
        b"---\nname: bad\nsummary: [unclosed\n---\n",
        b"---\nname: bad\nsummary: \xff\xfe\n---\n",
        b"---\nname: bad\nsummary: |\n  two\n  lines\ntask: [1, 2]\n---\n",
        b"---\n- a list\n---\n",
        b"---\nname: bad",
        b"---\nname: bad\nsummary: !!python/object/apply:os.system ['touch canary']\n---\n",
    ],
    ids=["yaml", "encoding", "types", "list", "unfinished", "tag"],
)
def test_a_broken_card_costs_its_facts_only(
    install: Install, workdir: Path, capsys: pytest.CaptureFixture[str], figure: Any, card: bytes
) -> None:
    install("bad-plug-in", MENDED, card=card)
    with figure("F23", "broken cards") as count:
        for args in (["list"], ["list", "--json"], ["list", "--long"], ["info", "bad"], ["info", "toy"]):
            code = main(args)
            out = capsys.readouterr().out
            count(code == 0 and ("bad" in out or "toy" in out), (args, code))
        fit = ["fit", "--model", "bad", "--data", "toy-data", "--trainer.fast_dev_run", "true", "--quiet"]
        count(main(fit) == 0, "fit")
    assert not (workdir / "canary").exists()


def test_a_model_whose_extra_is_not_installed_says_what_to_install(
    install: Install, trained: Path, capsys: pytest.CaptureFixture[str], figure: Any
) -> None:
    card = b"---\nname: waiting\nextra: a_library_that_is_not_installed\n---\n"
    install("patient-plug-in", MENDED, model="waiting", card=card)
    cure = "needs pip install 'patient-plug-in[a_library_that_is_not_installed]'"
    with figure("F23", "plug-ins that wait for an extra") as count:
        for verb, worked in unaffected(trained, capsys).items():
            count(worked, verb)
        for args, listed in ((["list"], False), (["list", "--json"], False), (["list", "--long"], True)):
            code = main(args)
            out = capsys.readouterr().out
            count(code == 0 and ("waiting" in out) == listed == (cure in out), (args, out))
        for args in (["fit", "--model", "waiting"], ["fit", "--model", "waiting", "--help"]):
            code = main(args)
            err = capsys.readouterr().err.strip()
            count(code == 2 and err.endswith(cure) and err.count("\n") == 0, (args, err))
        code = main(["doctor"])  # an extra is no fault
        out = capsys.readouterr().out
        count(code == 0 and cure in out and "BROKEN" not in out, (code, out))
        count("waiting" not in list_models() and "toy" in list_models(), list_models())


@pytest.mark.parametrize("target", ["not a path", ":", "a.b:c.d:e"])
def test_an_entry_point_that_is_no_path_hides_no_other(
    install: Install, trained: Path, capsys: pytest.CaptureFixture[str], figure: Any, target: str
) -> None:
    install("bad-plug-in", MENDED, entries=f"[medzoo.models]\nbad = {target}\n")
    with figure("F23", "entry points that are no paths") as count:
        for verb, worked in unaffected(trained, capsys).items():
            count(worked, (target, verb))
        code = main(["fit", "--model", "bad", "--data", "toy-data"])
        err = capsys.readouterr().err.strip()
        count(code == 2 and "bad-plug-in 1.2" in err and err.count("\n") == 0, err)
        code = main(["doctor"])
        out = capsys.readouterr().out
        count(code == 2 and "bad-plug-in 1.2" in out, (code, out))


def test_an_unreadable_list_of_entry_points_hides_no_other(
    install: Install, trained: Path, capsys: pytest.CaptureFixture[str], figure: Any
) -> None:
    # Beside such a package even torch and Lightning cannot be imported anew: light verbs, and doctor tells why.
    install("bad-plug-in", MENDED, entries="[medzoo.models]\nno equals sign\n")
    with figure("F23", "an unreadable list of entry points") as count:
        for verb, worked in unaffected(trained, capsys, light=True).items():
            count(worked, verb)
        code = main(["doctor"])
        out = capsys.readouterr().out
        count(code == 2 and "BROKEN: bad-plug-in 1.2" in out.splitlines()[0] and "toy-stages" in out, (code, out))


def test_two_packages_with_one_name_are_told_apart(
    install: Install, workdir: Path, capsys: pytest.CaptureFixture[str], figure: Any
) -> None:
    install("first-package", MENDED, model="twin")
    install("second-package", "from medzoo_toy.stages.module import ToyStages as Model", model="twin")
    dry = ["--data", "toy-data", "--trainer.fast_dev_run", "true", "--quiet"]
    with figure("F24", "one name, two packages") as count:
        for args in (["fit", "--model", "twin", *dry], ["info", "twin"]):
            code = main(args)
            err = capsys.readouterr().err.strip()
            both = "first-package 1.2" in err and "second-package 1.2" in err and "first-package:twin" in err
            count(code == 2 and both and err.count("\n") == 0, (args, err))
        for package, option in (("first-package", "--model.width"), ("second-package", "--model.epochs")):
            code = main(["fit", "--model", f"{package}:twin", option, "3", *dry])
            count(code == 0, (package, capsys.readouterr().err))
        code = main(["fit", "--model", "third-package:twin", *dry])
        err = capsys.readouterr().err.strip()
        count(code == 2 and "third-package:twin" in err and err.count("\n") == 0, err)
        code = main(["list", "--json"])
        rows = [row["package"] for row in json.loads(capsys.readouterr().out) if row["name"] == "twin"]
        count(code == 0 and rows == ["first-package", "second-package"], rows)
        count(main(["fit", "--model", "toy", *dry]) == 0, "the others")


def test_a_package_that_was_taken_away_in_part_stops_nothing(
    trained: Path, install: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """What pip leaves where it is stopped: a list of entry points, and neither a name nor a version."""
    site = install("left", MENDED, model="left")
    (site / "left-1.2.dist-info" / "METADATA").unlink()
    forget()
    capsys.readouterr()
    assert all(unaffected(trained, capsys).values())
    assert main(["doctor"]) in (0, 1, 2)
    assert "internal error" not in capsys.readouterr().err
