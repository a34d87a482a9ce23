"""`medzoo audit --threshold by-group:FILE`: groups are judged by thresholds fitted on other cases of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medzoo.core.errors import MedzooError
from medzoo.fairness.audit.threshold import stretched
from medzoo.fairness.audit.verb import run

OPTIONS = ("--label", "y", "--score", "p", "--group", "sex", "--group", "site", "--repeats", "100")
UNIT = st.floats(0, 1)


def table(path: Path, seed: int, men: float = 0.3) -> tuple[Path, dict[str, np.ndarray]]:
    """A table whose scores of men are lower by `men`, so that one threshold finds fewer of them."""
    rng = np.random.default_rng(seed)
    sex, site = rng.choice(["f", "m"], 600), rng.choice(["a", "b"], 600)
    site[:5] = "rare"
    y = (rng.random(600) < 0.4).astype(int)
    p = np.clip(0.35 + 0.3 * y - men * (sex == "m") + rng.normal(0, 0.12, 600), 0, 1).round(6)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["y", "p", "sex", "site"])
        writer.writerows(zip(y, p, sex, site, strict=True))
    return path, {"y": y, "p": p, "sex": sex, "site": site}


def youden(p: np.ndarray, y: np.ndarray) -> float:
    gains = {t: (p[y == 1] >= t).mean() - (p[y == 0] >= t).mean() for t in np.unique(p)}
    return float(max(gains, key=lambda t: (round(gains[t], 12), -t)))


def test_rates_are_those_of_each_groups_own_threshold(workdir: Path) -> None:
    path, cases = table(workdir / "test.csv", 0)
    other, fitted = table(workdir / "validation.csv", 1)
    run([str(path), *OPTIONS])
    plain = json.loads(Path("audit/audit.json").read_text(encoding="utf-8"))
    run([str(path), *OPTIONS, "--threshold", f"by-group:{other}", "--out", "own"])
    report: dict[str, Any] = json.loads(Path("own/audit.json").read_text(encoding="utf-8"))
    for attribute in report["attributes"]:
        name = attribute["name"]
        thresholds = report["threshold"]["by_group"][name]
        assert set(thresholds) == {"f", "m"} if name == "sex" else {"a", "b"}  # five cases fit none
        for cell in attribute["groups"]:
            here, there = cases[name] == cell["name"], fitted[name] == cell["name"]
            t = youden(fitted["p"][there], fitted["y"][there]) if cell["name"] in thresholds else None
            assert t is None or thresholds[cell["name"]] == t
            t = report["threshold"]["value"] if t is None else t
            positive = here & (cases["y"] == 1)
            assert cell["metrics"]["tpr"]["value"] == pytest.approx((cases["p"][positive] >= t).mean(), abs=1e-12)
            negative = here & (cases["y"] == 0)
            assert cell["metrics"]["tnr"]["value"] == pytest.approx((cases["p"][negative] < t).mean(), abs=1e-12)
    before, after = plain["attributes"][0], report["attributes"][0]
    assert after["gaps"]["eodd_max"]["value"] < 0.25 * before["gaps"]["eodd_max"]["value"]
    for old, new in zip(before["groups"], after["groups"], strict=True):
        assert new["metrics"]["auc"]["value"] == pytest.approx(old["metrics"]["auc"]["value"], abs=1e-12)
    assert "thresholds by sex" in Path("own/audit.html").read_text(encoding="utf-8")


@given(scores=st.lists(UNIT, min_size=1, max_size=30), own=UNIT, common=st.floats(0.01, 0.99))
def test_stretching_keeps_order_and_side(scores: list[float], own: float, common: float) -> None:
    before = np.sort(np.array(scores))
    after = stretched(before, own, common)
    assert ((after >= common) == (before >= own)).all()
    assert (np.diff(after) >= 0).all()
    assert after.min() >= 0
    assert after.max() <= 1


def test_scores_without_a_threshold_are_one_line(workdir: Path) -> None:
    path, _ = table(workdir / "test.csv", 0)
    flat = workdir / "flat.csv"
    flat.write_text("y,p,sex,site\n" + "".join(f"{k % 2},1,f,a\n" for k in range(40)), encoding="utf-8")
    with pytest.raises(MedzooError, match="best threshold of 1") as caught:
        run([str(path), *OPTIONS, "--threshold", f"by-group:{flat}"])
    assert len(str(caught.value).splitlines()) == 1
