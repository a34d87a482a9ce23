"""`medzoo check --data NAME --data.root DIR`: look over a data folder, headers and label files only."""

from __future__ import annotations

from medzoo.core.errors import ConfigError, DataError
from medzoo.core.registry import find, load

HELP = """usage: medzoo check --data NAME [--data.root DIR ...]

Looks over the images' headers and all label files and lists every fault. Exit code 2 where there is one.
"""
_SHOWN = 20


def run(args: list[str]) -> None:
    """Print every fault of the data, one line each.

    Raises:
        ConfigError: The arguments are wrong.
        DataError: There is a fault; the others were printed before.
    """
    if not args or "--help" in args or "-h" in args:
        print(HELP)
        if not args:
            raise ConfigError("medzoo check needs --data NAME")
        return
    words = [part for a in args for part in (a.split("=", 1) if a.startswith("--data=") else [a])]
    if "--data" not in words[:-1]:
        raise ConfigError("medzoo check needs --data NAME")
    at = words.index("--data")
    spec = find("datamodule", words[at + 1])
    data_class = load(spec)
    from medzoo.core.cli.parser import Parser

    Parser.classes = {"data": data_class}
    parser = Parser(prog="medzoo check", allow_abbrev=False, add_help=False)
    parser.add_class_arguments(data_class, "data", fail_untyped=False)
    config = parser.parse_args(words[:at] + words[at + 2 :])
    check = getattr(parser.instantiate_classes(config).data, "check", None)
    if check is None:
        raise ConfigError(f"{spec.name} has no check of its data")
    faults: list[DataError] = list(check())
    for fault in faults[: _SHOWN - 1]:
        print(fault)
    if len(faults) > _SHOWN:
        print(f"and {len(faults) - _SHOWN + 1} more, of which the last is:")
    if faults:
        last = faults[-1]
        count = f" ({len(faults)} faults in all)" if len(faults) > 1 else ""
        raise DataError(last.path, f"{last.problem}{count}", last.cure)
    print(f"{spec.name}: no fault found")
