"""Print the declared floor of every requirement as a constraint: `pip install -c` then takes the oldest versions."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]


def declared() -> dict[str, dict[str, list[Requirement]]]:
    """Return the requirements of each distribution by extra; those that are always needed stand under ''."""
    found: dict[str, dict[str, list[Requirement]]] = {}
    for file in [ROOT / "pyproject.toml", *sorted(ROOT.glob("packages/*/pyproject.toml"))]:
        project = tomllib.loads(file.read_text(encoding="utf8"))["project"]
        parts = {"": project.get("dependencies", []), **project.get("optional-dependencies", {})}
        found[project["name"]] = {extra: [Requirement(text) for text in texts] for extra, texts in parts.items()}
    return found


def floors() -> dict[str, Version]:
    """Return the highest floor that any distribution declares of each requirement that is not medzoo's own.

    Raises:
        ValueError: A requirement has no floor.
    """
    found: dict[str, Version] = {}
    for parts in declared().values():
        for wanted in (requirement for requirements in parts.values() for requirement in requirements):
            name = canonicalize_name(wanted.name)
            if name.startswith("medzoo"):
                continue
            lowest = [Version(part.version) for part in wanted.specifier if part.operator == ">="]
            if not lowest:
                raise ValueError(f"{wanted}: expected a floor, NAME>=VERSION")
            found[name] = max([*lowest, *([found[name]] if name in found else [])])
    return found


if __name__ == "__main__":
    print("\n".join(f"{name}=={version}" for name, version in sorted(floors().items())))
