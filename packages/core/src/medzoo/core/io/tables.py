"""Reading tables of text (labels, splits, predictions) with errors that name file, row and column."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medzoo.core.errors import DataError
from medzoo.core.io.columns import separator_of
from medzoo.core.io.types import check_plain
from medzoo.core.names import csv_text
from medzoo.core.spelling import nearest

_MAX_BYTES, _MAX_LINE = 2**27, 2**22
_MAX_COLUMNS, _MAX_ROWS, _MAX_CELLS, _MAX_LENGTH = 20_000, 2_000_000, 20_000_000, 10_000
"""Beyond what any table of labels holds; a file that is larger is another file, and would fill the memory."""
_CURE = "give the file of the labels, or split it"
Kind = Literal["text", "number", "integer"]
Value = str | float | int
_Record = tuple[int, list[str], str]  # line, values, separator


@dataclass(frozen=True)
class Column:
    """What one column must hold.

    Attributes:
        name: As in the header line, or what to call it in a table without one.
        kind: "text" (never empty), "number" (finite) or "integer".
        optional: Empty, `nan` or `na` is allowed and read as "" or NaN; not for integers, which have no such value.
        low: Smallest number allowed.
        high: Largest number allowed.
        choices: Texts allowed; any if empty.
    """

    name: str
    kind: Kind = "text"
    optional: bool = False
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.optional and self.kind == "integer":
            raise ValueError(f"column {self.name!r} must not be optional, for it holds integers")


@dataclass(frozen=True)
class Table:
    """Rows of checked values; `lines[i]` is the line of the file that row `i` came from, counted from 1."""

    path: str
    columns: tuple[Column, ...]
    rows: list[dict[str, Value]]
    lines: list[int]
    places: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def texts(self, name: str) -> list[str]:
        """Return one column of texts."""
        return [str(row[name]) for row in self.rows]

    def numbers(self, *names: str) -> NDArray[np.float64]:
        """Return columns of numbers as `(rows,)` for one name, `(rows, names)` for several; NaN where left empty."""
        array = np.array([[row[name] for name in names] for row in self.rows], dtype=np.float64).reshape(-1, len(names))
        return array[:, 0] if len(names) == 1 else array

    def error(self, row: int, column: str, problem: str, cure: str = "") -> DataError:
        """Return (not raise) the error for a value found wrong later, such as a point outside its image."""
        return DataError(f"{self.path}:{self.lines[row]}:{self.places.get(column, 0) + 1}", problem, cure)


def read_table(
    path: str | os.PathLike[str],
    columns: Sequence[Column | str],
    *,
    header: bool = True,
    unique: Sequence[str] = (),
    skip: int = 0,
    limit: int | None = None,
) -> Table:
    """Read a text table, whether separated by commas, semicolons (then `1,5` is a number too), tabs or blanks.

    Byte-order marks, Windows line ends, quotes, blank lines and spaces around values are taken as they come.

    Args:
        path: The file, UTF-8 text.
        columns: What to read; a string stands for a text column. With a header the order is free and other columns are
            ignored; without one, each row must hold exactly these values in this order.
        header: Whether the first line (after `skip`) names the columns.
        unique: Columns whose values together must not repeat.
        skip: Non-blank lines to pass over at the start.
        limit: Rows to read; later lines are not looked at.

    Raises:
        DataError: `file:row:column` of the first value that is wrong, the file as a whole cannot be read, or it has
            more than 20 000 columns, 2 000 000 rows, 20 000 000 cells or 10 000 characters in a cell.
    """
    wanted = tuple(Column(column) if isinstance(column, str) else column for column in columns)
    if not wanted or len({column.name for column in wanted}) != len(wanted):
        raise ValueError("columns must be one or more distinct names")
    name = os.fspath(path)
    records = _records(name, _text(name), skip)
    places = {column.name: place for place, column in enumerate(wanted)}
    if header:
        if not records:
            raise DataError(name, "is empty", f"give a header line with {', '.join(places)}")
        places = _places(name, records[0], wanted)
        width = len(records[0][1])
        records = records[1:]
    else:
        width = len(wanted)
    table = Table(name, wanted, [], [], places)
    seen: dict[tuple[Value, ...], int] = {}
    for record in records[:limit]:
        line, row = record[0], _row(table, record, width)
        if unique:
            key = tuple(row[part] for part in unique)
            if seen.setdefault(key, line) != line:
                raise _repeated(table, unique, key, line, seen[key])
        table.rows.append(row)
        table.lines.append(line)
    return table


def _row(table: Table, record: _Record, width: int) -> dict[str, Value]:
    line, values, separator = record
    if len(values) != width:
        where = f"{table.path}:{line}:{len(values)}"
        raise DataError(where, f"has {len(values)} values, expected {width}", "correct the row")
    row = {}
    for column in table.columns:
        place = table.places[column.name]
        row[column.name] = _value(f"{table.path}:{line}:{place + 1}", values[place], column, separator == ";")
    return row


def _repeated(table: Table, unique: Sequence[str], key: tuple[Value, ...], line: int, first: int) -> DataError:
    problem = f"repeats {', '.join(unique)} {' '.join(map(str, key))!r} of line {first}"
    return DataError(f"{table.path}:{line}:{table.places[unique[0]] + 1}", problem, "remove one of the two")


def _text(path: str) -> str:
    check_plain(path)
    try:
        if os.path.getsize(path) > _MAX_BYTES:
            raise DataError(path, f"has more than {_MAX_BYTES} bytes", "split it")
        raw = Path(path).read_bytes()
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "check the path") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}:1", "is no UTF-8 text", "save the table as CSV in UTF-8") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise DataError(f"{path}:{line}:1", "holds a null character", "save the table as CSV in UTF-8")
    return text


def _records(path: str, text: str, skip: int) -> list[_Record]:
    """Split text into lines of trimmed values; blank lines, and `skip` lines before the first, are dropped."""
    whole = text.splitlines()
    longest = max(range(len(whole)), key=lambda number: len(whole[number]), default=0)
    if whole and len(whole[longest]) > _MAX_LINE:
        problem = f"is a line of {len(whole[longest])} characters, expected at most {_MAX_LINE}"
        raise DataError(f"{path}:{longest + 1}", problem, _CURE)
    first = next(islice((line for line in whole if line.strip()), skip, None), "")
    separator = separator_of(first) or ("," if '"' in first else " ")
    if separator == " ":
        lines = enumerate(whole, 1)
        blanks = ((number, line.split()) for number, line in lines if line.strip())
        return _limited(path, ((number, values, separator) for number, values in blanks))[skip:]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    rows = ((reader.line_num, _cells(values), separator) for values in reader)
    try:
        return _limited(path, (row for row in rows if any(row[1])))[skip:]
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}:1", f"is no table ({error})", "correct the quotes") from error


def _cells(values: list[str]) -> list[str]:
    cells = [value.strip() for value in values]
    return [csv_text(cell) if cell[:1] == "'" else cell for cell in cells]


def _limited(path: str, rows: Iterable[_Record]) -> list[_Record]:
    """Collect rows as long as they can be those of a table of labels."""
    records: list[_Record] = []
    cells = 0
    for record in rows:
        line, values, _ = record
        cells += len(values)
        if len(values) > _MAX_COLUMNS:
            raise DataError(f"{path}:{line}", f"has {len(values)} columns, expected at most {_MAX_COLUMNS}", _CURE)
        if len(records) == _MAX_ROWS or cells > _MAX_CELLS:
            problem = f"has more than {_MAX_ROWS} rows or {_MAX_CELLS} cells"
            raise DataError(f"{path}:{line}", problem, _CURE)
        if max(map(len, values)) > _MAX_LENGTH:
            raise DataError(f"{path}:{line}", f"has a cell of more than {_MAX_LENGTH} characters", _CURE)
        records.append(record)
    return records


def _places(path: str, record: _Record, wanted: tuple[Column, ...]) -> dict[str, int]:
    line, names, _ = record
    found: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        found.setdefault(name.casefold(), []).append(place)
    places = {}
    for column in wanted:
        here = found.get(column.name.casefold(), [])
        if len(here) != 1:
            count, shown = len(here), ", ".join(c.name for c in wanted[:20]) + ("" if len(wanted) <= 20 else ", …")
            problem = f"has no column {column.name!r}" if not count else f"has {count} columns named {column.name!r}"
            raise DataError(f"{path}:{line}:1", problem, f"give a header with {shown}")
        places[column.name] = here[0]
    return places


def _value(place: str, text: str, column: Column, decimal_comma: bool) -> Value:
    if text.casefold() in ("", "nan", "na") and (column.optional or column.kind != "text" or not text):
        if column.optional:
            return "" if column.kind == "text" else math.nan
        raise DataError(place, f"{column.name} is {text or 'empty'}, expected {_expected(column)}", "fill it in")
    if column.kind == "text":
        if column.choices and text not in column.choices:
            near = nearest(text, column.choices)
            cure = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(column.choices[:20])}"
            raise DataError(place, f"{column.name} is {text[:40]!r}, which is not known", cure)
        return text
    try:
        value = _number(text, column.kind, decimal_comma)
    except ValueError:
        raise DataError(place, f"{column.name} is {text[:40]!r}, expected {_expected(column)}", "correct it") from None
    if not math.isfinite(value) or not column.low <= value <= column.high:
        raise DataError(place, f"{column.name} is {text[:40]}, expected {_expected(column)}", "correct it")
    return value


def _number(text: str, kind: Kind, decimal_comma: bool) -> float | int:
    if "_" in text:  # Python would take 1_000
        raise ValueError(text)
    if kind == "integer":
        return int(text)
    if decimal_comma and text.count(",") == 1 and "." not in text:
        text = text.replace(",", ".")
    return float(text)


def _expected(column: Column) -> str:
    what = {"text": "a text", "number": "a number", "integer": "a whole number"}[column.kind]
    if math.isinf(column.low) and math.isinf(column.high):
        return what
    if math.isinf(column.high):
        return f"{what} of at least {column.low:g}"
    return f"{what} from {column.low:g} to {column.high:g}"
