"""The names in the header line of a table that somebody else wrote."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from medzoo.core.errors import DataError
from medzoo.core.io.types import check_plain
from medzoo.core.names import csv_text, listed

_LONGEST = 2**20


def columns_of(path: str | Path) -> list[str]:
    """Return the names in the header line of a table, in any case and order they come.

    Raises:
        DataError: The file cannot be read as text or is empty.
    """
    check_plain(path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            head = "\n"
            while head and not head.strip():
                head = file.readline(_LONGEST)
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "check the path") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:1:1", "is no UTF-8 text", "save the table as CSV in UTF-8") from error
    if len(head) == _LONGEST:
        problem = f"has a header line of more than {_LONGEST} characters"
        raise DataError(f"{path}:1", problem, "give the file of the labels")
    if not head:
        raise DataError(path, "is empty", "give a header line such as id,x0,y0,x1,y1")
    mark = separator_of(head) or ("," if '"' in head else "")
    if not mark:
        return head.split()  # of blanks, as `read_table` takes them
    return [csv_text(name.strip()) for name in next(csv.reader([head.strip()], delimiter=mark, skipinitialspace=True))]


def patient_column(columns: Iterable[str]) -> str | None:
    """Return the column that names patients: `patient`, `patient_id`, `subject` or `subject_id`; None without one.

    Case does not count, nor what stands between the words: `Patient ID`, `patientid`.
    """
    return column_called(columns, ("patient", "patientid", "subject", "subjectid"))


def column_called(columns: Iterable[str], wanted: Sequence[str]) -> str | None:
    """Return the first column that has one of the wanted names, written in any way; None where there is none."""
    names = {re.sub(r"[\s_-]", "", name.casefold()): name for name in columns}
    return next((names[name] for name in wanted if name in names), None)


def check_named(path: str | Path, there: Sequence[str], patient: str, split: str, others: Sequence[str]) -> None:
    """Refuse an option that names no column, and patients that a table has and no option names.

    Args:
        path: The table.
        there: Its columns.
        patient: Value of `--data.patient`; `patient`, the default, need not be there.
        split: Value of `--data.split`, likewise.
        others: Columns that other options name.

    Raises:
        DataError: There is one; what it says would be lost, and patients would lie in two parts.
    """
    known = set(map(str.casefold, there))
    for option, column in (("patient", patient), ("split", split)):
        if column != option and column.casefold() not in known:
            problem = f"has no column {column!r}, as --data.{option} says; it has {listed(there, 20)}"
            raise DataError(path, problem, "name one of these")
    taken = {name.casefold() for name in (*others, split)}
    found = patient_column(name for name in there if name.casefold() not in taken)
    if found is not None and patient.casefold() not in known:
        raise DataError(path, f"has patients in its column {found!r}", f"add --data.patient {found!r}")


def separator_of(head: str) -> str:
    """Return what separates the values of a table's first line, where it stands outside of quotes; empty if nothing."""
    bare = re.sub(r'"[^"]*"', "", head)
    return next((mark for mark in (";", "\t", ",") if mark in bare), "")
