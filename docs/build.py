"""Write docs/models.md and docs/models/ from the cards of the installed packages: `python docs/build.py [--check]`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from medzoo.core.registry import Spec, folder_of, specs
from medzoo.core.registry.cards import body

DOCS = Path(__file__).parent
INDEX, FOLDER = DOCS / "models.md", DOCS / "models"
HEAD = "<!-- Written by docs/build.py from the cards in the packages; edit those. -->\n"
INTRODUCTION = """# Models and data

Each name leads to the method's card: paper, what is faithful, what is fixed, limits. The terminal shows the same.
[concepts.md](concepts.md) explains the words.

```
medzoo list
medzoo info uod
```
"""
KINDS = {"model": "Models", "selector": "Selectors", "datamodule": "Data modules"}


def own(kind: str) -> list[Spec]:
    """Return the plug-ins of a kind that medzoo's own packages bring."""
    return [s for s in specs(kind) if s.package.startswith("medzoo-") and s.package != "medzoo-toy"]


def short(spec: Spec) -> str:
    """Return the package of a plug-in without `medzoo-`."""
    return spec.package.removeprefix("medzoo-")


def facts(spec: Spec) -> list[str]:
    """Return the facts of a card as lines of a list."""
    hidden = ("name", "class", "task", "summary")
    return [f"- {key}: {' '.join(str(value).split())}" for key, value in spec.card.items() if key not in hidden]


def text_of(folder: Path) -> str:
    """Return the text of a method's card, its headings below the method's name."""
    return re.sub(r"^## ", "### ", body(folder), flags=re.MULTILINE)


def package_page(package: str) -> str:
    """Return the text of a package's page: the card of each method and selector, then its data modules."""
    parts = [HEAD, f"# medzoo-{package}: models and data\n"]
    for spec in [*own("model"), *own("selector")]:
        if short(spec) == package:
            folder = folder_of(spec.target)
            parts += [f"## {spec.name}\n", f"{spec.summary} ({spec.task})\n", *facts(spec)]
            parts += ["", text_of(folder) if folder else "", ""]
    data = [spec for spec in own("datamodule") if short(spec) == package]
    if data:
        parts += ["## Data modules\n", "| name | what |", "|---|---|", *(f"| `{s.name}` | {s.summary} |" for s in data)]
    return "\n".join(parts).rstrip() + "\n"


def index() -> str:
    """Return the text of the index: a line for each plug-in, with a link to its card."""
    parts = [HEAD + INTRODUCTION]
    for kind, title in KINDS.items():
        parts += [f"## {title}\n", "| name | package | what |", "|---|---|---|"]
        for spec in own(kind):
            place = "data-modules" if kind == "datamodule" else spec.name
            name = f"[{spec.name}](models/{short(spec)}.md#{place})"
            parts.append(f"| {name} | {spec.package} | {spec.summary} |")
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def pages() -> dict[Path, str]:
    """Return the text of every page by its file."""
    packages = sorted({short(spec) for kind in KINDS for spec in own(kind)})
    return {INDEX: index(), **{FOLDER / f"{package}.md": package_page(package) for package in packages}}


def main() -> None:
    """Write the pages, or with `--check` fail where one is out of date, missing or of no package."""
    wanted = pages()
    there = {path: path.read_text(encoding="utf8") for path in [INDEX, *FOLDER.glob("*.md")] if path.is_file()}
    if "--check" in sys.argv[1:]:
        stale = sorted(str(path) for path in {*wanted, *there} if wanted.get(path) != there.get(path))
        sys.exit(f"out of date: {', '.join(stale)}; run make docs" if stale else 0)
    FOLDER.mkdir(exist_ok=True)
    for path in there.keys() - wanted.keys():
        path.unlink()
    for path, text in wanted.items():
        path.write_text(text, encoding="utf8")


if __name__ == "__main__":
    main()
