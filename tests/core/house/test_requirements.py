"""What is imported is declared, floors have no known fault of security, and the tested set holds every requirement."""

from __future__ import annotations

import ast
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[3]
NAMES = sorted(p.parent.name for p in (ROOT / "packages").glob("*/pyproject.toml"))
DISTRIBUTIONS = {
    "PIL": "pillow",
    "yaml": "pyyaml",
    "sklearn": "scikit-learn",
    "open_clip": "open-clip-torch",
}  # where a module's name is another
ELSEWHERE = ("anomalib", "worker.py")  # runs in an environment of anomalib, whose requirements exclude medzoo's
FIXED = {"lightning": "2.6.6", "monai": "1.6", "pillow": "12.3", "pydicom": "3.0.2"}
"""The first versions without the faults of security that were known when the floors were set."""


def loaded() -> ModuleType:
    """The script that `make oldest` runs."""
    spec = spec_from_file_location("floors", ROOT / ".ci" / "floors.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FLOORS = loaded()
DECLARED: dict[str, dict[str, list[Requirement]]] = FLOORS.declared()


def third_party(folder: Path) -> dict[str, str]:
    """Each module of others that files of a folder import, with a file that does; the distribution as the key."""
    found: dict[str, str] = {}
    for path in sorted(path for path in folder.rglob("*.py") if path.parts[-2:] != ELSEWHERE):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
                names = [node.args[0].value] if isinstance(node.args[0], ast.Constant) else []
            known = {*sys.stdlib_module_names, "medzoo", "", "_typeshed"}  # the last exists for type checkers alone
            for top in {str(name).split(".")[0] for name in names} - known:
                found[canonicalize_name(DISTRIBUTIONS.get(top, top))] = f"{path.relative_to(ROOT)}:{node.lineno}"
    return found


def named(requirements: list[Requirement]) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in requirements}


@pytest.mark.parametrize("name", NAMES)
def test_a_distribution_declares_what_its_sources_import(name: str) -> None:
    declared = {wanted for parts in DECLARED[f"medzoo-{name}"].values() for wanted in named(parts)}
    imported = third_party(ROOT / "packages" / name / "src")
    assert not {module: place for module, place in imported.items() if module not in declared}


@pytest.mark.parametrize("name", NAMES)
def test_a_distribution_declares_nothing_that_it_does_not_use(name: str) -> None:
    needed = named(DECLARED[f"medzoo-{name}"][""]) - {"medzoo-core"}
    assert not needed - third_party(ROOT / "packages" / name / "src").keys()


def test_the_tests_import_what_the_extra_test_and_the_packages_bring() -> None:
    brought = named(DECLARED["medzoo"]["test"]) | {n for name in NAMES for n in named(DECLARED[f"medzoo-{name}"][""])}
    own = {path.stem for path in (ROOT / "tests").rglob("*.py")} | {"tests", "medzoo-toy"}
    optional = {"monai", "torchvision", "triton"}  # by way of a requirement, or skipped where it is not there
    imported = third_party(ROOT / "tests")
    missing = {module: place for module, place in imported.items() if module not in brought | own | optional}
    assert not missing


def test_no_floor_admits_a_version_with_a_known_fault_of_security() -> None:
    floors = [
        (distribution, requirement)
        for distribution, parts in DECLARED.items()
        for requirements in parts.values()
        for requirement in requirements
        if canonicalize_name(requirement.name) in FIXED
    ]
    assert {canonicalize_name(requirement.name) for _, requirement in floors} == FIXED.keys()
    for distribution, requirement in floors:
        lowest = max(Version(part.version) for part in requirement.specifier if part.operator == ">=")
        assert lowest >= Version(FIXED[canonicalize_name(requirement.name)]), f"{distribution}: {requirement}"


def test_every_requirement_has_a_version_in_the_tested_set_that_meets_it() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    tested = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in pins}
    for distribution, parts in DECLARED.items():
        for requirement in (r for requirements in parts.values() for r in requirements):
            name = canonicalize_name(requirement.name)
            if not name.startswith("medzoo"):
                assert name in tested, f"constraints.txt has no version of {requirement}, which {distribution} needs"
                assert requirement.specifier.contains(tested[name]), f"{distribution}: {requirement}"


def test_the_oldest_set_has_the_highest_of_all_floors() -> None:
    floors = FLOORS.floors()
    assert floors["lightning"] == Version("2.6.6")
    assert floors["pyyaml"] == Version("6")
    assert not [name for name in floors if name.startswith("medzoo")]
