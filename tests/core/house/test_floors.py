"""The rules of the house: who may import whom, and what stays light."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = sorted(p.name for p in (ROOT / "packages").iterdir() if p.is_dir())
SOURCES = sorted(ROOT.glob("packages/*/src/medzoo/**/*.py"))
GROUND = {"metrics", "ops", "geometry", "io", "phantoms", "plots"}


def imported(path: Path, top_level_only: bool = False) -> set[str]:
    """Names of the modules that a file imports, with what it takes from them."""
    tree = ast.parse(path.read_text(encoding="utf8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_there_is_no_file_that_would_close_the_namespace() -> None:
    assert not list(ROOT.glob("packages/*/src/medzoo/__init__.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_core_and_never_each_other(package: str) -> None:
    others = [f"medzoo.{p}" for p in PACKAGES if p not in (package, "core")]
    for path in SOURCES:
        if f"/packages/{package}/" in str(path):
            bad = [i for i in imported(path) for o in others if i == o or i.startswith(o + ".")]
            assert not bad, f"{path} imports {bad}"


def test_the_ground_of_core_knows_nothing_of_runs_and_the_command_line() -> None:
    for path in SOURCES:
        room = path.relative_to(ROOT / "packages").parts
        if room[0] == "core" and room[4] in GROUND:
            bad = [
                i for i in imported(path) if i.startswith(("medzoo.core.cli", "medzoo.core.runs", "medzoo.core.method"))
            ]
            assert not bad, f"{path} imports {bad}"


def test_networks_and_losses_are_plain_torch() -> None:
    for path in SOURCES:
        if path.name in ("network.py", "losses.py"):
            bad = [
                i
                for i in imported(path)
                if i.split(".")[0] in ("lightning", "jsonargparse") or i.startswith("medzoo.core.io")
            ]
            assert not bad, f"{path} imports {bad}"


@pytest.mark.parametrize(
    "light", ["registry.py", "cards.py", "errors.py", "__init__.py", "cli/__init__.py", "cli/request.py"]
)
def test_light_modules_import_nothing_heavy(light: str) -> None:
    heavy = {
        "torch",
        "lightning",
        "timm",
        "monai",
        "torchmetrics",
        "matplotlib",
        "numpy",
        "scipy",
        "jsonargparse",
        "rich",
    }
    bad = {
        i
        for i in imported(ROOT / "packages/core/src/medzoo/core" / light, top_level_only=True)
        if i.split(".")[0] in heavy
    }
    assert not bad


def test_nothing_is_unpickled_or_evaluated() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            assert name not in ("eval", "exec", "pickle.load", "pickle.loads", "os.system", "yaml.unsafe_load"), path
            if name == "torch.load":
                assert "weights_only=True" in ast.unparse(node), path
            assert "shell=True" not in ast.unparse(node), path
