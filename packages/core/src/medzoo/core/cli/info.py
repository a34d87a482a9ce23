"""`medzoo info NAME`: the card of a model, data module or selector, without importing it."""

from __future__ import annotations

from collections.abc import Mapping

from medzoo.core.cli.streams import say, show
from medzoo.core.errors import ConfigError
from medzoo.core.registry import find, folder_of, kinds, names
from medzoo.core.registry.cards import body


def run(args: list[str]) -> None:
    """Print the card."""
    if len(args) != 1 or args[0] in ("-h", "--help"):
        show("usage: medzoo info NAME\n\nThe card of a model, data module or selector, or of elastic-deform.")
        if args not in (["-h"], ["--help"]):
            raise ConfigError("medzoo info takes one name; see medzoo list")
        return
    if args[0] == "elastic-deform":
        from medzoo.core.ops.elastic_deform import backend_info

        info: Mapping[str, object] = backend_info()
        for key, value in info.items():
            say(f"{key}: {value}")
        return
    kind = next(
        (kind.name for kind in kinds().values() if kind.base and args[0].rpartition(":")[2] in names(kind.name)),
        "model",
    )
    spec = find(kind, args[0])
    say(f"{spec.name} ({spec.kind}, {spec.package} {spec.version}, {spec.target})")
    for key, value in spec.card.items():
        if key not in ("name", "class"):
            say(f"{key}: {_inline(value)}")
    folder = folder_of(spec.target)
    text = body(folder) if folder and spec.kind != "datamodule" else ""
    if text:
        show(f"\n{text}")
    if spec.kind == "datamodule":
        say(f"what it reads, and its options: medzoo check --data {spec.name} --help")


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_inline(v)}" for k, v in value.items())
    return ", ".join(map(_inline, value)) if isinstance(value, list) else str(value).strip()
