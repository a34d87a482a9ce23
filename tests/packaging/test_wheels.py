"""Each package builds, holds only its own files, and installs alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging
ROOT = Path(__file__).parents[2]
NAMES = sorted(p.parent.name for p in (ROOT / "packages").glob("*/pyproject.toml"))


@pytest.fixture(scope="module")
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


def opened(wheels: Path, name: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(next(wheels.glob(f"{name.replace('-', '_')}-0*.whl")))


def requirements(wheels: Path, name: str) -> list[str]:
    with opened(wheels, name) as wheel:
        metadata = next(n for n in wheel.namelist() if n.endswith("METADATA"))
        wanted = Parser().parsestr(wheel.read(metadata).decode()).get_all("Requires-Dist") or []
    return [re.split(r"[^\w.-]", w)[0] for w in wanted if "extra ==" not in w]


@pytest.mark.parametrize("name", NAMES)
def test_a_wheel_holds_only_its_own_part_of_the_namespace(wheels: Path, name: str) -> None:
    with opened(wheels, f"medzoo-{name}") as wheel:
        files = [n for n in wheel.namelist() if ".dist-info/" not in n]
    assert files
    assert all(f.startswith(f"medzoo/{name}/") for f in files)
    assert f"medzoo/{name}/py.typed" in files
    source = ROOT / f"packages/{name}/src"
    kept = {".py", ".md", ".yaml", ".typed", ".h", ".cpp", ".c"}
    expected = {str(p.relative_to(source)) for p in source.rglob("*") if p.suffix in kept or p.name == "py.typed"}
    assert expected <= set(files)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "core"])
def test_a_package_needs_core_and_no_sibling(wheels: Path, name: str) -> None:
    assert [r for r in requirements(wheels, f"medzoo-{name}") if r.startswith("medzoo")] == ["medzoo-core"]


def test_core_needs_no_other_package_and_the_meta_distribution_needs_all(wheels: Path) -> None:
    assert not [r for r in requirements(wheels, "medzoo-core") if r.startswith("medzoo")]
    assert sorted(requirements(wheels, "medzoo")) == [f"medzoo-{n}" for n in NAMES]


def test_anomaly_alone_in_a_clean_environment_brings_core_only(wheels: Path, tmp_path: Path) -> None:
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def call(*command: str) -> str:
        done = subprocess.run(
            [str(home / "bin" / command[0]), *command[1:]],
            capture_output=True,
            text=True,
            env=clean,
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    call("pip", "install", "-q", "--find-links", str(wheels), "-c", str(ROOT / "constraints.txt"), "medzoo-anomaly")
    installed = [line.split()[0] for line in call("pip", "list").splitlines() if line.startswith("medzoo")]
    assert sorted(installed) == ["medzoo-anomaly", "medzoo-core"]
    assert "uod" not in call("medzoo", "list")
    call("medzoo", "doctor")
    call("python", "-c", "import medzoo.anomaly, medzoo.core")
