"""Attributes of cases: values of a column, ages between cut points, and products of several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from medzoo.core.data.groups import is_unknown
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.io import Table
from medzoo.core.names import listed

MOST = 50
"""Groups of an attribute at most."""


@dataclass(frozen=True)
class Part:
    """One column of an attribute, with the cut points of a continuous one."""

    column: str
    cuts: tuple[float, ...] = ()


@dataclass(frozen=True)
class Attribute:
    """What cases are grouped by.

    Attributes:
        name: As given, such as `sex+age:40,60`.
        parts: One, or several where the groups are their combinations.
    """

    name: str
    parts: tuple[Part, ...]

    @classmethod
    def parse(cls, text: str, columns: Sequence[str]) -> Attribute:
        """Read `COLUMN`, `COLUMN:CUT,CUT`, or several of these with `+` between them.

        Raises:
            ConfigError: A cut point is no number, or they do not ascend.
        """
        known = {name.casefold() for name in columns}
        pieces = [text] if text.casefold() in known else text.split("+")
        parts = tuple(_part(piece, known, text) for piece in pieces)
        if len({part.column.casefold() for part in parts}) < len(parts):
            raise ConfigError(f"--group {text}: names a column twice; give each column once")
        return cls(text, parts)


def _part(piece: str, known: set[str], text: str) -> Part:
    column, colon, cuts = piece.rpartition(":")
    if piece.casefold() in known or not colon:
        if not piece:
            raise ConfigError(f"--group {text}: a column's name is missing; write COLUMN or COLUMN:CUT,CUT")
        return Part(piece)
    try:
        numbers = tuple(float(cut) for cut in cuts.split(","))
    except ValueError:
        numbers = (math.nan,)
    if not all(map(math.isfinite, numbers)) or any(a >= b for a, b in pairwise(numbers)):
        raise ConfigError(f"--group {text}: {cuts!r} are no ascending numbers; write for example {column}:40,60")
    return Part(column, numbers)


@dataclass(frozen=True)
class Groups:
    """The group of each case.

    Attributes:
        name: Of the attribute.
        names: Of the groups, in order.
        codes: `(N,)` place of each case's group in `names`, −1 where the attribute is unknown.
        scores: `(N,)` scores by which these groups are judged, where they have thresholds of their own; None for those
            of the cohort.
    """

    name: str
    names: tuple[str, ...]
    codes: NDArray[np.int64]
    scores: NDArray[np.float64] | None = None


def group(table: Table, attribute: Attribute, keep: NDArray[np.intp]) -> Groups:
    """Return the groups of some rows of a table; a case of which one part is unknown is unknown.

    Raises:
        DataError: A value of a column with cut points is no number, or there are more than 50 groups.
    """
    codes, names = np.zeros(len(keep), dtype=np.int64), [""]
    unknown = np.zeros(len(keep), dtype=bool)
    for part in attribute.parts:
        own, labels = _codes(table, part, keep)
        unknown |= own < 0
        codes = codes * len(labels) + np.maximum(own, 0)
        prefix = f"{part.column} " if part.cuts and len(attribute.parts) > 1 else ""
        names = [f"{a}, {prefix}{b}" if a else f"{prefix}{b}" for a in names for b in labels]
    if unknown.all():
        return Groups(attribute.name, (), np.full(len(keep), -1, dtype=np.int64))
    present = np.flatnonzero(np.bincount(codes[~unknown], minlength=len(names)))
    if len(present) > MOST:
        raise DataError(
            table.path,
            f"has {len(present)} groups by {attribute.name}, expected at most {MOST}",
            f"give cut points of a continuous attribute, such as --group {attribute.parts[0].column}:40,60",
        )
    place = np.full(len(names), -1, dtype=np.int64)
    place[present] = np.arange(len(present))
    return Groups(attribute.name, tuple(names[i] for i in present), np.where(unknown, -1, place[codes]))


def _codes(table: Table, part: Part, keep: NDArray[np.intp]) -> tuple[NDArray[np.int64], list[str]]:
    texts = [str(table.rows[row][part.column]) for row in keep]
    kinds = sorted(set(texts))
    known = [text for text in kinds if not is_unknown(text)]
    if not part.cuts:
        known = sorted(known, key=_natural)
        places = {text: place for place, text in enumerate(known)}
        return np.array([places.get(text, -1) for text in texts], dtype=np.int64), known
    intervals: dict[str, int] = {}
    for text in known:
        number = _number(text)
        if not math.isfinite(number):
            row = int(keep[texts.index(text)])
            problem = f"{part.column} is {text[:40]!r}, expected a number"
            raise table.error(
                row, part.column, problem, f"correct it, or give --group {part.column} without cut points"
            )
        intervals[text] = int(np.searchsorted(part.cuts, number, side="right"))
    middle = [f"{low:g} to below {high:g}" for low, high in pairwise(part.cuts)]
    labels = [f"below {part.cuts[0]:g}", *middle, f"{part.cuts[-1]:g} and above"]
    return np.array([intervals.get(text, -1) for text in texts], dtype=np.int64), labels


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _natural(text: str) -> tuple[float, str]:
    number = _number(text)
    return (number if math.isfinite(number) else math.inf, text)


def pairs_of_values(names: Sequence[str]) -> list[str]:
    """Return pairs of values that differ in case or blanks only, such as `F, f`: probably one group written twice."""
    seen: dict[str, list[str]] = {}
    for name in names:
        seen.setdefault("".join(name.split()).casefold(), []).append(name)
    return [listed(same) for same in seen.values() if len(same) > 1]
