"""`medzoo lengths N`: a verb of this package."""

from __future__ import annotations

from medzoo_toy.signal.data import Waves

from medzoo.core.errors import ConfigError


def run(args: list[str]) -> None:
    """Print the length of each of the first N signals.

    Raises:
        ConfigError: N is not a number.
    """
    if "--help" in args:
        print("usage: medzoo lengths N")
        return
    if len(args) != 1 or not args[0].isdigit():
        raise ConfigError(f"medzoo lengths takes a number of signals, got {' '.join(args) or 'nothing'}")
    waves = Waves(int(args[0]), 0)
    print(*(len(waves[i]["signal"]) for i in range(len(waves))))
