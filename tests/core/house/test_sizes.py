"""A method is read in an hour: how long files may be."""

from __future__ import annotations

from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).parents[3]
LINES = {
    path: len(path.read_text(encoding="utf8").splitlines())
    for path in sorted(ROOT.glob("packages/*/src/**/*.py"))
    if "template" not in path.parts
}


def test_no_module_of_a_method_is_longer_than_200_lines() -> None:
    methods = [path for path in LINES if path.name == "module.py" and (path.parent / "card.md").is_file()]
    assert len(methods) > 20
    assert not {str(path.relative_to(ROOT)): LINES[path] for path in methods if LINES[path] > 200}


def test_files_are_short() -> None:
    assert median(LINES.values()) <= 120
    assert quantiles(LINES.values(), n=10)[-1] <= 260
    assert not {str(path.relative_to(ROOT)): count for path, count in LINES.items() if count > 350}
