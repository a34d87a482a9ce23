"""Each promise of the README links to tests that exist and that are not skipped or slow altogether."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SECTION = (
    (ROOT / "README.md").read_text(encoding="utf8").partition("## What can be relied on\n")[2].partition("\n## ")[0]
)
PROMISES = re.findall(r"^- (.*?)(?=\n- |\n\n|\Z)", SECTION, re.MULTILINE | re.DOTALL)


def quick_tests(path: Path) -> list[str]:
    """Names of the tests of a file, or of contract classes, that the usual run includes."""
    found = []
    for node in ast.parse(path.read_text(encoding="utf8")).body:
        marks = [ast.unparse(mark) for mark in getattr(node, "decorator_list", [])]
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name.lower().startswith("test"):
            found += [node.name] if "pytest.mark.slow" not in marks else []
    return found


def test_there_are_promises() -> None:
    assert len(PROMISES) > 8


@pytest.mark.parametrize("promise", PROMISES, ids=lambda text: text[:40])
def test_each_promise_links_to_tests(promise: str) -> None:
    for clause in re.split(r";\s+(?!exit code)|\.\s", promise):
        links = re.findall(r"\]\(([^)]+)\)", clause)
        assert links, f"no link to a test: {clause}"
        for link in links:
            assert link.startswith("tests/"), link
            assert quick_tests(ROOT / link), f"{link} has no test that the usual run includes"
