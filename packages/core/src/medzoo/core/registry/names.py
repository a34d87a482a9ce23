"""Names of plug-ins from entry points; nothing is imported until it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from medzoo.core.errors import PluginError, first_line
from medzoo.core.registry.cards import front_matter
from medzoo.core.registry.kinds import discovered, kinds, look_again


class Spec(NamedTuple):
    """What is known of a plug-in without importing it."""

    name: str
    kind: str
    """Name of a `Kind`."""
    target: str
    """Import path `module:Class`."""
    package: str
    """Distribution that provides it, such as `medzoo-landmark`."""
    version: str
    card: Mapping[str, object]
    """Front matter of its card; empty where there is none."""

    @property
    def class_path(self) -> str:
        """Import path in the form that configuration files use, `module.Class`."""
        return self.target.replace(":", ".")

    @property
    def task(self) -> str:
        """Task that the plug-in serves, such as `landmark detection`."""
        return _line(self.card.get("task", ""))

    @property
    def summary(self) -> str:
        """One sentence on what it is."""
        return _line(self.card.get("summary", ""))

    @property
    def missing(self) -> str:
        """What to install before it can be used; empty where nothing is missing.

        A card says so by `extra: NAME`, which is an extra of the distribution and the module that this brings.
        """
        extra = _line(self.card.get("extra", ""))
        return f"needs pip install '{self.package}[{extra}]'" if extra and not _roots(extra) else ""


def _line(value: object) -> str:
    return " ".join(str(value).split())


def _owner(entry: EntryPoint) -> tuple[str, str]:
    return _name_and_version(entry.dist) if entry.dist else ("an unknown distribution", "")


@cache
def _name_and_version(distribution: Distribution) -> tuple[str, str]:
    # One that was taken away in part has a list of entry points and neither name nor version.
    return distribution.name or "an unknown distribution", distribution.version or ""


def unreadable() -> list[str]:
    """Return the distributions whose list of entry points cannot be read, each with the reason, in one line."""
    faults = []
    for distribution in distributions():
        try:
            _ = distribution.entry_points
        except Exception as error:  # noqa: BLE001 - whatever a malformed file leads to
            name = distribution.metadata["Name"] or "an unknown distribution"
            faults.append(f"{name} {distribution.version}: unreadable entry_points.txt: {first_line(error)}")
    return faults


@cache
def _entries(kind: str) -> dict[str, list[EntryPoint]]:
    """Entry points by name; more than one only where different distributions claim a name with different targets."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in discovered(kinds()[kind].group):
        claims = found.setdefault(entry.name, [])
        # The same package seen twice (editable install beside a wheel) is no clash.
        if all((entry.value, _owner(entry)[0]) != (other.value, _owner(other)[0]) for other in claims):
            claims.append(entry)
    return dict(sorted(found.items()))


def forget() -> None:
    """Look again at what is installed, the next time that it is asked for."""
    look_again()
    _entries.cache_clear()
    _roots.cache_clear()


def names(kind: str) -> list[str]:
    """Return the registered names of a kind, sorted."""
    return list(_entries(kind))


def folder_of(entry_target: str) -> Path | None:
    """Return the folder of the module `package.module:Class` without importing anything of the package."""
    top, *inner = entry_target.partition(":")[0].split(".")[:-1] or [""]
    return next((folder for root in _roots(top) if (folder := Path(root, *inner)).is_dir()), None)


@cache
def _roots(top: str) -> list[str]:
    """Return the folders of a top-level package without importing it; none where it is not installed."""
    try:
        # Of a top-level name only: for `a.b` it would import `a`, which may be slow, broken or never end.
        spec = find_spec(top) if top.isidentifier() else None
    except Exception:  # noqa: BLE001 - import hooks of somebody else may raise anything
        return []
    return list(spec.submodule_search_locations or []) if spec else []


def _spec(kind: str, entry: EntryPoint) -> Spec:
    folder = folder_of(entry.value)
    name, version = _owner(entry)
    card = front_matter(folder, entry.name) if folder else {}
    return Spec(entry.name, kind, entry.value, name, version, card)


def specs(kind: str, *wanted: str) -> list[Spec]:
    """Return what is known of the plug-ins of a kind, all or those of these names; every claim of one claimed twice."""
    entries = _entries(kind)
    return [_spec(kind, entry) for name in wanted or entries for entry in entries[name]]


def find(kind: str, name: str) -> Spec:
    """Return the plug-in called `name` or `distribution:name`.

    Raises:
        PluginError: The name is unknown (the closest ones are named) or claimed by two distributions.
    """
    package, _, short = name.rpartition(":")
    claims = [e for e in _entries(kind).get(short, []) if not package or _owner(e)[0] == package]
    if len(claims) > 1:
        owners = " and ".join(" ".join(_owner(e)) for e in claims)
        raise PluginError(
            f"{kind} {short!r} is provided by both {owners}; write {_owner(claims[0])[0]}:{short} to choose"
        )
    if not claims:
        from medzoo.core.spelling import nearest

        known = names(kind)
        close = nearest(short, known, count=3, cutoff=0.5)
        what = kinds()[kind].noun
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known) or 'none'}"
        raise PluginError(f"no {what} named {name!r}; {hint}")
    return _spec(kind, claims[0])


def registered(kind: str, class_path: str) -> Spec:
    """Return the plug-in with this import path, without importing it.

    Raises:
        PluginError: No installed package registers it; what is not registered is never imported.
    """
    for spec in specs(kind):
        if spec.class_path == class_path:
            return spec
    raise PluginError(
        f"{class_path!r} is not registered; a package must list it as an entry point of {kinds()[kind].group!r}"
    )
