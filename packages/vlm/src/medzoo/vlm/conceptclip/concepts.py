"""Which words of a caption name a concept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """A concept in a caption.

    Attributes:
        concept: Its name, the same for all its synonyms.
        start: Its first word.
        end: The word behind its last one.
    """

    concept: str
    start: int
    end: int


class ConceptFinder:
    """Finds concepts in captions by the words that name them; the longest name first, none within another.

    Args:
        names: Each name, and the concept that it stands for.
        split: Cuts a text into the words of the text encoder.
    """

    def __init__(self, names: Mapping[str, str], split: Callable[[str], Sequence[str]]) -> None:
        self._split = split
        sequences = {tuple(split(name)): concept for name, concept in names.items()}
        self._names = sorted(sequences.items(), key=lambda item: (-len(item[0]), item[0]))
        self._first = frozenset(words[0] for words, _ in self._names)

    def __call__(self, caption: str, limit: int) -> list[Span]:
        """Return the concepts of a caption in their order; a plural «s» is allowed at the end of a name.

        Args:
            caption: The text.
            limit: Words that the text encoder sees; a concept that is cut is left out.
        """
        words = list(self._split(caption))[:limit]
        found: list[Span] = []
        start = 0
        while start < len(words):
            span = self._at(words, start) if self._begins(words[start]) else None
            if span is None:
                start += 1
            else:
                found.append(span)
                start = span.end
        return found

    def _begins(self, word: str) -> bool:
        return word in self._first or word.removesuffix("s") in self._first

    def _at(self, words: Sequence[str], start: int) -> Span | None:
        for name, concept in self._names:
            part = tuple(words[start : start + len(name)])
            if len(part) == len(name) and name in (part, (*part[:-1], part[-1].removesuffix("s"))):
                return Span(concept, start, start + len(name))
        return None


def names_of(concepts: Iterable[tuple[str, Sequence[str]]]) -> dict[str, str]:
    """Return each name with its concept.

    Args:
        concepts: Concepts with their names.
    """
    return {name: concept for concept, names in concepts for name in names}
