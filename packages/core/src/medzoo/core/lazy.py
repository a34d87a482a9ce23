"""Packages whose names are imported on first use, so that `medzoo list` and `--help` load nothing heavy (PEP 562)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module


def lazy(package: str, home: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the `__getattr__` and `__dir__` of a package; type checkers see its imports under `TYPE_CHECKING`.

    Args:
        package: `__name__` of the package.
        home: The module within the package, such as `uod.module`, of each public name.
    """

    def find(name: str) -> object:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{home[name]}"), name)

    return find, lambda: sorted(home)
