"""The arguments of verbs that take words and one `--out`."""

from __future__ import annotations

from medzoo.core.cli.request import check_values, split_equals, take_value
from medzoo.core.errors import ConfigError
from medzoo.core.spelling import nearest


def words_and_out(args: list[str]) -> tuple[list[str], str | None]:
    """Return the words and the value of `--out` (or `-o`), in any order.

    Raises:
        ConfigError: Another option is given, or `--out` has no value.
    """
    check_values(args)
    words: list[str] = []
    out: str | None = None
    queue = split_equals(["--out" if arg == "-o" else arg for arg in args], ("--out",))
    while queue:
        flag = queue.pop(0)
        if flag == "--out":
            out = take_value(flag, queue)
        elif flag.startswith("-"):
            near = nearest(flag, ("--out",))
            raise ConfigError(f"no option {flag}" + (f"; did you mean {near[0]}?" if near else "; see --help"))
        else:
            words.append(flag)
    return words, out
