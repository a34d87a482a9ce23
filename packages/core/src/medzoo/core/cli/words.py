"""The arguments of verbs that take words, and options with a value each."""

from __future__ import annotations

from collections.abc import Sequence

from medzoo.core.cli.request import check_values, split_equals, take_value
from medzoo.core.errors import ConfigError
from medzoo.core.spelling import nearest


def words_and_out(args: list[str]) -> tuple[list[str], str | None]:
    """Return the words and the value of `--out` (or `-o`), in any order.

    Raises:
        ConfigError: Another option is given, or `--out` has no value.
    """
    words, values = words_and_values(args, ("--out",))
    return words, values.get("--out")


def words_and_values(args: list[str], options: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the words, and the values of options by name, in any order; `-o` stands for `--out`.

    Raises:
        ConfigError: Another option is given, or one has no value.
    """
    check_values(args)
    words: list[str] = []
    values: dict[str, str] = {}
    queue = split_equals(["--out" if arg == "-o" else arg for arg in args], tuple(options))
    while queue:
        flag = queue.pop(0)
        if flag in options:
            values[flag] = take_value(flag, queue)
        elif flag.startswith("-"):
            near = nearest(flag, options)
            raise ConfigError(f"no option {flag}" + (f"; did you mean {near[0]}?" if near else "; see --help"))
        else:
            words.append(flag)
    return words, values
