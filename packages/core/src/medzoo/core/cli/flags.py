"""Switches of verbs that take nothing else: as light as `list` is."""

from __future__ import annotations

from collections.abc import Iterable


def split_flags(args: Iterable[str], known: set[str]) -> tuple[set[str], list[str]]:
    """Separate switches that a verb knows from its other arguments."""
    flags = {a for a in args if a in known}
    return flags, [a for a in args if a not in known]
