"""`medzoo schema`: what a configuration file may hold, as JSON Schema, so that an editor completes and checks it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Literal, Union, get_args, get_origin

from medzoo.core.cli.options import Option, of_class, options_of_class, plain, plug_ins
from medzoo.core.cli.streams import say, show
from medzoo.core.cli.words import words_and_out
from medzoo.core.errors import ConfigError

HELP = """usage: medzoo schema [-o FILE]

Writes a JSON Schema of configuration files: the models and data modules that are installed, their options with types,
choices, defaults and help, and the trainer's. An editor with it completes and checks a file of --config. In the first
line of the file name it: # yaml-language-server: $schema=medzoo.schema.json
  -o, --out FILE   the file (default: medzoo.schema.json)
"""
DRAFT = "http://json-schema.org/draft-07/schema#"
Schema = dict[str, object]
_PLAIN: tuple[tuple[type, str], ...] = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (os.PathLike, "string"),
)


def run(args: list[str]) -> None:
    """Write the schema.

    Raises:
        ConfigError: The arguments are wrong.
    """
    if {"--help", "-h"} & set(args):
        show(HELP)
        return
    words, out = words_and_out(args)
    if words:
        raise ConfigError(f"medzoo schema takes no word, got {words[0]}")
    from medzoo.core.io import write_json

    path = Path(out or "medzoo.schema.json")
    write_json(path, schema())
    say(f"schema of configuration files: {path}")


def schema() -> Schema:
    """Return the schema of everything that is installed."""
    from lightning.pytorch import Trainer

    definitions: dict[str, Schema] = {}
    parts = {key: _part(key, definitions) for key in ("model", "data")}
    return {
        "$schema": DRAFT,
        "title": "Configuration of medzoo",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            **parts,
            "trainer": {"type": "object", **_properties(options_of_class(Trainer, "trainer"))},
            "seed_everything": {"type": ["integer", "boolean"], "default": 0},
            "test_sets": {"type": "object", "additionalProperties": {"type": "string"}},
            "freeze": {"type": "array", "items": {"type": "string"}},
            "init_from": {"type": "string"},
            "ckpt_path": {"type": "string"},
        },
        "definitions": definitions,
    }


def _part(key: str, definitions: dict[str, Schema]) -> Schema:
    """Return the schema of a model or data module: a name, or a name with its options, which depend on it."""
    known: list[str] = []
    rules: list[Schema] = []
    for spec, options in plug_ins(key):
        names = [spec.name, spec.class_path]
        known += names
        definitions[f"{key}.{spec.name}"] = {"type": "object", "description": spec.summary, **_properties(options)}
        chosen = {"properties": {"class_path": {"enum": names}}, "required": ["class_path"]}
        settings = {"init_args": {"$ref": f"#/definitions/{key}.{spec.name}"}}
        rules.append({"if": chosen, "then": {"properties": settings}})
    named: Schema = {"class_path": {"type": "string", "enum": known}, "init_args": {"type": "object"}}
    whole: Schema = {"type": "object", "properties": named, "additionalProperties": False, "allOf": rules}
    return {"anyOf": [{"type": "string", "enum": known}, whole]}


def _properties(options: Sequence[Option]) -> Schema:
    return {"properties": {option.name: _option(option) for option in options}, "additionalProperties": False}


def _option(option: Option) -> Schema:
    """Return the schema of an option; null is taken where a class takes it."""
    default = plain(option.default)
    more: Schema = {"description": option.help} if option.help else {}
    return {**of_type(option.kind), **more, **({"default": default} if default is not None else {})}


def of_type(kind: object) -> Schema:
    """Return the schema of an annotation; empty, which allows anything, for what JSON has no word for."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind in (None, type(None)):
        return {"type": "null"}
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (Union, UnionType):
        found = [of_type(part) for part in inner]
        return {} if {} in found else {"anyOf": found}
    if of_class(origin, Mapping):
        return {"type": "object", "additionalProperties": of_type(inner[1])}
    if origin is tuple and Ellipsis not in inner:
        return {"type": "array", "items": [of_type(part) for part in inner], "additionalItems": False}
    if of_class(origin, Sequence):
        return {"type": "array", "items": of_type(inner[0])}
    word = next((word for base, word in _PLAIN if of_class(kind, base)), None)
    return {} if word is None else {"type": word}
