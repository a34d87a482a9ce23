"""Header lines of tables of others, and JSON files that must hold names with values."""

from __future__ import annotations

from pathlib import Path

import pytest

from medzoo.core.errors import DataError
from medzoo.core.io import read_object
from medzoo.core.io.columns import columns_of
from medzoo.core.io.point_tables import read_labels


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("id,x0,y0\na,1,2\n", ["id", "x0", "y0"]),
        ("\n\n Id ; Alter\n", ["Id", "Alter"]),
        ("a\tb, c\n", ["a", "b, c"]),
        ('"last, first",x\n', ["last, first", "x"]),
        ("\ufeffid,x\n", ["id", "x"]),
        ("one\n", ["one"]),
        ("id  x0 y0\na 1 2\n", ["id", "x0", "y0"]),
        ('"last name"\n', ["last name"]),
    ],
)
def test_names_are_found_whatever_separates_them(tmp_path: Path, text: str, names: list[str]) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    assert columns_of(path) == names


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"\xff\xfeid", "is no UTF-8 text"),
        (b"a," * 2**20, "header line of more than 1048576 characters"),
    ],
)
def test_what_has_no_header_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=problem):
        columns_of(path)


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv"):
        columns_of(tmp_path / "none.csv")


@pytest.mark.parametrize(("text", "kind"), [("[1]", "list"), ('"a"', "str"), ("3", "int"), ("null", "NoneType")])
def test_json_without_names_is_refused_in_one_line(tmp_path: Path, text: str, kind: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=f"plan.json: holds a {kind}, expected names with values") as error:
        read_object(path)
    assert "\n" not in str(error.value)


def test_names_with_values_are_returned(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": [1, null]}', encoding="utf-8")
    assert read_object(tmp_path / "a.json") == {"a": [1, None]}


@pytest.mark.parametrize("table", ["id,x0,y0,{}\na,1,2,p7\n", "id,landmark,x,y,{}\na,0,1,2,p7\n"])
@pytest.mark.parametrize("name", ["patient", "Patient ID", "subject_id"])
def test_patients_of_landmarks_are_read_however_their_column_is_called(name: str, table: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(table.format(name))
    assert read_labels(tmp_path / "t.csv").patients == {"a": "patient p7"}
