"""Each package builds, holds only its own files, and installs alone."""

from __future__ import annotations

import re
import subprocess
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.packaging
ROOT = Path(__file__).parents[2]
NAMES = sorted(p.parent.name for p in (ROOT / "packages").glob("*/pyproject.toml"))


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


def test_anomaly_alone_in_a_clean_environment_brings_core_only_and_works(home: Any) -> None:
    assert home.distributions() == ["medzoo-anomaly", "medzoo-core"]
    assert home.packages() == {"medzoo-anomaly", "medzoo-core"}
    home.call("medzoo", "doctor")
    home.call("python", "-c", "import medzoo.anomaly, medzoo.core")
    dry = ["--trainer.fast_dev_run", "true", "--trainer.accelerator", "cpu"]
    home.call("medzoo", "fit", "--model", "padim", *dry)


def test_activating_the_environment_puts_the_command_on_the_path_as_the_readme_says(home: Any) -> None:
    makefile, readme = (ROOT / "Makefile").read_text(), (ROOT / "README.md").read_text()
    assert "VENV ?= .venv\n" in makefile
    assert "`source .venv/bin/activate`" in readme
    shell = ["bash", "-c", f'source "{home.folder}/bin/activate" && medzoo list']
    done = subprocess.run(shell, capture_output=True, text=True, env=home.env, cwd=home.folder, check=False)
    assert done.returncode == 0, done.stderr
    assert "padim" in done.stdout


@pytest.mark.parametrize("kind", ["wheel", "editable"])
@pytest.mark.parametrize("name", NAMES)
def test_every_package_installs_alone_and_the_others_leave_no_trace(
    home: Any, wheels: Path, name: str, kind: str
) -> None:
    # The environment of the tests above has what all packages need of others; only medzoo's own come and go.
    home.call("pip", "uninstall", "-q", "-y", *home.distributions())
    own = sorted({"medzoo-core", f"medzoo-{name}"})
    if kind == "wheel":
        home.call("pip", "install", "-q", "--no-deps", "--no-index", "--find-links", wheels, *own)
    else:
        home.call("pip", "install", "-q", "-c", ROOT / "constraints.txt", "hatchling", "editables")
        folders = [ROOT / "packages" / distribution.removeprefix("medzoo-") for distribution in own]
        sources = [part for folder in folders for part in ("-e", folder)]
        home.call("pip", "install", "-q", "--no-deps", "--no-build-isolation", *sources)
    home.call("python", "-c", f"import medzoo.core, medzoo.{name}")
    assert home.distributions() == own
    assert home.packages() <= {f"medzoo-{name}", "medzoo-core"}
