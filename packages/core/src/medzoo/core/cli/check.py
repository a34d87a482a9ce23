"""`medzoo check --data NAME --data.root DIR`: look over a data folder, headers and label files only."""

from __future__ import annotations

import inspect

from medzoo.core.cli.request import check_values
from medzoo.core.cli.streams import say, show
from medzoo.core.errors import ConfigError, DataError
from medzoo.core.registry import find, load

HELP = """usage: medzoo check --data NAME [--data.root DIR ...]

Looks over the images' headers and all label files and lists every fault. Exit code 2 where there is one.
  medzoo check --data NAME --help   what the data module reads, and its options
"""
_SHOWN = 20


def run(args: list[str]) -> None:
    """Print every fault of the data, one line each.

    Raises:
        ConfigError: The arguments are wrong.
        DataError: There is a fault; the others were printed before.
    """
    check_values(args)
    helps = {"--help", "-h"} & set(args)
    words = [part for a in args if a not in helps for part in (a.split("=", 1) if a.startswith("--data=") else [a])]
    if "--data" not in words[:-1]:
        if helps or not args:
            show(HELP)
        if helps:
            return
        raise ConfigError("medzoo check needs --data NAME")
    at = words.index("--data")
    spec = find("datamodule", words[at + 1])
    data_class = load(spec)
    from medzoo.core.cli.help_page import tidy
    from medzoo.core.cli.parser import parser_of

    usage = f"medzoo check --data {spec.name} [options]"
    kind = parser_of({"data": data_class})
    parser = kind(prog="medzoo check", usage=usage, description="", allow_abbrev=False, add_help=False)
    parser.add_class_arguments(data_class, "data", fail_untyped=False)
    if helps:
        show((inspect.getdoc(data_class) or "").partition("\nArgs:")[0])
        tidy(parser)
        show(parser.format_help())
        return
    config = parser.parse_args(words[:at] + words[at + 2 :])
    data = parser.instantiate_classes(config).data
    check = getattr(data, "check", None)
    if check is None:
        raise ConfigError(f"{spec.name} has no check of its data")
    faults: list[DataError] = list(check())
    for fault in faults[:-1][: _SHOWN - 1]:
        say(fault)
    if len(faults) > _SHOWN:
        say(f"and {len(faults) - _SHOWN + 1} more, of which the last is:")
    if faults:
        last = faults[-1]
        count = f" ({len(faults)} faults in all)" if len(faults) > 1 else ""
        raise DataError(last.path, f"{last.problem}{count}", last.cure)
    say(f"{spec.name}: no fault found")
    for line in data.summary("check") if hasattr(data, "summary") else ():
        say(line)
