"""Several data sets as the domains of one."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import Parameter, signature
from typing import Any

from medzoo.core.data.options import Unpack
from medzoo.core.errors import ConfigError
from medzoo.core.registry import find, load, registered
from medzoo.landmark.data.module import LandmarkDataModule, LandmarkOptions
from medzoo.landmark.data.shots import Wanted
from medzoo.landmark.data.sources import LandmarkSource

_OF_THE_MIX = ("size", "resize", "batch_size", "num_workers", "cache_mb")


class LandmarkMix(LandmarkDataModule):
    """A mix of the other landmark data sets, each part with its own options, as the domains of one model.

    Example: `--data landmark-mix --data.parts '[{data: chest, root: DIR}, {data: landmark-phantoms, domains: [head,
    hand]}]'`.

    Args:
        parts: Data sets, each `{data: NAME}` with the options of that data set; `shots` and `seed` are the mix's
            unless a part gives its own; `size`, `resize`, `batch_size`, `num_workers` and `cache_mb` are the mix's
            alone.
    """

    def __init__(
        self,
        parts: list[dict[str, Any]],
        **common: Unpack[LandmarkOptions],
    ) -> None:
        super().__init__(**common)
        if not parts:
            raise ConfigError("--data.parts: expected at least one part such as {data: landmark-phantoms}")
        self._parts = [self._part(number, dict(part)) for number, part in enumerate(parts, 1)]
        self._choose = ["shots" in part for part in parts]  # which of them say themselves what their shots are

    def _part(self, number: int, options: dict[str, Any]) -> LandmarkDataModule:
        where = f"--data.parts: part {number}"
        name = options.pop("data", None)
        if not isinstance(name, str):
            raise ConfigError(f"{where}: expected a key data with the name of a data set, got {name!r}")
        kind = _data_module(name, where)
        for option in _OF_THE_MIX:
            if option in options:
                raise ConfigError(f"{where} ({name}): {option} belongs to the mix; write --data.{option}")
        known = _options(kind)
        unknown = [option for option in options if option not in known]
        if unknown:
            has = ", ".join(sorted(set(known) - set(_OF_THE_MIX)))
            raise ConfigError(f"{where} ({name}): no option {unknown[0]!r}; it has {has}")
        missing = [p.name for p in known.values() if p.default is Parameter.empty and p.name not in options]
        if missing:
            raise ConfigError(f"{where} ({name}): missing {', '.join(missing)}")
        options.setdefault("seed", self.seed)
        options.setdefault("shots", self._shots)  # names of other parts' images too, which keep nothing out of a test
        part = kind(**options)
        assert isinstance(part, LandmarkDataModule)
        return part

    def make_sources(self) -> Sequence[LandmarkSource]:
        """Look at the folders of all parts."""
        return [source for part in self._parts for source in part.sources]

    def wanted(self) -> list[Wanted]:
        """Share names out among all domains; a part that has shots of its own takes these."""
        shared, found = iter(super().wanted()), list[Wanted]()
        for part, chooses in zip(self._parts, self._choose, strict=True):
            from_mix = [next(shared) for _ in part.sources]
            found += part.wanted() if chooses else from_mix
        return found


def _data_module(name: str, where: str) -> type[LandmarkDataModule]:
    """Return the class of a registered name or of its class path, as configuration files have it."""
    found: type = load(registered("datamodule", name) if "." in name.rpartition(":")[2] else find("datamodule", name))
    if not issubclass(found, LandmarkDataModule) or issubclass(found, LandmarkMix):
        raise ConfigError(f"{where}: {name} is not a landmark data set that can be a domain")
    return found


def _options(kind: type) -> dict[str, Parameter]:
    """Return the named options of a data module and of its bases."""
    options: dict[str, Parameter] = {}
    for base in reversed(kind.__mro__):
        if issubclass(base, LandmarkDataModule) and "__init__" in vars(base):
            own = signature(base.__init__).parameters
            options |= {n: p for n, p in own.items() if n != "self" and p.kind is not Parameter.VAR_KEYWORD}
    return options
