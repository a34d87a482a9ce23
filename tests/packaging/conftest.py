"""Wheels of all packages, and one environment that the tests here share: installing torch again would take minutes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = sorted(p.parent.name for p in (ROOT / "packages").glob("*/pyproject.toml"))


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheels of all packages and of the meta-distribution."""
    folder = tmp_path_factory.mktemp("wheels")
    for source in [*(ROOT / "packages" / n for n in NAMES), ROOT]:
        command = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            folder,
            source,
        ]
        subprocess.run([str(c) for c in command], check=True, env={**os.environ, "PYTHONPATH": ""})
    return folder


class Home:
    """A virtual environment and commands in it, free of what surrounds the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder, with_pip=True)
        self.env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def call(self, *command: str | Path) -> str:
        """Run a command of the environment, which must succeed, and return what it printed."""
        program = [str(self.folder / "bin" / command[0]), *map(str, command[1:])]
        done = subprocess.run(program, capture_output=True, text=True, env=self.env, cwd=self.folder, check=False)
        assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
        return done.stdout

    def distributions(self) -> list[str]:
        """Return the names of medzoo's distributions that are installed."""
        return sorted(line.split()[0] for line in self.call("pip", "list").splitlines() if line.startswith("medzoo"))

    def packages(self) -> set[str]:
        """Return the distributions whose models and data modules `medzoo list` shows."""
        return {entry["package"] for entry in json.loads(self.call("medzoo", "list", "--json"))}


@pytest.fixture(scope="session")
def home(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A clean environment with medzoo-anomaly installed from its wheel."""
    home = Home(tmp_path_factory.mktemp("home") / "venv")
    wanted = ["--find-links", wheels, "-c", ROOT / "constraints.txt", "medzoo-anomaly"]
    home.call("pip", "install", "-q", *wanted)
    return home
