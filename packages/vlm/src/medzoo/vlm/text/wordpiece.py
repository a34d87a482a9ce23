"""BERT's tokenizer without a library: words split at blanks and punctuation, then the longest pieces that are known."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from medzoo.core.errors import DataError

PAD, UNKNOWN, START, END, MASK = SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LONGEST = 100  # characters of a word that is still looked up, as in BERT
_MOST_BYTES = 2**25
PROBE = "pleural effusion"
"""What a vocabulary for radiology must know at least one piece of."""


@dataclass(frozen=True)
class Tokens:
    """Texts as a network takes them, padded to the longest.

    Attributes:
        ids: `(B, T)` int64, places in the vocabulary.
        words: `(B, T)` int64, number of the word that each piece belongs to, −1 for padding. `[CLS]` and `[SEP]` are
            words of their own.
        truncated: Whether each text was cut to the limit.
        unknown: Whether no piece of each text is known.
    """

    ids: Tensor
    words: Tensor
    truncated: tuple[bool, ...]
    unknown: tuple[bool, ...]


class WordPiece:
    """Cuts texts into pieces of a vocabulary.

    Args:
        vocabulary: The pieces in the order of their numbers, with `SPECIALS` among them; `##` begins a piece that
            goes on within a word.
        lower: Whether texts are lower-cased and lose their accents.

    Raises:
        ValueError: A special piece is missing, or a piece comes twice.
    """

    def __init__(self, vocabulary: Sequence[str], lower: bool = True) -> None:
        self.vocabulary, self.lower = tuple(vocabulary), lower
        self.places = {piece: place for place, piece in enumerate(self.vocabulary)}
        missing = [piece for piece in SPECIALS if piece not in self.places]
        if missing:
            raise ValueError(f"the vocabulary has no {missing[0]}")
        if len(self.places) < len(self.vocabulary):
            twice = next(piece for piece, count in Counter(self.vocabulary).items() if count > 1)
            raise ValueError(f"the vocabulary has {twice!r} twice")

    def words(self, text: str) -> list[str]:
        """Return the words of a text; each punctuation mark is one."""
        text = "".join(" " if c.isspace() else c for c in text if c.isspace() or not _control(c))
        if self.lower:
            text = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
        return "".join(f" {c} " if _punctuation(c) or _ideograph(c) else c for c in text).split()

    def pieces(self, word: str) -> list[str]:
        """Return the longest known pieces of a word from its start; one `[UNK]` where one part is not known."""
        found: list[str] = []
        start = 0
        while start < len(word):
            mark = "##" if start else ""
            ends = range(len(word), start, -1) if len(word) <= _LONGEST else ()
            end = next((e for e in ends if mark + word[start:e] in self.places), None)
            if end is None:
                return [UNKNOWN]
            found.append(mark + word[start:end])
            start = end
        return found

    def __call__(self, texts: Sequence[str], limit: int) -> Tokens:
        """Return `[CLS]`, the pieces of each text, `[SEP]`, at most `limit` in all.

        Args:
            texts: At least one.
            limit: Largest number of pieces of a text; what is beyond is cut.
        """
        rows, numbers, cut, unknown = [], [], [], []
        for text in texts:
            split = [self.pieces(word) for word in self.words(text)]
            flat = [(piece, number) for number, word in enumerate(split, 1) for piece in word]
            unknown.append(all(piece == UNKNOWN for piece, _ in flat))
            cut.append(len(flat) > limit - 2)
            flat = flat[: limit - 2]
            last = flat[-1][1] if flat else 0
            rows.append([self.places[piece] for piece in (START, *(piece for piece, _ in flat), END)])
            numbers.append([0, *(number for _, number in flat), last + 1])
        longest = max(map(len, rows))
        ids = torch.tensor([row + [self.places[PAD]] * (longest - len(row)) for row in rows])
        words = torch.tensor([row + [-1] * (longest - len(row)) for row in numbers])
        return Tokens(ids, words, tuple(cut), tuple(unknown))


def build_vocabulary(texts: Iterable[str], size: int, lower: bool = True) -> list[str]:
    """Return a vocabulary of a corpus: specials, all characters, then the most frequent words; always the same.

    Args:
        texts: The corpus.
        size: Largest number of pieces; the characters are never left out, so that every word has pieces.
        lower: Whether texts are lower-cased.
    """
    splitter = WordPiece(SPECIALS, lower)
    counts = Counter(word for text in texts for word in splitter.words(text))
    characters = sorted({character for word in counts for character in word})
    found = dict.fromkeys([*SPECIALS, *characters, *(f"##{character}" for character in characters)])
    for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if len(found) >= size:
            break
        found.setdefault(word)
    return list(found)


def read_vocabulary(folder: Path) -> tuple[list[str], bool]:
    """Read the vocabulary of a local Hugging Face folder, and whether it is of lower-cased texts.

    `vocab.txt` has a piece a line; otherwise `tokenizer.json` of a WordPiece tokenizer is read. Texts are lower-cased
    unless `tokenizer_config.json` or `tokenizer.json` says otherwise.

    Raises:
        DataError: The folder has neither file, or none of a WordPiece tokenizer.
    """
    lower, plain, full = True, folder / "vocab.txt", folder / "tokenizer.json"
    settings = _json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    if plain.is_file():
        vocabulary = _text(plain).removesuffix("\n").split("\n")  # a piece may be another mark that ends a line
    elif full.is_file():
        content = _json(full)
        model, normalizer = content.get("model"), content.get("normalizer")
        if not isinstance(model, dict) or model.get("type") != "WordPiece" or not isinstance(model.get("vocab"), dict):
            raise DataError(full, "is not a WordPiece tokenizer", "give the folder of a BERT")
        pieces: dict[str, int] = model["vocab"]
        vocabulary = sorted(pieces, key=pieces.__getitem__)
        lower = bool(normalizer.get("lowercase", True)) if isinstance(normalizer, dict) else True
    else:
        raise DataError(
            folder, "has neither vocab.txt nor tokenizer.json", "put the tokenizer's files beside the model"
        )
    return vocabulary, bool(settings.get("do_lower_case", lower))


def _text(path: Path) -> str:
    if path.stat().st_size > _MOST_BYTES:
        raise DataError(path, f"is larger than {_MOST_BYTES} bytes", "give the files of a BERT")
    try:
        return path.read_text(encoding="utf8")
    except ValueError as error:
        raise DataError(path, "is not text in UTF-8", "get the file anew") from error


def _json(path: Path) -> dict[str, object]:
    try:
        content = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(path, "is not valid JSON", "get the file anew") from error
    if not isinstance(content, dict):
        raise DataError(path, "is not a JSON object", "get the file anew")
    return content


def _control(character: str) -> bool:
    return character in ("\0", "\ufffd") or unicodedata.category(character).startswith("C")


def _punctuation(character: str) -> bool:
    """Tell of a mark that stands alone: ASCII's, such as `$` and `^` too, and those that Unicode calls punctuation."""
    return bool(re.match(r"[!-/:-@\[-`{-~]", character)) or unicodedata.category(character).startswith("P")


def _ideograph(character: str) -> bool:
    code = ord(character)
    ranges = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F))
    return any(low <= code <= high for low, high in ranges)
