"""Data sets of landmarks: domains, sources and data modules, imported on first use to keep plug-in lists light."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medzoo.core.lazy import lazy

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
    from medzoo.landmark.data.sources import LandmarkSource

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Bmple": "bmple",
        "Cephalometric": "cephalometric",
        "Chest": "chest",
        "FolderDataModule": "module",
        "HandAtlas": "hand_atlas",
        "Jsrt": "jsrt",
        "LandmarkDataModule": "module",
        "LandmarkFolder": "folder",
        "LandmarkMix": "mix",
        "LandmarkPhantoms": "phantoms",
        "LandmarkSource": "sources",
        "copy_shot_baseline": "baseline",
    },
)
__all__ = [
    "Bmple",
    "Cephalometric",
    "Chest",
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
