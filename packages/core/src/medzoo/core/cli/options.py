"""The options of all installed models, data modules and of the trainer, for editors and shells."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Literal, Union, get_args, get_origin

from medzoo.core.cli.streams import say
from medzoo.core.errors import PluginError
from medzoo.core.recipes import KINDS, packaged_recipe
from medzoo.core.registry import Spec, load, specs


@dataclass(frozen=True)
class Option:
    """One option of a class.

    Attributes:
        name: Without the group, such as `match_lr`.
        kind: Its type, as annotated.
        default: Its value where nobody sets it.
        help: A line on it.
    """

    name: str
    kind: object
    default: object
    help: str


def options_of_class(loaded: type, group: str) -> list[Option]:
    """Return the options of a class, those that its base classes take included."""
    from medzoo.core.cli.parser import Parser
    from medzoo.core.seams import options_of, type_of

    parser = Parser(prog="medzoo", add_help=False)
    parser.add_class_arguments(loaded, group, fail_untyped=False)
    begin = f"{group}."
    actions = [a for a in options_of(parser) if a.dest.startswith(begin) and "." not in a.dest.removeprefix(begin)]
    return [Option(a.dest.removeprefix(begin), type_of(a), a.default, str(a.help or "")) for a in actions]


def plug_ins(key: str) -> Iterator[tuple[Spec, list[Option]]]:
    """Yield what is installed for a part of a configuration, with its options; defaults are those of a fit.

    Args:
        key: `model` or `data`.
    """
    for spec in specs(KINDS[key]):
        if spec.missing:
            continue
        try:
            options = options_of_class(load(spec), key)
        except PluginError as error:
            say(f"left out: {error}", error=True)
            continue
        own: dict[str, object] = {}
        if key == "model":
            own = packaged_recipe(spec).get("model", {}).get("init_args", {})
        yield spec, [Option(o.name, o.kind, own.get(o.name, o.default), o.help) for o in options]


def choices(kind: object) -> list[str]:
    """Return the words that a type allows, where it names them; of true and false both."""
    if kind is bool:
        return ["true", "false"]
    if get_origin(kind) is Literal:
        return [str(value) for value in get_args(kind)]
    if get_origin(kind) in (Union, UnionType):
        return [word for part in get_args(kind) for word in choices(part)]
    return []


def plain(value: object) -> object:
    """Return a default as JSON holds it; None where it cannot."""
    if isinstance(value, tuple | list):
        return [plain(entry) for entry in value]
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    return value if isinstance(value, bool | int | float | str) else None


def of_class(kind: object, base: type) -> bool:
    """Return whether a type is a class below another."""
    return inspect.isclass(kind) and issubclass(kind, base)
