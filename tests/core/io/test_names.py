"""Whatever text comes from data, each medium shows it as text and no path leaves its folder."""

from __future__ import annotations

import csv
import io
import os
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from medzoo.core.io import read_table, write_csv, write_json
from medzoo.core.io.files import read_json
from medzoo.core.names import csv_cell, csv_text, figure_text, file_name, markdown_cell, printable

ANY = st.text(st.characters(), max_size=400)  # surrogates too, which file names that are not UTF-8 have
PACKAGES = Path(__file__).parents[3] / "packages"


@given(ANY, ANY)
@example("/etc/passwd", "../../x")
@example("", ".")
@example("..", "...")
@example("a/b", "a_b")
@example("a" * 300, "a" * 301)
@example("con", "CON.png")
@example("x-0123abcd", "-rf")
@example("caf\udce9", "caf\udce8")
@example("骨" * 100, "a ")
def test_a_file_name_is_one_part_of_a_path_valid_everywhere_and_its_own(first: str, second: str) -> None:
    for text in (first, second):
        name = file_name(text)
        assert 0 < len(os.fsencode(name)) <= 100
        assert Path("folder", name).parent == Path("folder")
        assert not re.search(r'[/\\:*?"<>|\x00-\x1f\x7f]', name)
        assert not name.startswith((".", "-"))
        assert not name.endswith((".", " "))
        assert name.partition(".")[0].lower() not in {"con", "prn", "aux", "nul", "com1", "lpt1"}
        name.encode("utf-8")
    assert (file_name(first) == file_name(second)) == (first == second)


@pytest.mark.parametrize("name", ["hand", "case 6", "Schädel_01", "1.2.840.113619", "p1-left"])
def test_a_plain_name_stays(name: str) -> None:
    assert file_name(name) == name


@given(ANY)
@example("=HYPERLINK(1)")
@example("'=1")
@example("''=1")
@example("\t=1")
@example("-x")
def test_a_csv_cell_starts_no_formula_and_reads_back(text: str) -> None:
    cell = csv_cell(text)
    assert csv_text(cell) == text
    assert not re.match(r"\s*[=@\t\r]", cell)


@pytest.mark.parametrize("number", ["-3.5", "+2", "-1e-05", "-inf", ".5"])
def test_a_number_stays_a_number(number: str) -> None:
    assert csv_cell(number) == number


@given(ANY)
@example("\x1b[31m red \u202e")
@example("a\nb|c")
def test_a_terminal_gets_one_line_and_markdown_one_cell(text: str) -> None:
    for line in (printable(text), figure_text(text), markdown_cell(text)):
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", line)
        assert len(line.splitlines()) <= 1
        line.encode("utf-8")
    assert not re.search(r"(?<!\\)(\\\\)*\|", markdown_cell(text))


def test_tables_escape_formulas_and_the_reader_takes_them_back(tmp_path: Path) -> None:
    names = ["=HYPERLINK(1)", "+x", "-x", "@x", "plain"]
    write_csv(tmp_path / "t.csv", [{"id": name, "x": -3.5} for name in names])
    cells = [row[0] for row in csv.reader(io.StringIO((tmp_path / "t.csv").read_text()))][1:]
    assert cells == ["'=HYPERLINK(1)", "'+x", "'-x", "'@x", "plain"]
    assert ",-3.5\n" in (tmp_path / "t.csv").read_text()
    assert read_table(tmp_path / "t.csv", ["id"]).texts("id") == names


def test_a_name_that_is_not_utf8_is_written(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    write_json(tmp_path / "t.json", {"id": name})
    assert read_json(tmp_path / "t.json") == {"id": name}
    write_csv(tmp_path / "t.csv", [{"id": name}])
    assert (tmp_path / "t.csv").read_bytes() == b"id\ncaf\\udce9\n"


def test_no_writer_builds_a_path_from_a_raw_name() -> None:
    """A file or folder named after data goes through `file_name`."""
    raw = re.compile(
        r"""f"\{(?!file_name\()[^}"]*(name|id|domain|category)[^}"]*\}[^"]*\.(png|npy|csv|nii(\.gz)?)["]"""
    )
    part = re.compile(r"""(figures|maps|volumes)["']?\)?\s*/ (?!f?["']|file_name\()""")
    for path in PACKAGES.glob("*/src/medzoo/**/*.py"):
        if "/data/" in str(path):  # readers, which look for files by their names
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            assert (raw.search(line) or part.search(line)) is None, f"{path}:{number}: {line.strip()}"
