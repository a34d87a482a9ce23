"""The audit is green only where every distribution was asked about."""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def script() -> ModuleType:
    spec = spec_from_file_location("audit", Path(__file__).parents[3] / ".ci" / "audit.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CLEAN = {"name": "numpy", "version": "2.4.6", "vulns": []}
SKIPPED = {"name": "numpy", "skip_reason": "Dependency not found on PyPI and could not be audited: numpy (2.4.6)"}
FAULTY = {"name": "lightning", "version": "2.6.4", "vulns": [{"id": "CVE-2026-58659", "fix_versions": ["2.6.6"]}]}


@pytest.mark.parametrize(
    ("asked", "code", "text"),
    [
        ([CLEAN, CLEAN], 0, "2 distributions, no known vulnerability"),
        ([CLEAN, FAULTY], 1, "lightning 2.6.4: CVE-2026-58659, fixed in 2.6.6"),
        ([CLEAN, SKIPPED], 2, "1 of 2 distributions were not audited"),  # pip-audit ends with 0 here
        ([SKIPPED, FAULTY], 1, "CVE-2026-58659"),
        ([], 2, "0 of 0"),
    ],
)
def test_a_report_is_green_only_where_all_were_asked(asked: list[Any], code: int, text: str) -> None:
    found, lines = script().judged(json.dumps({"dependencies": asked, "fixes": []}), "")
    assert found == code
    assert text in "\n".join(lines)


@pytest.mark.parametrize("report", ["", "Traceback", "[]", "{}"])
def test_a_service_that_does_not_answer_is_no_audit(report: str) -> None:
    code, lines = script().judged(report, "Traceback\nConnectionError: api.osv.dev\n")
    assert code == 2
    assert lines == [
        "audit: nothing was audited, the vulnerability service did not answer: ConnectionError: api.osv.dev"
    ]
