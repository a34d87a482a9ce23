"""Data sets of landmarks: domains, sources and data modules, imported on first use to keep plug-in lists light."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medzoo.landmark.data.baseline import copy_shot_baseline
    from medzoo.landmark.data.bmple import Bmple
    from medzoo.landmark.data.cephalometric import Cephalometric
    from medzoo.landmark.data.chest import Chest
    from medzoo.landmark.data.folder import LandmarkFolder
    from medzoo.landmark.data.hand_atlas import HandAtlas
    from medzoo.landmark.data.jsrt import Jsrt
    from medzoo.landmark.data.mix import LandmarkMix
    from medzoo.landmark.data.module import FolderDataModule, LandmarkDataModule
    from medzoo.landmark.data.phantoms import LandmarkPhantoms
    from medzoo.landmark.data.sources import Domain, LandmarkSource

_HOME = {
    "Bmple": "bmple",
    "Cephalometric": "cephalometric",
    "Chest": "chest",
    "Domain": "sources",
    "FolderDataModule": "module",
    "HandAtlas": "hand_atlas",
    "Jsrt": "jsrt",
    "LandmarkDataModule": "module",
    "LandmarkFolder": "folder",
    "LandmarkMix": "mix",
    "LandmarkPhantoms": "phantoms",
    "LandmarkSource": "sources",
    "copy_shot_baseline": "baseline",
}
__all__ = [
    "Bmple",
    "Cephalometric",
    "Chest",
    "Domain",
    "FolderDataModule",
    "HandAtlas",
    "Jsrt",
    "LandmarkDataModule",
    "LandmarkFolder",
    "LandmarkMix",
    "LandmarkPhantoms",
    "LandmarkSource",
    "copy_shot_baseline",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(f"medzoo.landmark.data.{_HOME[name]}"), name)
    raise AttributeError(f"module 'medzoo.landmark.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
