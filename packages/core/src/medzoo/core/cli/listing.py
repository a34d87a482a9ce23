"""`medzoo list`: what is installed, without importing it."""

from __future__ import annotations

import json
from fnmatch import fnmatch

from medzoo.core.cli.flags import split_flags
from medzoo.core.cli.streams import say, show
from medzoo.core.errors import ConfigError
from medzoo.core.registry import Spec, kinds, specs

HELP = """usage: medzoo list [PATTERN] [--long] [--json]

Models, data modules and other plug-ins that are installed. PATTERN matches names, with * and ?.
  --long   with task, summary and package; and what needs a package that is not installed
  --json   as a list of objects with name, kind, package, task, summary
"""


def run(args: list[str]) -> None:
    """Print the table."""
    flags, rest = split_flags(args, {"--long", "--json", "--help", "-h"})
    if {"--help", "-h"} & flags:
        show(HELP)
        return
    if len(rest) > 1 or any(a.startswith("-") for a in rest):
        raise ConfigError(f"medzoo list: unexpected {' '.join(rest)}; usage: medzoo list [PATTERN] [--long] [--json]")
    pattern = rest[0] if rest else "*"
    pattern = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    listed = [kind for kind in kinds().values() if kind.base]  # verbs are in the help
    shown = [s for kind in listed for s in specs(kind.name) if "--long" in flags or not s.missing]
    found = [s for s in shown if fnmatch(s.name, pattern)]
    if "--json" in flags:
        show(json.dumps([_row(s) for s in found], indent=2))
        return
    for kind in listed:
        members = [s for s in found if s.kind == kind.name]
        if members:
            say(f"{kind.title}:")
        width = max((len(s.name) for s in members), default=0)
        for s in members:
            facts = "; ".join(filter(None, (s.task, f"{s.package} {s.version}", s.missing)))
            text = f"{s.summary}  [{facts}]" if "--long" in flags else s.summary
            say(f"  {s.name:<{width}}  {text}".rstrip())
    if not found:
        say(f"nothing matches {pattern}")


def _row(spec: Spec) -> dict[str, str]:
    return {k: str(getattr(spec, k)) for k in ("name", "kind", "package", "version", "task", "summary", "target")}
