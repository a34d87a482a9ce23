"""Label-scarce anatomical landmark detection for medzoo; names are imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medzoo.core.lazy import lazy

if TYPE_CHECKING:
    from medzoo.landmark.cc2d.module import CC2D
    from medzoo.landmark.data import (
        Bmple,
        Cephalometric,
        Chest,
        HandAtlas,
        Jsrt,
        LandmarkFolder,
        LandmarkMix,
        LandmarkPhantoms,
    )
    from medzoo.landmark.echo.data import PlaxPhantoms
    from medzoo.landmark.echo.echonet import EchoNetLVH
    from medzoo.landmark.echo.folder import EchoFolder
    from medzoo.landmark.enlvam.module import EnLVAM
    from medzoo.landmark.gu2net.module import GU2Net
    from medzoo.landmark.han.module import HAN
    from medzoo.landmark.heatmap.module import Heatmap
    from medzoo.landmark.igu_aug.module import IGUAug
    from medzoo.landmark.scp.selector import SCP
    from medzoo.landmark.uod.module import UOD
    from medzoo.landmark.wiselvam.module import WiseLVAM

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Bmple": "data",
        "CC2D": "cc2d.module",
        "Cephalometric": "data",
        "Chest": "data",
        "EchoFolder": "echo.folder",
        "EchoNetLVH": "echo.echonet",
        "EnLVAM": "enlvam.module",
        "GU2Net": "gu2net.module",
        "HAN": "han.module",
        "HandAtlas": "data",
        "Heatmap": "heatmap.module",
        "IGUAug": "igu_aug.module",
        "Jsrt": "data",
        "LandmarkFolder": "data",
        "LandmarkMix": "data",
        "LandmarkPhantoms": "data",
        "PlaxPhantoms": "echo.data",
        "SCP": "scp.selector",
        "UOD": "uod.module",
        "WiseLVAM": "wiselvam.module",
    },
)
__all__ = [
    "CC2D",
    "HAN",
    "SCP",
    "UOD",
    "Bmple",
    "Cephalometric",
    "Chest",
    "EchoFolder",
    "EchoNetLVH",
    "EnLVAM",
    "GU2Net",
    "HandAtlas",
    "Heatmap",
    "IGUAug",
    "Jsrt",
    "LandmarkFolder",
    "LandmarkMix",
    "LandmarkPhantoms",
    "PlaxPhantoms",
    "WiseLVAM",
]
