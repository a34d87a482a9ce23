"""Model cards: one Markdown file beside each method (and one per package for its data), read without importing it.

A card starts with YAML between two `---` lines. A method's folder holds `card.md`; the data modules of a folder share
`cards.md`, whose front matter maps each name to its facts.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path


@cache
def _read(path: Path) -> tuple[dict[str, object], str]:
    """Return front matter and text of a card; both empty where the file is missing or, being somebody's, unreadable."""
    try:
        text = path.read_text(encoding="utf8")
    except (OSError, ValueError):
        return {}, ""
    import yaml

    from medzoo.core.safe_yaml import read_yaml

    if not text.startswith("---\n"):
        return {}, text
    head, _, body = text[4:].partition("\n---\n")
    try:
        loaded = read_yaml(head)
    except (yaml.YAMLError, ValueError):
        return {}, body.strip()
    return (loaded if isinstance(loaded, dict) else {}), body.strip()


def front_matter(folder: Path, name: str) -> Mapping[str, object]:
    """Return the facts on `name`, from `card.md` or `cards.md` in `folder`; empty where there is neither."""
    own, _ = _read(folder / "card.md")
    if own.get("name") == name:
        return own
    shared, _ = _read(folder / "cards.md")
    facts = shared.get(name, {})
    return facts if isinstance(facts, dict) else {}


def body(folder: Path) -> str:
    """Return the text of a method's card below its front matter."""
    return _read(folder / "card.md")[1]
