from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medzoo.core.errors import DataError
from medzoo.core.io import Column, read_table, write_csv
from medzoo.core.io.columns import columns_of

POINTS = (Column("id"), Column("x", "number"), Column("y", "number"))
ROWS = [("a", 1.5, -2.0), ("b", 3.0, 4.25)]


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        "id,x,y\na,1.5,-2\nb,3,4.25\n",
        "\ufeffid,x,y\r\na,1.5,-2\r\nb,3,4.25\r\n",
        "id;x;y\na;1,5;-2\nb;3;4,25\n",
        "id\tx\ty\na\t1.5\t-2\nb\t3\t4.25",
        "id x y\na 1.5 -2\nb   3  4.25  \n",
        "note,Y,X,ID\n,-2,1.5,a\n\n , ,,\nz,4.25,3,b\n",
        '"id", "x", "y"\n"a", 1.5, -2\n"b", 3, 4.25\n',
        "id,x,y\ra,1.5,-2\rb,3,4.25\r",
    ],
    ids=["plain", "bom-crlf", "semicolon-decimal-comma", "tabs", "blanks", "other-order", "quoted", "old-mac"],
)
def test_every_usual_dialect_gives_the_same_rows(tmp_path: Path, content: str) -> None:
    table = read_table(written(tmp_path, content), POINTS, unique=("id",))
    assert [(row["id"], row["x"], row["y"]) for row in table.rows] == ROWS
    assert table.texts("id") == ["a", "b"]
    np.testing.assert_array_equal(table.numbers("x", "y"), [[1.5, -2], [3, 4.25]])
    assert table.numbers("x").shape == (2,)


def test_a_mark_within_a_quoted_name_separates_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, 'id,"x; in mm"\na,1.5\n')
    assert columns_of(path) == ["id", "x; in mm"]
    table = read_table(path, [Column("id"), Column("x; in mm", "number")])
    assert (table.texts("id"), table.numbers("x; in mm").tolist()) == (["a"], [1.5])


@pytest.mark.parametrize(
    ("content", "place", "reason"),
    [
        ("id,x,y\na,1,abc\n", ":2:3", "y is 'abc', expected a number"),
        ("id,x,y\na,1,2\nb,nan,2\n", ":3:2", "x is nan"),
        ("id,x,y\na,inf,2\n", ":2:2", "x is inf"),
        ("id,x,y\na,,2\n", ":2:2", "x is empty"),
        ("id,x,y\n,1,2\n", ":2:1", "id is empty"),
        ("id,x,y\na,1,2\nb,1,2\na,3,4\n", ":4:1", "repeats id 'a' of line 2"),
        ("id,x,y\na,1\n", ":2:2", "has 2 values, expected 3"),
        ("id,x,y\na,1,2,3\n", ":2:4", "has 4 values, expected 3"),
        ("id,x\na,1\n", ":1:1", "has no column 'y'"),
        ("id,x,y,x\na,1,2,3\n", ":1:1", "has 2 columns named 'x'"),
        ("", "", "is empty"),
        ("id,x,y\na,1_000,2\n", ":2:2", "'1_000'"),
        ("id;x;y\na;1.000,5;2\n", ":2:2", "'1.000,5'"),
        ("id\tx\ty\na\t1,5\t2\n", ":2:2", "'1,5'"),
        ('id,x,y\n"a,1,2\n', ":2:1", "is no table"),
        (b"id,x,y\n\xff\xfe,1,2\n", ":2:1", "no UTF-8"),
        (b"id,x,y\na\0,1,2\n", ":2:1", "null character"),
        ("id,x,y\n\n\na,1,2\n\nb,1,z\n", ":6:3", "y is 'z'"),
    ],
)
def test_faults_are_told_with_file_row_and_column(
    tmp_path: Path, content: str | bytes, place: str, reason: str
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(DataError) as caught:
        read_table(path, POINTS, unique=("id",))
    assert str(caught.value).startswith(f"{path}{place}: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_utf_16_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no UTF-8"):
        read_table(written(tmp_path, "id,x,y\n".encode("utf-16")), POINTS)
    with pytest.raises(DataError, match="cannot be read"):
        read_table(tmp_path / "none.csv", POINTS)


def test_tables_without_header_may_be_entered_and_left_in_the_middle(tmp_path: Path) -> None:
    xy = (Column("x", "number"), Column("y", "number"))
    counted = written(tmp_path, "2\n0.25 0.5\n0.75 1\n")
    np.testing.assert_array_equal(
        read_table(counted, xy, header=False, skip=1).numbers("x", "y"), [[0.25, 0.5], [0.75, 1]]
    )
    classes = written(tmp_path, "835,996\n1473,1029\n1\n2\n")
    assert len(read_table(classes, xy, header=False, limit=2)) == 2
    with pytest.raises(DataError, match=r"t\.csv:3:1: has 1 values, expected 2"):
        read_table(classes, xy, header=False)


def test_optional_values_become_nan_or_empty(tmp_path: Path) -> None:
    columns = (Column("id"), Column("x", "number", optional=True), Column("note", optional=True))
    table = read_table(written(tmp_path, "id,x,note\na,,\nb,NaN,seen\nc,2,na\n"), columns)
    np.testing.assert_array_equal(table.numbers("x"), [np.nan, np.nan, 2])
    assert table.texts("note") == ["", "seen", ""]
    with pytest.raises(ValueError, match="must not be optional"):
        Column("n", "integer", optional=True)


def test_ranges_whole_numbers_and_known_texts_are_enforced(tmp_path: Path) -> None:
    columns = (
        Column("n", "integer", low=0),
        Column("r", "number", low=0, high=1),
        Column("k", choices=("left", "right")),
    )
    assert read_table(written(tmp_path, "n,r,k\n3,1,left\n"), columns).rows == [{"n": 3, "r": 1.0, "k": "left"}]
    for row, reason in (
        ("1.5,0,left", "n is '1.5', expected a whole number"),
        ("-1,0,left", "n is -1"),
        ("1,1.01,left", "r is 1.01, expected a number from 0 to 1"),
        ("1,0,lefft", "did you mean 'left'"),
        ("1,0,qqq", "use one of left, right"),
    ):
        with pytest.raises(DataError, match=reason):
            read_table(written(tmp_path, f"n,r,k\n{row}\n"), columns)


def test_an_error_found_later_still_names_the_place(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "y,id,x\n\n1,a,1\n\n2,b,900\n"), POINTS)
    error = table.error(1, "x", "lies outside the image", "correct it")
    assert str(error) == f"{table.path}:5:3: lies outside the image; correct it"


@given(st.lists(st.tuples(st.text("abcäß ,;\"'", min_size=1).filter(str.strip), st.floats(-1e9, 1e9)), max_size=8))
def test_what_write_csv_writes_read_table_reads(rows: list[tuple[str, float]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        write_csv(path, [{"id": name, "x": value} for name, value in rows], ("id", "x"))
        table = read_table(path, (Column("id"), Column("x", "number")))
    assert table.texts("id") == [name.strip() for name, _ in rows]
    np.testing.assert_array_equal(table.numbers("x"), [value for _, value in rows])


def test_a_table_of_the_hand_atlas_size_reads_in_half_a_second(tmp_path: Path) -> None:
    columns = (Column("id"), *(Column(f"{axis}{k}", "number") for k in range(37) for axis in "xy"))
    line = ",".join(["3142"] + ["1234.5"] * 74)
    path = written(tmp_path, "\n".join([line] * 910))
    start = time.perf_counter()
    assert read_table(path, columns, header=False).numbers(*(column.name for column in columns[1:])).shape == (910, 74)
    assert time.perf_counter() - start < 2.5  # 0.15 s on an idle core


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("id," + ",".join(f"c{i}" for i in range(30_000)) + "\n", "has 30001 columns, expected at most 20000"),
        ("id,x,y\na," + "1" * 20_000 + ",2\n", "has a cell of more than 10000 characters"),
        ("id x y " * 700_000, "is a line of 4900000 characters"),
    ],
    ids=["columns", "cell", "line"],
)
def test_tables_that_would_fill_the_memory_are_refused(tmp_path: Path, content: str, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        read_table(written(tmp_path, content), POINTS)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_tables_of_too_many_rows_or_cells_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "id,x,y\n" + "a,1,2\n" * 100)
    for limit, most in (("_MAX_ROWS", 100), ("_MAX_CELLS", 302)):
        with monkeypatch.context() as patch:
            patch.setattr(f"medzoo.core.io.tables.{limit}", most)
            with pytest.raises(DataError, match=r"t\.csv:101: has more than|rows or 302 cells"):
                read_table(path, POINTS)
    assert len(read_table(path, POINTS)) == 100


def test_the_columns_of_a_wide_table_are_found_in_linear_time(tmp_path: Path) -> None:
    names = [f"c{i}" for i in range(15_000)]
    path = written(tmp_path, ",".join(names) + "\n" + ",".join(["1"] * len(names)) + "\n")
    start = time.process_time()
    assert read_table(path, [Column(name, "number") for name in names]).numbers(*names).sum() == len(names)
    assert time.process_time() - start < 2
    with pytest.raises(DataError) as caught:
        read_table(path, [Column(f"d{i}") for i in range(10_000)])
    assert len(str(caught.value)) < 1000
