"""`medzoo compare`: differences of two runs on the same cases."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_rel

from medzoo.core.cli import main
from medzoo.core.evaluate.paired import differences, read_tested
from medzoo.core.io import write_csv


def write(name: str, errors: np.ndarray, source: str = "s", unit: str = "mm", patients: int = 1000) -> None:
    rows = [
        {"id": f"i{k}", "source": source, "patient": f"p{k % patients}", "error": v, "unit": unit}
        for k, v in enumerate(errors.tolist())
    ]
    write_csv(f"{name}/samples.csv", rows)


def test_a_shift_that_cases_share_is_seen_though_it_is_far_smaller_than_their_spread(workdir: Path) -> None:
    rng = np.random.default_rng(0)
    hard = rng.gamma(2, 2, 60)
    write("a", hard)
    write("b", hard - 0.2 + rng.normal(0, 0.3, 60))
    (part,) = differences(read_tested("a"), read_tested("b"))
    value, low, high = part.change
    assert value == pytest.approx(part.second - part.first)
    assert part.clear
    assert high < 0
    first, second = (list(read_tested(name).errors.values()) for name in "ab")
    normal = ttest_rel(second, first).confidence_interval(0.95)
    assert (low, high) == pytest.approx((normal.low, normal.high), abs=0.03)


def test_the_interval_of_equal_runs_covers_zero_about_as_often_as_it_says(workdir: Path) -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(60):
        hard = rng.gamma(2, 2, 40)
        write("a", hard + rng.normal(0, 0.5, 40))
        write("b", hard + rng.normal(0, 0.5, 40))
        covered += not differences(read_tested("a"), read_tested("b"), resamples=300)[0].clear
    assert 51 <= covered <= 60  # of 57 that are expected


def test_cases_of_one_patient_are_no_more_evidence_than_one(workdir: Path) -> None:
    rng = np.random.default_rng(2)
    base, moved = rng.gamma(2, 2, 10), rng.normal(0.3, 1, 10)
    widths = []
    for copies in (1, 8):
        write("a", np.tile(base, copies), patients=10)
        write("b", np.tile(base + moved, copies), patients=10)
        (part,) = differences(read_tested("a"), read_tested("b"))
        widths.append(part.change[2] - part.change[1])
    assert widths[1] == pytest.approx(widths[0], rel=0.1)


def test_patients_that_one_of_the_runs_names_are_those_of_both(workdir: Path) -> None:
    rng = np.random.default_rng(4)
    base, moved = np.tile(rng.gamma(2, 2, 10), 8), np.tile(rng.normal(0.3, 1, 10), 8)
    write("b", base + moved, patients=10)
    found = []
    for named in (True, False):
        write("a", base, patients=10)
        if not named:
            rows = [line.split(",") for line in Path("a/samples.csv").read_text().splitlines()]
            place = rows[0].index("patient")
            rows = [[*row[:place], *row[place + 1 :]] for row in rows]
            Path("a/samples.csv").write_text("\n".join(map(",".join, rows)))
        found.append(differences(read_tested("a"), read_tested("b"))[0].change)
    assert found[0] == found[1]


def test_scores_are_compared_by_auroc_source_by_source_and_what_is_not_found_is_counted(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(3)
    for name, gain in (("a", 0.2), ("b", 3.0)):
        rows = []
        for k in range(80):
            score = rng.normal(gain * (k % 2))
            wrong = int((score > gain / 2) != (k % 2 == 1))
            rows.append({"id": str(k // 2), "source": f"s{k % 4 // 2}{k % 2}"[:2], "patient": "", "error": wrong})
            rows[-1] |= {"label": k % 2, "score": score, "id": f"{k}"}
        write_csv(f"{name}/samples.csv", rows)
    found = {(part.part, part.figure): part for part in differences(read_tested("a"), read_tested("b"))}
    assert set(found) == {("all", "error"), ("s0", "error"), ("s0", "auroc"), ("s1", "error"), ("s1", "auroc")}
    assert found["s0", "auroc"].clear
    assert found["s0", "auroc"].second > 0.9
    write("x", np.array([1.0, math.inf, 2.0, 3.0]))
    write("y", np.array([1.5, 1.0, 1.0]))
    assert main(["compare", "x", "y", "-o", "c.json"]) == 0
    out = capsys.readouterr().out
    assert "of 3 cases the second has a smaller error in 2 and a larger one in 1" in out
    assert "left out: 1 cases of x/samples.csv" in out
    assert "x/samples.csv: 1 cases without a finite error" in out
    (row,) = json.loads(Path("c.json").read_text())["differences"]
    assert (row["cases"], row["first"], row["second"]) == (2, 1.5, 1.25)


def test_the_score_of_a_class_by_its_name_is_compared_too(workdir: Path) -> None:
    labels = ["malignant" if k % 2 else "benign" for k in range(12)]
    write_csv("truth.csv", [{"id": k, "label": label} for k, label in enumerate(labels)])
    for name, gain in (("a", 0.0), ("b", 1.0)):
        scores = [{"id": k, "score": 0.1 * (k % 5) + gain * (k % 2)} for k in range(12)]
        write_csv(f"{name}.csv", scores)
        assert main(["evaluate", f"{name}.csv", "truth.csv", "--positive", "malignant", "-o", name]) == 0
    found = {part.figure: part for part in differences(read_tested("a"), read_tested("b"))}
    assert found["auroc"].second == 1
    assert found["auroc"].second > found["auroc"].first


def test_what_cannot_be_compared_costs_one_line(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("a", np.ones(3))
    write("b", np.ones(3), source="t")
    write("c", np.ones(3), unit="px")
    Path("d").mkdir()
    write_csv("e/samples.csv", [{"id": "i0", "source": "s", "error": "bad"}])
    write_csv("f/samples.csv", [{"id": "i0", "source": "s", "error": value} for value in (1, 2)])
    wanted = {
        "f": "repeats id, source",
        "b": "has no case of a/",
        "c": "in px, that of",
        "d": "has no samples.csv",
        "e": "expected a number",
    }
    for name, message in wanted.items():
        assert main(["compare", "a", name]) == 2
        err = capsys.readouterr().err.strip()
        assert message in err
        assert "\n" not in err
    assert main(["compare", "a"]) == 2
