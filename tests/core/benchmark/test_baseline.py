"""The table in `.ci/` still holds: a few steps of a model give what they gave when it was made."""

from __future__ import annotations

import json
from pathlib import Path

from medzoo.core.cli import main

BASELINE = Path(__file__).parents[3] / ".ci" / "benchmark.json"


def test_a_smoke_run_is_within_the_seed_spread_of_the_committed_table(workdir: Path) -> None:
    arguments = ["benchmark", "--models", "padim", "--seeds", "2", "--budget", "smoke", "-o", "out"]
    assert main([*arguments, "--compare", str(BASELINE)]) == 0
    rows = {row["model"]: row for row in json.loads(BASELINE.read_text())["rows"]}
    (row,) = json.loads(Path("out/benchmark.json").read_text())["rows"]
    assert set(row["metrics"]) == set(rows["padim"]["metrics"])  # so that something was compared
    assert len(rows["padim"]["seeds"]) == 3
