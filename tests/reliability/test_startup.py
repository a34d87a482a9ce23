"""F30: commands that train nothing answer at once, because they import nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

LIGHT = {
    "--help": (["--help"], 0),
    "list": (["list"], 0),
    "--version": (["--version"], 0),
    "unknown name": (["fit", "--model", "toyy"], 2),
    "unknown verb": (["fot"], 2),
}
BUDGET, TRIES = 0.15, 5
USUAL = "import argparse, ast, dataclasses, email.message, importlib.metadata, inspect, json, logging, typing, zipfile"
"""What takes 0.05 to 0.07 s beyond bare Python on the machine that the budget was set on."""


def seconds(code: str, expected: int, cwd: Path) -> float:
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == expected, done.stderr
    return time.perf_counter() - started


def medzoo(args: list[str]) -> str:
    return f"import sys; from medzoo.core.cli import main; sys.exit(main({args!r}))"


def test_light_commands_answer_at_once(tmp_path: Path, figure: Any) -> None:
    with figure("F30", f"light commands within {BUDGET} s of bare Python's start") as count:
        for name, (args, expected) in LIGHT.items():
            more, usual = [], []
            for _ in range(TRIES):
                bare = seconds("pass", 0, tmp_path)
                usual.append(seconds(USUAL, 0, tmp_path) - bare)
                more.append(seconds(medzoo(args), expected, tmp_path) - bare)
            # The least disturbed of each: a slower machine, or one with neighbours, is given as much more.
            count(min(more) <= max(BUDGET, 3 * min(usual)), (name, more, usual))


@pytest.mark.parametrize("name", LIGHT)
def test_light_commands_import_neither_torch_nor_numpy(tmp_path: Path, figure: Any, name: str) -> None:
    args, expected = LIGHT[name]
    heavy = "{'torch', 'lightning', 'numpy', 'jsonargparse'} & set(sys.modules)"
    with figure("F30", "light commands import no heavy library") as count:
        code = f"import sys; from medzoo.core.cli import main; c = main({args!r}); sys.exit(99 if {heavy} else c)"
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False)
        count(done.returncode == expected, (name, done.stderr))


def test_the_help_of_a_model_costs_little_more_than_lightning(tmp_path: Path, figure: Any) -> None:
    # In processor time, so that neighbours on the machine do not count; the import alone takes seconds.
    code = (
        "import time, lightning.pytorch, lightning.pytorch.cli\n"
        "from medzoo.core.cli import main\n"
        "before = time.process_time()\n"
        "assert main(['fit', '--model', 'toy', '--help']) == 0\n"
        "print(time.process_time() - before)"
    )
    with figure("F30", "fit --help within 0.5 s of Lightning's import") as count:
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        more = float(done.stdout.splitlines()[-1])
        count(more <= 0.5, more)
