"""Write docs/models.md from the cards of the installed packages: `python docs/build.py [--check]`."""

from __future__ import annotations

import sys
from pathlib import Path

from medzoo.core.registry import Spec, folder_of, specs
from medzoo.core.registry.cards import body

PAGE = Path(__file__).parent / "models.md"
HEAD = "<!-- Written by docs/build.py from the cards in the packages; edit those. -->\n# Models and data\n"


def facts(spec: Spec) -> list[str]:
    """Return the facts of a card as lines of a list."""
    hidden = ("name", "class", "task", "summary")
    return [f"- {key}: {' '.join(str(value).split())}" for key, value in spec.card.items() if key not in hidden]


def page() -> str:
    """Return the page's text."""
    own = lambda kind: [s for s in specs(kind) if s.package.startswith("medzoo-") and s.package != "medzoo-toy"]  # noqa: E731
    parts = [HEAD]
    for spec in [*own("model"), *own("selector")]:
        folder = folder_of(spec.target)
        parts += [f"## {spec.name}\n", f"{spec.summary} ({spec.task}, `{spec.package}`)\n", *facts(spec)]
        parts += ["", body(folder) if folder else "", ""]
    parts += ["## Data modules\n", "| name | package | what |", "|---|---|---|"]
    parts += [f"| `{s.name}` | {s.package} | {s.summary} |" for s in own("datamodule")]
    return "\n".join(parts) + "\n"


def main() -> None:
    """Write the page, or with `--check` fail where it is out of date."""
    if "--check" in sys.argv[1:]:
        sys.exit(PAGE.read_text(encoding="utf8") != page() and f"{PAGE} is out of date: run make docs")
    PAGE.write_text(page(), encoding="utf8")


if __name__ == "__main__":
    main()
