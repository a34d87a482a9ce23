"""The arguments of verbs that take words, and options with a value each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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
    given = read_given(args, options)
    return given.words, given.values


class Given(NamedTuple):
    """What a command line gives: words, values by option, all values of options that may be repeated, switches."""

    words: list[str]
    values: dict[str, str]
    repeated: dict[str, list[str]]
    switches: set[str]


def read_given(
    args: list[str], options: Sequence[str], repeated: Sequence[str] = (), switches: Sequence[str] = ()
) -> Given:
    """Read words and options in any order; `-o` stands for `--out`.

    Args:
        args: The arguments after the verb.
        options: Options with a value; of one that is given twice the last counts.
        repeated: Options with a value all of which count.
        switches: Options without one.

    Raises:
        ConfigError: Another option is given, or one has no value.
    """
    check_values(args)
    given = Given([], {}, {option: [] for option in repeated}, set())
    queue = split_equals(["--out" if arg == "-o" else arg for arg in args], (*options, *repeated))
    while queue:
        flag = queue.pop(0)
        if flag in repeated:
            given.repeated[flag].append(take_value(flag, queue))
        elif flag in options:
            given.values[flag] = take_value(flag, queue)
        elif flag in switches:
            given.switches.add(flag)
        elif flag.startswith("-"):
            near = nearest(flag, (*options, *repeated, *switches))
            raise ConfigError(f"no option {flag}" + (f"; did you mean {near[0]}?" if near else "; see --help"))
        else:
            given.words.append(flag)
    return given
