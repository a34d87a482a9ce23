"""Reading tables of predictions and truth, and bringing their rows together by id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from medzoo.core.data.groups import is_unknown
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.evaluate.judged import UNKNOWN
from medzoo.core.io import Column, Table, read_table
from medzoo.core.io.columns import columns_of, patient_column
from medzoo.core.io.listing import stem
from medzoo.core.names import listed
from medzoo.core.spelling import nearest


@dataclass(frozen=True)
class Options:
    """What the command line says of the tables.

    Attributes:
        id: Column that names a case in both.
        patient: Column of the patient; None takes that of `patient_column`, where there is one.
        groups: Attributes; `sex` is the column `sex` or `group_sex`.
        label: Column of the true class.
        score: Column of the predicted score of a class of two.
        positive: Value of the label that the score is of.
        threshold: Score from which a case is called positive.
        spacing: Millimetres per pixel of points; None counts in pixels, or as the truth has `spacing`.
        radii: Within which points count as found; empty: 2, 2.5, 3, 4 mm or 4, 8, 16 pixels.
    """

    id: str = "id"
    patient: str | None = None
    groups: tuple[str, ...] = ()
    label: str = "label"
    score: str = "score"
    positive: str = "1"
    threshold: float = 0.5
    spacing: float | None = None
    radii: tuple[float, ...] = ()


Key = tuple[str, str]
"""Source (empty where a table has none) and id of a case."""


@dataclass
class File:
    """A table whose columns are known by their names in any case."""

    path: str
    header: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if Path(self.path).is_dir():
            raise DataError(self.path, "is a folder", "give two tables, or two folders of masks")
        self.header = columns_of(self.path)

    def has(self, name: str) -> bool:
        """Return whether there is such a column."""
        return name.casefold() in {known.casefold() for known in self.header}

    def need(self, flag: str, name: str) -> str:
        """Return a column's name, or refuse one that is not there.

        Raises:
            ConfigError: There is no such column; the nearest is named.
        """
        if not self.has(name):
            near = nearest(name, self.header)
            hint = f"did you mean {near[0]}?" if near else f"it has {listed(self.header, 20)}"
            raise ConfigError(f"{flag} {name}: {self.path} has no such column; {hint}")
        return name

    def starting(self, prefix: str) -> list[str]:
        """Return what follows a prefix in the names of the columns that have it."""
        return [name[len(prefix) :] for name in self.header if name.casefold().startswith(prefix)]

    def read(self, columns: Sequence[Column], unique: Sequence[str] = ()) -> Table:
        """Read columns, each once."""
        wanted = {column.name.casefold(): column for column in columns}
        return read_table(self.path, list(wanted.values()), unique=unique)


def key_columns(file: File, options: Options) -> list[Column]:
    """Return the columns that name a case: its id, and its source where there is one.

    Raises:
        ConfigError: There is no column of the id.
    """
    source = source_column(file)
    return [Column(file.need("--id", options.id)), *([Column(source, optional=True)] if source else [])]


def key_of(row: Mapping[str, object], columns: Sequence[Column]) -> Key:
    """Return source and id of a row, given its `key_columns`."""
    return str(row[columns[1].name]) if len(columns) > 1 else "", str(row[columns[0].name])


def about(file: File, options: Options) -> dict[Key, dict[str, str]]:
    """Return source, patient and groups of each case that a table names, by source and id.

    Args:
        file: With the column `options.id`, and maybe `source` or `domain`; a case may have several rows.
        options: What to read.

    Raises:
        ConfigError: A column is missing.
        DataError: Rows of one case differ in what they say of it.
    """
    others = {name.casefold() for name in (options.id, options.label, *options.groups)}
    usual = patient_column(name for name in file.header if name.casefold() not in others)
    patient = file.need("--patient", options.patient) if options.patient else usual
    groups = {
        name: f"group_{name}" if file.has(f"group_{name}") else file.need("--group", name) for name in options.groups
    }
    columns = key_columns(file, options)
    more = [name for name in (patient, *groups.values()) if name]
    table = file.read([*columns, *(Column(name, optional=True) for name in more)])
    found: dict[Key, dict[str, str]] = {}
    for place, row in enumerate(table.rows):
        key = key_of(row, columns)
        facts = {"patient": str(row[patient]) if patient else ""}
        facts |= {f"group_{name}": known(row[column]) for name, column in groups.items()}
        if found.setdefault(key, facts) != facts:
            raise table.error(place, options.id, f"{key[1]!r} has another patient or group above", "make them agree")
    return found


def facts_of(facts: Mapping[Key, dict[str, str]], key: Key, groups: Sequence[str]) -> dict[str, str]:
    """Return patient and groups of a case; `unknown` where the table does not have it."""
    alike = (value for other, value in facts.items() if other[1] == key[1] and not (other[0] and key[0]))
    found = facts.get(key) or next(alike, None)
    return found or {"patient": "", **{f"group_{name}": UNKNOWN for name in groups}}


def check_told(cases: File, options: Options, ids: Sequence[str], files: bool) -> list[str]:
    """Return the cases that a table of cases has no row of.

    Args:
        cases: The table.
        options: What to read of it.
        ids: Those that are judged.
        files: Whether these are names of files, which the table may have with their ending.

    Raises:
        DataError: It has a row of none, so that all that it says would be lost.
    """
    told = {stem(name) if files else name for _, name in about(cases, options)}
    lost = [name for name in ids if name not in told]
    if ids and len(lost) == len(ids):
        problem = f"has no row of a case: it has {listed(sorted(told), 3)}, the truth {listed(ids, 3)}"
        raise DataError(cases.path, problem, "give both the same ids")
    return lost


def source_column(file: File) -> str | None:
    """Return the column that says what a case comes from, if there is one."""
    return next((name for name in ("source", "domain") if file.has(name)), None)


def known(value: object) -> str:
    """Return the value of an attribute as text; whatever says that nobody knows, such as −1, is `unknown`."""
    return UNKNOWN if is_unknown(str(value)) else str(value)


Value = TypeVar("Value")
Other = TypeVar("Other")


@dataclass(frozen=True)
class Joined(Generic[Value, Other]):
    """Cases that predictions and truth both have, in the order of the truth."""

    keys: list[Key]
    predicted: list[Value]
    truth: list[Other]
    unpredicted: tuple[str, ...]
    """Ids of the truth without prediction."""
    unknown: tuple[str, ...]
    """Ids of predictions without truth."""


def join(predicted: Mapping[Key, Value], truth: Mapping[Key, Other], path: str) -> Joined[Value, Other]:
    """Bring predictions and truth together by source and id; by id alone where only one of them has sources.

    Raises:
        DataError: They have no case in common, or ids of several sources cannot be told apart.
    """
    if {bool(key[0]) for key in predicted} != {bool(key[0]) for key in truth}:
        plain = {key[1]: key for key in predicted}
        for keys in (predicted, truth):
            twice = next((name for name, count in Counter(key[1] for key in keys).items() if count > 1), None)
            if twice is not None:
                problem = f"or its truth has {twice!r} in several sources, and the other table has no such column"
                raise DataError(path, problem, "give both a column source")
        shared = {key: predicted[plain[key[1]]] for key in truth if key[1] in plain}
        strays = [key for key in predicted if key[1] not in {other[1] for other in truth}]
    else:
        shared = {key: predicted[key] for key in truth if key in predicted}
        strays = [key for key in predicted if key not in truth]
    if not shared:
        some = f"it has {listed([k[1] for k in predicted], 3)}, the truth {listed([k[1] for k in truth], 3)}"
        raise DataError(path, f"has no case of the truth: {some}", "give both the same ids, or name the column by --id")
    lost = tuple(key[1] for key in truth if key not in shared)
    both = list(shared)
    return Joined(both, [shared[k] for k in both], [truth[k] for k in both], lost, tuple(key[1] for key in strays))
