"""The values of a sensitive attribute in a table, and which of them say that nobody knows."""

from __future__ import annotations

from collections.abc import Sequence

UNKNOWN = frozenset(("", "nan", "na", "n/a", "none", "null", "unknown", "unk", "?", "-1", "-1.0"))
"""Texts, in any case, that name no group, in training and `medzoo evaluate` as in `medzoo audit`."""


def is_unknown(text: str) -> bool:
    """Return whether a cell says that the group is not known."""
    return text.strip().casefold() in UNKNOWN


def numbered(texts: Sequence[str]) -> tuple[tuple[str, ...], list[int]]:
    """Return the values of an attribute in alphabetical order, and the place of each text among them; −1 if unknown."""
    values = tuple(sorted({text for text in texts if not is_unknown(text)}))
    places = {value: place for place, value in enumerate(values)}
    return values, [places.get(text, -1) for text in texts]
