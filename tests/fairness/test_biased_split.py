"""Splits of a chosen bias: exact counts, no patient in two parts, and what is asked for in vain."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medzoo.core.classifier.data.table import ClassesTable
from medzoo.core.cli import main
from medzoo.core.errors import ConfigError
from medzoo.core.io import write_image
from medzoo.fairness.biased_split.split import Wanted, biased_split, shared_patients, tables


def cohort(n: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    label, bias = rng.integers(-1, 2, n), rng.integers(-1, 2, n)
    return label, bias, [f"p{p}" for p in rng.integers(0, n // 3, n)]


@pytest.mark.parametrize("seed", range(5))
def test_counts_are_exact_and_no_patient_is_in_two_parts(seed: int) -> None:
    label, bias, patients = cohort(seed=seed)
    parts = biased_split(label, bias, patients, Wanted(200, 0.9, 20, 40), seed)
    assert shared_patients(parts, patients) == []
    found = tables(parts, label, bias)
    assert found["train"]["counts"] == [[200, 22], [22, 200]]
    assert found["val"]["counts"] == [[20, 20], [20, 20]]
    assert found["test"]["counts"] == [[40, 40], [40, 40]]
    assert found["train"]["phi"] == pytest.approx((200**2 - 22**2) / 222**2)
    assert found["test"]["phi"] == 0
    assert all(part == "" for part, y, b in zip(parts, label, bias, strict=True) if y < 0 or b < 0)
    assert parts == biased_split(label, bias, patients, Wanted(200, 0.9, 20, 40), seed)


def test_what_there_is_no_room_for_is_named_with_what_there_is() -> None:
    label, bias, _ = cohort(200)
    have = int(((label == 0) & (bias == 0)).sum())
    with pytest.raises(
        ConfigError, match=f"train needs 500 images of label 0 and bias 0, there is room for {have - 9}"
    ):
        biased_split(label, bias, [""] * 200, Wanted(500, 0.9, 4, 5))


def test_a_leak_is_found() -> None:
    assert shared_patients(["train", "test", "", "val"], ["a", "a", "b", "c"]) == ["a"]
    assert shared_patients(["train", "test"], ["", ""]) == []


def test_the_table_is_read_by_classes_table(workdir: Path) -> None:
    label, bias, patients = cohort(300)
    lines = ["name,sick,drain,who"]
    Path("images").mkdir()
    for i in range(300):
        write_image(Path(f"images/i{i}.png"), np.random.default_rng(i).random((8, 8)).astype(np.float32))
        cells = ["" if v < 0 else str(v) for v in (label[i], bias[i])]
        lines.append(f"i{i}.png,{cells[0]},{cells[1]},{patients[i]}")
    Path("all.csv").write_text("\n".join(lines))
    flags = ["--label", "sick", "--bias", "drain", "--id", "name", "--patient", "who", "--aligned", "9", "--rho", "0.9"]
    assert main(["biased-split", "all.csv", *flags, "--val", "2", "--test", "3", "--out", "split.csv"]) == 0
    card = json.loads(Path("split.json").read_text())
    assert card["parts"]["train"]["counts"] == [[9, 1], [1, 9]]
    assert card["shared_patients"] == 0
    table = str(Path("split.csv").resolve())
    data = ClassesTable("images", table, "name", ["sick"], "who", groups=["drain"])
    assert {part: len(items) for part, items in data.cases.parts.items()} == {"train": 20, "val": 8, "test": 12}
    assert data.check() == []
    assert len(Path("split.csv").read_text().splitlines()) == 41


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--rho", "0.4"], "--rho 0.4: expected a number above 0.5 and below 1"),
        (["--rho", "0.9", "--aligned", "0"], "--aligned 0: expected a whole number above 0"),
        (["--rho", "0.9", "--seeds", "1"], "no option --seeds; did you mean --seed?"),
        (["--rho", "0.9", "--bias", "y"], "a column is named twice"),
        (["--rho", "0.9", "--out", "./t.csv"], "--out t.csv: is the table itself"),
    ],
)
def test_wrong_arguments_cost_one_line(
    workdir: Path, capsys: pytest.CaptureFixture[str], flags: list[str], words: str
) -> None:
    Path("t.csv").write_text("id,y,b\n1,0,1\n2,2,0\n")
    assert main(["biased-split", "t.csv", "--label", "y", "--bias", "b", "--aligned", "5", *flags]) == 2
    err = capsys.readouterr().err.strip()
    assert words in err
    assert "\n" not in err
