"""`medzoo new`: the command line."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

from medzoo.core.cli.streams import say, show
from medzoo.core.cli.words import words_and_out
from medzoo.core.errors import ConfigError
from medzoo.core.registry import names

HELP = """usage: medzoo new NAME [-o DIR]

Writes an installable package medzoo-NAME with a model, a data module, a verb, cards, a recipe and tests. All of it
works as it is: a small classifier of drawn pictures, to be replaced part by part. NAME is of small letters, digits and
hyphens.
  -o, --out DIR   folder of the package, which must not exist yet (default: medzoo-NAME)
"""
_TEMPLATE = Path(__file__).parent / "template"


def run(args: list[str]) -> None:
    """Write the package.

    Raises:
        ConfigError: The arguments are wrong, the name is taken, or the folder exists.
    """
    if not args or {"--help", "-h"} & set(args):
        show(HELP)
        if not args:
            raise ConfigError("medzoo new needs NAME")
        return
    given, out = words_and_out(args)
    if len(given) != 1:
        raise ConfigError(f"medzoo new needs one NAME, got {' '.join(given) or 'none'}")
    _write(given[0], Path(out or f"medzoo-{given[0]}"))


def _write(name: str, folder: Path) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > 40:
        raise ConfigError(f"{name}: expected at most 40 small letters, digits and single hyphens, such as my-method")
    taken = next((kind for kind in ("model", "datamodule", "verb") if {name, f"{name}-data"} & set(names(kind))), None)
    if taken is not None:
        raise ConfigError(f"{name}: there is a {taken} of that name; choose another")
    if folder.exists():
        raise ConfigError(f"-o {folder}: exists; name another folder")
    words = {
        "@NAME@": name,
        "@MODULE@": f"medzoo_{name.replace('-', '_')}",
        "@CLASS@": "".join(part.capitalize() for part in name.split("-")),
        "@VERSION@": version("medzoo-core"),
    }
    for source in sorted(_TEMPLATE.rglob("*.in")):
        place = _filled(source.relative_to(_TEMPLATE).as_posix().removesuffix(".in"), words)
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_filled(source.read_text(encoding="utf-8"), words), encoding="utf-8")
    say(f"written: {folder}")
    for line in (f"pip install -e {folder}", f"medzoo fit --model {name}", f"pytest {folder}"):
        say(f"  {line}")


def _filled(text: str, words: dict[str, str]) -> str:
    for mark, word in words.items():
        text = text.replace(mark, word)
    return text
