"""Text that comes from data (names of files, domains, landmarks), made safe for each medium it is written to."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_LONGEST = 100
"""Bytes of a file name: file systems take 255, of which endings and temporary names need some."""
_HASH = re.compile(r"-[0-9a-f]{8}$")
_FORBIDDEN = set('/\\:*?"<>|')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_FORMULA = re.compile(r"'*\s*[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|infinity|nan)", re.IGNORECASE)


def file_name(text: object) -> str:
    """Return a name for one file or folder, without separators and valid on every common system.

    A name that is valid stays as it is. Every other is changed and gets eight hexadecimal digits of its hash, so that
    distinct texts have distinct names.

    Args:
        text: Of any content and length.
    """
    wanted = str(text)
    name = "".join("_" if c in _FORBIDDEN or not _visible(c) else c for c in wanted).strip(" ").rstrip(" .")
    name = name.encode()[:_LONGEST].decode(errors="ignore")
    sound = name == wanted and name and name[0] not in ".-" and not _RESERVED.fullmatch(name)
    if sound and not _HASH.search(name):
        return name
    import hashlib  # not needed by `medzoo --help`

    digest = hashlib.sha256(wanted.encode(errors="surrogatepass")).hexdigest()[:8]
    stem = name.lstrip(".-").encode()[: _LONGEST - 9].decode(errors="ignore").rstrip(" .")
    stem = f"_{stem}" if not stem or _RESERVED.fullmatch(stem) else stem
    return f"{stem}-{digest}"


def csv_cell(text: str) -> str:
    """Return a cell that a spreadsheet shows as text: what would start a formula gets a leading apostrophe.

    Numbers such as `-3.5` stay as they are.
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def csv_text(cell: str) -> str:
    """Return what `csv_cell` was given."""
    return cell[1:] if cell.startswith("'") and csv_cell(cell[1:]) == cell else cell


def printable(text: object) -> str:
    r"""Return one line for a terminal: control characters, line ends and broken characters become `\x1b` and alike."""
    line = str(text)
    if line.isprintable():  # most are, and thousands of characters are looked at before the first line of an answer
        return line
    return "".join(c if _visible(c) else c.encode("unicode_escape").decode() for c in line)


def listed(names: Sequence[object], most: int = 4) -> str:
    """Return the first names with commas between them, and an ellipsis where there are more."""
    return ", ".join([*map(str, names[:most]), *["…"] * (len(names) > most)])


def markdown_cell(text: object) -> str:
    """Return a cell of a Markdown table that shows the text as it is."""
    return re.sub(r"([\\|`*<>\[\]])", r"\\\1", printable(text))


def figure_text(text: object) -> str:
    """Return text for a figure: Matplotlib would read what stands between two `$` as a formula."""
    return printable(text).replace("$", r"\$")


def _visible(character: str) -> bool:
    """Whether a character neither controls a terminal nor is half of one (a file name that is not UTF-8 has such)."""
    return unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp") and character not in _DIRECTIONS


_DIRECTIONS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that reverse what is shown after them."""
