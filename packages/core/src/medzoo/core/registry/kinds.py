"""The kinds of plug-ins: one table, to which an installed package may add its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, distributions, entry_points
from typing import NamedTuple

GROUP = "medzoo.kinds"
"""Entry points `name = "module:Base"` of this group add a kind, with plug-ins in the group `medzoo.<name>s`."""


class Kind(NamedTuple):
    """One kind of plug-in.

    Attributes:
        name: What the registry calls it.
        group: Entry points that list its plug-ins.
        base: Class `module:Class` that its plug-ins are subclasses of; empty for functions.
        title: What a list of them is headed with.
        key: Part of a configuration that chooses one, and so the flag; empty where none does.
    """

    name: str
    group: str
    base: str
    title: str
    key: str = ""

    @property
    def noun(self) -> str:
        """What messages call one of them."""
        return self.title.removesuffix("s")


_OWN = (
    Kind("model", "medzoo.models", "lightning.pytorch:LightningModule", "models", "model"),
    Kind("datamodule", "medzoo.datamodules", "lightning.pytorch:LightningDataModule", "data modules", "data"),
    Kind("selector", "medzoo.selectors", "medzoo.core.selectors:Selector", "selectors", "selector"),
    Kind("verb", "medzoo.verbs", "", "verbs"),
)


@cache
def _selected() -> Callable[..., Iterable[EntryPoint]]:
    """Return what selects among the entry points of all that is installed: one look, however many groups are asked.

    A distribution whose list of them cannot be read loses its own only.
    """
    try:
        return entry_points().select
    except Exception:  # noqa: BLE001 - one malformed line anywhere makes the whole call fail
        found: list[EntryPoint] = []
        for distribution in distributions():
            with suppress(Exception):
                found += distribution.entry_points
        return EntryPoints(found).select


def discovered(group: str) -> list[EntryPoint]:
    """Return the entry points of a group."""
    return list(_selected()(group=group))


def look_again() -> None:
    """Look again at what is installed, the next time that it is asked for."""
    _selected.cache_clear()


def kinds() -> dict[str, Kind]:
    """Return all kinds by name, those of core first; no plug-in is imported."""
    found = {kind.name: kind for kind in _OWN}
    for entry in discovered(GROUP):
        found.setdefault(entry.name, Kind(entry.name, f"medzoo.{entry.name}s", entry.value, f"{entry.name}s"))
    return found
