"""YAML that somebody else wrote: read within limits, and with names that stay text.

YAML 1.1 takes `0012` for a number in octal, `1:30` for one to the base 60, `2024-01-05` for a date, `no` for false.
Here numbers are decimal without leading zeros, `true`, `false` and `null` are themselves, and all else is text, as
in the core schema of YAML 1.2.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml

_MOST_BYTES, _DEEPEST = 2**20, 40
_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_WHOLE, _EXPONENT = r"(?:0|[1-9][0-9]{0,17})", r"[eE][-+]?[0-9]{1,3}"
_FLOAT = re.compile(
    rf"[-+]?{_WHOLE}?\.[0-9]{{1,40}}(?:{_EXPONENT})?|[-+]?{_WHOLE}\.(?:{_EXPONENT})?|[-+]?{_WHOLE}{_EXPONENT}"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_KINDS = (("null", _NULL), ("bool", _BOOL), ("int", _INT), ("float", _FLOAT))


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    yaml_implicit_resolvers: ClassVar[dict[Any, Any]] = {
        None: [(f"tag:yaml.org,2002:{kind}", re.compile(f"(?:{pattern.pattern})$")) for kind, pattern in _KINDS]
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that stands twice, of which YAML keeps the last in silence."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for number, key in enumerate(keys) if key in keys[:number]), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} stands twice", node.start_mark)
        built: dict[Any, Any] = super().construct_mapping(node, deep)
        return built


class _Dumper(yaml.SafeDumper):
    """Quotes text that either of the two versions would read as something else."""


_Dumper.yaml_implicit_resolvers = {
    first: [*yaml.SafeDumper.yaml_implicit_resolvers.get(first, []), *_Loader.yaml_implicit_resolvers[None]]
    for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *"+-.0123456789tTfFnN~"}
}


def read_yaml(text: str) -> Any:
    """Return what a text in YAML (or JSON) holds.

    Raises:
        yaml.YAMLError: It is not valid, larger than a megabyte, nested more than 40 deep, has an alias, or a key twice.
    """
    if len(text) > _MOST_BYTES:
        raise yaml.YAMLError(f"larger than {_MOST_BYTES} characters")
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):  # one after the other: nothing is built and nothing recurses
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise yaml.YAMLError(f"nested more than {_DEEPEST} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"has an alias (*{event.anchor}); write its value out")
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader
    except (ValueError, TypeError) as error:  # such as a list for a key
        raise yaml.YAMLError(str(error)) from error


def write_yaml(data: object) -> str:
    """Return data as YAML that `read_yaml` reads back; keys keep their order."""
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True))
