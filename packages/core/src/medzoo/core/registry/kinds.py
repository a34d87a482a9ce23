"""The kinds of plug-ins: one table, to which an installed package may add its own."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import EntryPoint, distributions, entry_points

GROUP = "medzoo.kinds"
"""Entry points `name = "module:Base"` of this group add a kind, with plug-ins in the group `medzoo.<name>s`."""


@dataclass(frozen=True)
class Kind:
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


def discovered(group: str) -> list[EntryPoint]:
    """Return the entry points of a group; a distribution whose list of them cannot be read loses its own only."""
    try:
        return list(entry_points(group=group))
    except Exception:  # noqa: BLE001 - one malformed line anywhere makes the whole call fail
        found: list[EntryPoint] = []
        for distribution in distributions():
            with suppress(Exception):
                found += distribution.entry_points.select(group=group)
        return found


def kinds() -> dict[str, Kind]:
    """Return all kinds by name, those of core first; no plug-in is imported."""
    found = {kind.name: kind for kind in _OWN}
    for entry in discovered(GROUP):
        found.setdefault(entry.name, Kind(entry.name, f"medzoo.{entry.name}s", entry.value, f"{entry.name}s"))
    return found
