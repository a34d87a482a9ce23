"""What verbs of this package read from their command lines."""

from __future__ import annotations

from typing import Any

from medzoo.core.errors import ConfigError
from medzoo.core.registry import find, load


def number(option: str, text: str) -> float:
    """Read a number or a fraction such as `1/255`.

    Raises:
        ConfigError: It is none.
    """
    over, _, under = text.partition("/")
    try:
        return float(over) / float(under or 1)
    except (ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"{option}: expected a number or a fraction such as 1/255, got {text}") from error


def data_of(verb: str, path: str, wanted: str | None, options: list[str]) -> tuple[str, Any]:
    """Build the data module of a checkpoint, or another, with options of the command line.

    Args:
        verb: Whose command line it is.
        path: The checkpoint.
        wanted: Name of another data module.
        options: Such as `--data.root DIR`.

    Raises:
        ConfigError: The checkpoint names no data and nobody else does.
    """
    from medzoo.core.cli.parser import parser_of
    from medzoo.core.runs.checkpoint_io import read_checkpoint
    from medzoo.core.runs.saved import saved

    told = saved(read_checkpoint(path), "datamodule")
    spec = find("datamodule", wanted) if wanted else told.spec if told else None
    if spec is None:
        raise ConfigError(f"missing --data NAME: {path} names none")
    kind = parser_of({"data": load(spec)})
    parser = kind(prog="medzoo", usage=f"medzoo {verb} CKPT [options]", add_help=False)
    parser.add_class_arguments(load(spec), "data", fail_untyped=False)
    if told and told.spec == spec:
        parser.set_defaults({f"data.{key}": value for key, value in told.settings.items()})
    return spec.name, parser.instantiate_classes(parser.parse_args(options)).data
