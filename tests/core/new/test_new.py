"""`medzoo new`: what it writes is whole, and works as it is."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from medzoo.core.cli import main

STEPS = """
import sys
from medzoo.core.cli import main
assert main(["fit", "--model", "my-blobs", "--trainer.max_epochs", "1", "--run_dir", "run", "--quiet"]) == 0
assert main(["my-blobs-draw", "pictures", "3"]) == 0
assert main(["predict", "run/checkpoints/last.ckpt", "pictures", "-o", "answers"]) == 0
assert main(["info", "my-blobs"]) == 0
"""


def installed(folder: Path) -> dict[str, str]:
    """Return an environment in which the package is found as if it were installed."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    groups = project["entry-points"]
    entries = "".join(f"[{g}]\n" + "".join(f"{k} = {v}\n" for k, v in group.items()) for g, group in groups.items())
    info = folder / "src" / "medzoo_my_blobs-0.1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text(entries)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder / "src"), os.environ.get("PYTHONPATH", "")])}


@pytest.fixture
def package(workdir: Path) -> Path:
    assert main(["new", "my-blobs"]) == 0
    return workdir / "medzoo-my-blobs"


def test_every_file_is_filled_in_and_every_entry_point_leads_to_something(package: Path) -> None:
    files = {file.relative_to(package).as_posix(): file for file in package.rglob("*") if file.is_file()}
    assert {"pyproject.toml", "README.md", "tests/test_medzoo_my_blobs.py", "src/medzoo_my_blobs/card.md"} <= set(files)
    for name, file in files.items():
        assert not re.search(r"@[A-Z]+@", name + file.read_text()), name
    project = tomllib.loads(files["pyproject.toml"].read_text())["project"]
    assert project["name"] == "medzoo-my-blobs"
    targets = [target for group in project["entry-points"].values() for target in group.values()]
    assert len(targets) == 3
    for target in targets:
        module, _, attribute = target.partition(":")
        tree = ast.parse((package / "src" / f"{module.replace('.', '/')}.py").read_text())
        assert attribute in {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}


def test_it_fits_draws_and_predicts_as_it_is(package: Path) -> None:
    subprocess.run([sys.executable, "-c", STEPS], check=True, env=installed(package))
    assert Path("answers/predictions.csv").is_file()


@pytest.mark.slow
def test_it_passes_its_own_tests_and_the_contracts(package: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(package / "tests")]
    subprocess.run(command, check=True, env=installed(package), cwd=package)


@pytest.mark.packaging
def test_it_installs(package: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", "there"]
    subprocess.run([*pip, str(package)], check=True)
    assert Path("there/medzoo_my_blobs/configs/default.yaml").is_file()
    assert Path("there/medzoo_my_blobs/card.md").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["My_Blobs"], "My_Blobs: expected at most 40 small letters"),
        (["a/b"], "expected at most 40 small letters"),
        (["classifier"], "there is a model of that name"),
        (["toy"], "there is a model of that name"),
        (["x", "y"], "needs one NAME, got x y"),
        (["x", "-o", "there"], "-o there: exists"),
    ],
)
def test_a_mistake_costs_one_line(
    arguments: list[str], message: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("there").mkdir()
    assert main(["new", *arguments]) == 2
    err = capsys.readouterr().err.strip()
    assert message in err
    assert "\n" not in err
    assert [path.name for path in workdir.iterdir()] == ["there"]
