"""Finding the name that a misspelled one was meant to be."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, known: Iterable[str], count: int = 1, cutoff: float = 0.6) -> list[str]:
    """Return at most `count` of the known names that are most like a word, the best first; case does not count.

    Args:
        word: What was written.
        known: The names there are.
        count: How many to return.
        cutoff: How alike they must be, from 0 (anything) to 1 (equal but for case).
    """
    folded: dict[str, str] = {}
    for name in known:
        folded.setdefault(name.casefold(), name)
    return [folded[name] for name in get_close_matches(word.casefold(), folded, n=count, cutoff=cutoff)]
