"""Label-scarce anatomical landmark detection for medzoo; names are imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medzoo.landmark.cc2d.module import CC2D
    from medzoo.landmark.gu2net.module import GU2Net
    from medzoo.landmark.han.module import HAN
    from medzoo.landmark.heatmap.module import Heatmap
    from medzoo.landmark.igu_aug.module import IGUAug
    from medzoo.landmark.scp.selector import SCP
    from medzoo.landmark.uod.module import UOD

_HOME = {
    "CC2D": "cc2d.module",
    "GU2Net": "gu2net.module",
    "HAN": "han.module",
    "Heatmap": "heatmap.module",
    "IGUAug": "igu_aug.module",
    "SCP": "scp.selector",
    "UOD": "uod.module",
}
__all__ = ["CC2D", "HAN", "SCP", "UOD", "GU2Net", "Heatmap", "IGUAug"]


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None and name in _DATA:
        return getattr(import_module("medzoo.landmark.data"), name)
    if home is None:
        raise AttributeError(f"module 'medzoo.landmark' has no attribute {name!r}")
    return getattr(import_module(f"medzoo.landmark.{home}"), name)


_DATA = (
    "Bmple",
    "Cephalometric",
    "Chest",
    "HandAtlas",
    "Jsrt",
    "LandmarkFolder",
    "LandmarkMix",
    "LandmarkPhantoms",
)


def __dir__() -> list[str]:
    return sorted([*__all__, *_DATA])
