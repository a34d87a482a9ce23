"""The layout of EchoNet-LVH: calipers into points, the scale of a clip, its own split, and what bad rows cost."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medzoo.core.errors import DataError
from medzoo.landmark.echo.clips import Clip
from medzoo.landmark.echo.echonet import TABLE, EchoNetLVH, make_fake
from medzoo.landmark.echo.phantom import plax_clip

pytest.importorskip("av", reason='pip install "medzoo-landmark[av]"')
Rows = list[dict[str, str]]


def edited(root: Path, change: Callable[[Rows], None]) -> EchoNetLVH:
    with (root / TABLE).open() as file:
        rows = list(csv.DictReader(file))
    change(rows)
    with (root / TABLE).open("w") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return EchoNetLVH(str(root))


def first(data: EchoNetLVH) -> Clip:
    return next(item for item in data.items.train if item.name == "0X00000000").load()


def test_points_do_not_depend_on_the_order_of_a_calipers_ends(tmp_path: Path) -> None:
    """Drawn points, from the septum downwards, and the scale, in mm, that the values in cm were made with."""
    data = EchoNetLVH(str(make_fake(tmp_path)))
    assert data.check() == []
    clip, drawn = first(data), plax_clip((17, 0), (48, 64), 24)
    assert clip.points is not None
    assert np.allclose(clip.points, drawn.points)
    assert clip.spacing == pytest.approx([sum(drawn.spacing) / 2] * 2)
    assert (clip.keys, clip.phases, clip.rate) == (drawn.keys, ("d", "s"), 30)
    assert not clip.placed.any()
    assert np.allclose(clip.lines, drawn.points[:, [0, 3]])
    assert clip.frames.shape == (24, 48, 64)


def test_the_split_is_that_of_the_table(tmp_path: Path) -> None:
    items = EchoNetLVH(str(make_fake(tmp_path, 6))).items
    assert [len(part) for part in items[:3]] == [2, 2, 2]

    def mix(rows: Rows) -> None:
        rows[0]["split"] = "test"

    with pytest.raises(DataError, match="is in test and in train"):
        _ = edited(tmp_path, mix).items


def test_ends_that_do_not_meet_become_their_middle_and_a_missing_cavity_lies_between_the_walls(tmp_path: Path) -> None:
    drawn = plax_clip((17, 0), (48, 64), 24)
    phases = drawn.points

    def change(rows: Rows) -> None:
        own = [row for row in rows if row["HashedFileName"] == "0X00000000"]
        systole = next(row for row in own if row["Calc"] == "LVIDs")
        rows.remove(systole)
        wall = next(row for row in own if row["Calc"] == "LVPWd")
        upper = "1" if float(wall["Y1"]) < float(wall["Y2"]) else "2"
        wall[f"X{upper}"] = str(float(wall[f"X{upper}"]) + 0.2)

    clip = first(edited(make_fake(tmp_path), change))
    assert clip.points is not None
    assert np.allclose(clip.points[1], phases[1])
    assert clip.points[0, 2] == pytest.approx(phases[0, 2] + (0.1, 0))


def test_a_caliper_off_the_scale_is_left_out(tmp_path: Path) -> None:
    """Its value is that of another measurement: the clip keeps its scale, the point at the end becomes unknown."""

    def change(rows: Rows) -> None:
        wall = next(row for row in rows if row["Calc"] == "LVPWd")
        wall["CalcValue"] = str(2 * float(wall["CalcValue"]))

    data = edited(make_fake(tmp_path), change)
    clip = first(data)
    assert clip.points is not None
    assert np.isnan(clip.points[0]).all(axis=1).tolist() == [False, False, False, True]
    assert "1 calipers left out" in data.summary()[-1]


def test_a_clip_whose_calipers_contradict_each_other_is_left_out_and_the_others_stay(tmp_path: Path) -> None:
    def change(rows: Rows) -> None:
        own = [row for row in rows if row["HashedFileName"] == "0X00000000"]
        for row in own[2:]:
            rows.remove(row)
        own[0]["CalcValue"] = str(2 * float(own[0]["CalcValue"]))

    data = edited(make_fake(tmp_path, 6), change)
    assert data.check() == []
    assert [len(part) for part in data.items[:3]] == [1, 2, 2]
    assert "2 calipers left out" in data.summary()[-1]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("HashedFileName", "0XGONE", "there is no clip '0XGONE'"),
        ("Frame", "24", "has the frames 0 to 23"),
        ("X1", "70", "expected a point within 64 × 48 pixels"),
        ("Width", "1024", "has 64 × 48 pixels, MeasurementsList.csv says 1024 × 48"),
        ("Calc", "LVIDx", "Calc"),
    ],
)
def test_a_bad_row_costs_one_line(tmp_path: Path, column: str, value: str, message: str) -> None:
    def change(rows: Rows) -> None:
        rows[0][column] = value
        if column == "X1":  # moved as a whole, so that its length still fits
            rows[0]["X2"] = str(float(rows[0]["X2"]) + float(value) - before)

    before = float(EchoNetLVH(str(make_fake(tmp_path)))._table.rows[0]["X1"])
    faults = edited(tmp_path, change).check()
    assert len(faults) == 1
    assert message in str(faults[0])
    assert "\n" not in str(faults[0])


def test_calipers_of_length_zero_cost_one_line(tmp_path: Path) -> None:
    def change(rows: Rows) -> None:
        for row in rows:
            if row["HashedFileName"] == "0X00000000":
                row["CalcValue"] = "0"

    (fault,) = edited(make_fake(tmp_path), change).check()
    assert "has the impossible spacing 0 mm" in str(fault)
