"""Means and spreads of a benchmark, and which of them are marked."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_ind

from medzoo.core.benchmark.figures import Mark, headlines, limits, spread, summary
from medzoo.core.benchmark.figures import compare as compared
from medzoo.core.benchmark.plan import Cell
from medzoo.core.benchmark.report import markdown


def compare(rows: list[dict[str, Any]], earlier: list[dict[str, Any]], speed: bool) -> list[Mark]:
    return compared(rows, earlier, speed)[0]


def row(values: list[float], speed: float = 1.0, memory: float = 500.0) -> dict[str, Any]:
    more = {"speed": spread([speed] * len(values)), "memory_mb": spread([memory] * len(values))}
    return {"model": "m", "data": "d", "seeds": [0], "metrics": {"x/dice": spread(values)}, **more}


@pytest.mark.parametrize("shift", np.linspace(0.0, 0.2, 21))
def test_a_mean_is_marked_exactly_where_the_two_sample_t_test_rejects_at_one_percent(shift: float) -> None:
    earlier = [0.71, 0.74, 0.69]
    values = [value + shift for value in (0.70, 0.72, 0.745)]
    low, high = limits(values, earlier, tolerance=0.0)
    assert (not low <= np.mean(values) <= high) == (ttest_ind(values, earlier).pvalue < 0.01)


def test_a_change_within_the_tolerance_is_never_marked_and_one_beyond_it_is_without_any_spread() -> None:
    assert not compare([row([0.8, 0.8])], [row([0.803, 0.803])], speed=True)
    marks = compare([row([0.8, 0.8])], [row([0.81, 0.81])], speed=True)
    assert [(mark.figure, mark.value) for mark in marks] == [("x/dice", 0.8)]
    assert compare([row([0.8])], [row([0.81])], speed=True)  # one seed against one


def test_speed_is_marked_where_it_falls_and_memory_where_it_grows() -> None:
    base = [row([0.8, 0.8])]
    assert [m.figure for m in compare([row([0.8, 0.8], speed=0.4)], base, speed=True)] == ["speed"]
    assert not compare([row([0.8, 0.8], speed=0.4)], base, speed=False)
    assert not compare([row([0.8, 0.8], speed=9.0, memory=100.0)], base, speed=True)
    assert [m.figure for m in compare([row([0.8, 0.8], memory=600.0)], base, speed=True)] == ["memory_mb"]


def test_a_model_that_the_baseline_lacks_is_not_compared() -> None:
    assert compared([row([0.1])], [{**row([0.9]), "model": "other"}], speed=True) == ([], 0)
    assert compared([row([0.9])], [row([0.9])], speed=True) == ([], 1)


def test_a_figure_that_is_no_longer_there_is_marked() -> None:
    """As one that was not finite with one of the seeds."""
    (mark,) = compare([{**row([0.8, 0.8]), "metrics": {}}], [row([0.8, 0.8])], speed=True)
    assert "x/dice is not there, outside 0.796 to 0.804 of the baseline" in str(mark)


def test_a_table_shows_the_mean_of_the_sources_or_each_source_and_otherwise_everything_finite() -> None:
    anomaly = {"gear/image_auroc": 0.8, "gear/image_auroc_low": 0.7, "mean/image_auroc": 0.75, "gear/aupro": 0.5}
    assert headlines(anomaly) == {"mean/image_auroc": 0.75}
    assert headlines({"head/mre_mm": 3.0, "stage1/head/mre_mm": 9.0, "hand/mre_mm": None}) == {"head/mre_mm": 3.0}
    assert headlines({"toy/mse": 1.0, "toy/other": math.nan}) == {"toy/mse": 1.0}


def test_a_summary_has_the_spread_over_the_seeds_of_each_model_and_shows_in_markdown() -> None:
    results = {
        Cell("m", "d", seed): {"metrics": {"x/dice": value}, "speed": 2.0, "memory_mb": 1.0, "seconds": 1.0}
        for seed, value in enumerate((0.5, 0.7, 0.9))
    }
    rows = summary(results)
    assert rows[0]["seeds"] == [0, 1, 2]
    assert rows[0]["metrics"]["x/dice"] == {
        "mean": pytest.approx(0.7),
        "sd": pytest.approx(0.2),
        "values": [0.5, 0.7, 0.9],
    }
    marks = compare(rows, [row([0.01, 0.02, 0.03])], speed=False)
    about = {"medzoo": "1", "commit": None, "budget": "quick", "date": "d", "command": "c", "rows": rows}
    text = markdown({**about, "failed": {"m-d-3": "no | luck"}}, marks)
    assert "| m | d | 3 | x/dice | 0.7 ± 0.2 |" in text
    assert "✗" in text
    assert r"no \| luck" in text


def test_the_memory_of_a_cell_is_not_that_of_the_process_that_started_it() -> None:
    held = bytearray(b"x" * 600 * 2**20)
    line = "from medzoo.core.benchmark.cell import peak_memory; print(peak_memory())"
    shown = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True).stdout
    assert 5 < float(shown) < 500 < len(held) / 2**20
