"""What verbs of this package read from their command lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from medzoo.core.cli.request import check_values, split_equals, take_value
from medzoo.core.errors import ConfigError
from medzoo.core.registry import find, load
from medzoo.core.spelling import nearest


class Words(NamedTuple):
    """A command line: the checkpoint, values and switches by name, and the options of the data as they were given."""

    checkpoint: str
    values: dict[str, str]
    switches: set[str]
    data: list[str]


def read_words(verb: str, args: list[str], valued: Sequence[str], switches: Sequence[str] = ()) -> Words:
    """Read `CKPT [options]`, in any order; options of the data, `--data.root DIR`, are kept for the data's parser.

    Args:
        verb: Whose command line it is.
        args: The arguments after it.
        valued: Options with a value.
        switches: Options without one.

    Raises:
        ConfigError: An option is unknown or has no value, or there is not one checkpoint.
    """
    check_values(args)
    words: list[str] = []
    found = Words("", {}, set(), [])
    queue = split_equals(args, tuple(valued))
    while queue:
        flag = queue.pop(0)
        if flag in valued:
            found.values[flag] = take_value(flag, queue)
        elif flag in switches:
            found.switches.add(flag)
        elif flag.startswith("--data."):
            found.data.extend([flag] if "=" in flag else [flag, take_value(flag, queue)])
        elif flag.startswith("-"):
            near = nearest(flag.partition("=")[0], (*valued, *switches))
            raise ConfigError(f"no option {flag}" + (f"; did you mean {near[0]}?" if near else "; see --help"))
        else:
            words.append(flag)
    if not words:
        raise ConfigError(f"medzoo {verb} needs a checkpoint, such as runs/…/checkpoints/last.ckpt")
    if len(words) > 1:
        raise ConfigError(f"medzoo {verb} needs one checkpoint, got {' '.join(words)}")
    return Words(words[0], found.values, found.switches, found.data)


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


def whole(option: str, text: str, least: int = 1) -> int:
    """Read a whole number.

    Raises:
        ConfigError: It is none, or below the least.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least):
        raise ConfigError(f"{option}: expected a whole number, {least} or more, got {text}")
    return int(text)


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
