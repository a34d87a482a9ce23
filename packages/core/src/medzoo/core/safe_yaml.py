"""YAML that somebody else wrote: read within limits, and with names that stay text.

YAML 1.1 takes `0012` for a number in octal, `1:30` for one to the base 60, `2024-01-05` for a date, `no` for false.
Here numbers are decimal without leading zeros, `true`, `false` and `null` are themselves, and all else is text, as
in the core schema of YAML 1.2.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from enum import Enum
from typing import ClassVar

import yaml

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # a PyYAML that was built without its library in C
    from yaml import SafeLoader as _SafeLoader

_MOST_BYTES, _DEEPEST, _MOST_VALUES = 2**20, 40, 20_000
_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_WHOLE, _EXPONENT = r"(?:0|[1-9][0-9]{0,17})", r"[eE][-+]?[0-9]{1,3}"
_FLOAT = re.compile(
    rf"[-+]?{_WHOLE}?\.[0-9]{{1,40}}(?:{_EXPONENT})?|[-+]?{_WHOLE}\.(?:{_EXPONENT})?|[-+]?{_WHOLE}{_EXPONENT}"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_KINDS = (("null", _NULL), ("bool", _BOOL), ("int", _INT), ("float", _FLOAT))


class _Loader(_SafeLoader):
    yaml_implicit_resolvers: ClassVar[dict[str | None, list[tuple[str, re.Pattern[str]]]]] = {
        None: [(f"tag:yaml.org,2002:{kind}", re.compile(f"(?:{pattern.pattern})$")) for kind, pattern in _KINDS]
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        """Refuse a key that stands twice, of which YAML keeps the last in silence."""
        seen = set()
        for place, _ in node.value:
            key = self.construct_object(place, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", node.start_mark)
            seen.add(key)
        built: dict[Hashable, object] = super().construct_mapping(node, deep)
        return built


class _Dumper(yaml.SafeDumper):
    """Quotes text that either of the two versions would read as something else."""


_Dumper.add_multi_representer(Enum, lambda dumper, value: dumper.represent_str(value.name))
_Dumper.yaml_implicit_resolvers = {
    first: [*yaml.SafeDumper.yaml_implicit_resolvers.get(first, []), *_Loader.yaml_implicit_resolvers[None]]
    for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *"+-.0123456789tTfFnN~"}
}


def read_yaml(text: str) -> object:
    """Return what a text in YAML (or JSON) holds.

    Raises:
        yaml.YAMLError: It is not valid, larger than a megabyte, nested more than 40 deep, has more than 20,000 values,
            an alias, a tag or a key twice.
    """
    if len(text) > _MOST_BYTES:
        raise yaml.YAMLError(f"larger than {_MOST_BYTES} characters")
    depth = values = 0
    for event in yaml.parse(text, Loader=_Loader):  # one after the other: nothing is built and nothing recurses
        values += isinstance(event, yaml.NodeEvent)
        if values > _MOST_VALUES:
            raise yaml.YAMLError(f"has more than {_MOST_VALUES} values")
        if getattr(event, "tag", None) not in (None, "!"):
            raise yaml.YAMLError(f"has a tag ({event.tag[:60]}); write the value as it is")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise yaml.YAMLError(f"nested more than {_DEEPEST} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"has an alias (*{event.anchor}); write its value out")
    try:
        loaded: object = yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader
    except (ValueError, TypeError) as error:  # such as a list for a key
        raise yaml.YAMLError(str(error)) from error
    return loaded


def write_yaml(data: object) -> str:
    """Return data as YAML that `read_yaml` reads back; keys keep their order."""
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True))
