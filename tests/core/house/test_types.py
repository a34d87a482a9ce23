"""How many lines of the packages give up types, and how many have mypy look away; neither number may grow."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CEILINGS = {
    "core": (31, 2),
    "core/benchmark": (0, 0),
    "core/convert": (0, 0),
    "core/evaluate": (0, 0),
    "core/export": (17, 0),
    "core/files": (0, 0),
    "core/pack": (0, 0),
    "landmark": (3, 1),
    "anomaly": (2, 0),
    "adversarial": (36, 0),
    "fairness": (8, 4),
    "vlm": (43, 1),
}
"""Of each part: lines with `Any`, imports and comments included, and lines with `type: ignore`. Lower them at will."""


def sources(part: str) -> list[Path]:
    """The files of a part of the house, without those of the parts inside it."""
    package, _, folder = part.partition("/")
    inner = [ROOT / f"packages/{p}/src/medzoo/{p}/{f}" for p, _, f in (c.partition("/") for c in CEILINGS) if f]
    place = ROOT / f"packages/{package}/src/medzoo/{package}" / folder
    return [
        path for path in place.rglob("*.py") if not any(path.is_relative_to(other) for other in inner if other != place)
    ]


@pytest.mark.parametrize(("part", "ceiling"), CEILINGS.items())
def test_lines_without_types_become_fewer(part: str, ceiling: tuple[int, int]) -> None:
    lines = [line for path in sources(part) for line in path.read_text(encoding="utf8").splitlines()]
    found = (sum(bool(re.search(r"\bAny\b", line)) for line in lines), sum("type: ignore" in line for line in lines))
    assert found[0] <= ceiling[0], f"{found[0]} lines of {part} with Any, at most {ceiling[0]}: give them a type"
    assert found[1] <= ceiling[1], f"{found[1]} lines of {part} with type: ignore, at most {ceiling[1]}: mend the type"


def test_any_has_no_other_name() -> None:
    renamed = re.compile(r"^\w+(: TypeAlias)? = Any\b|\bAny as \w+", re.MULTILINE)
    assert not [path for part in CEILINGS for path in sources(part) if renamed.search(path.read_text(encoding="utf8"))]
