"""The help of a verb, of no model in particular, is answered without any heavy library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HELPS = {
    "fit": ["fit", "--help"],
    "validate": ["validate", "--help"],
    "test": ["test", "-h"],
    "predict": ["predict", "--help"],
    "benchmark": ["benchmark", "--help"],
    "evaluate": ["evaluate", "--help"],
    "compare": ["compare", "--help"],
    "pack": ["pack", "--help"],
    "convert": ["convert", "--help"],
    "export": ["export", "--help"],
    "report": ["report", "--help"],
    "new": ["new", "--help"],
    "schema": ["schema", "--help"],
    "completion": ["completion", "--help"],
    "predict files": ["predict", "CKPT", "--help"],
    "files that are not there": ["predict", "CKPT", "none.png", "-o", "out"],
}


@pytest.mark.parametrize("name", HELPS)
def test_it_imports_nothing_heavy(name: str, tmp_path: Path) -> None:
    heavy = "{'torch', 'lightning', 'matplotlib', 'jsonargparse', 'scipy'} & set(sys.modules)"
    code = f"import sys; from medzoo.core.cli import main; c = main({HELPS[name]!r}); sys.exit(99 if {heavy} else c)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == (2 if "not there" in name else 0), done.stderr
    assert not list(tmp_path.iterdir())
