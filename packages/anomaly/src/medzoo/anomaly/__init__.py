"""Anomaly detection without labels for medzoo.

Names are imported when they are first used, so that `medzoo list` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medzoo.anomaly.lesions import LesionGenerator
    from medzoo.anomaly.normnet.module import NormNet
    from medzoo.anomaly.padim.module import PaDiM
    from medzoo.anomaly.patchcore.module import PatchCore
    from medzoo.anomaly.regad.module import RegAD

_HOME = {
    "LesionGenerator": "lesions",
    "NormNet": "normnet.module",
    "PaDiM": "padim.module",
    "PatchCore": "patchcore.module",
    "RegAD": "regad.module",
}
__all__ = ["LesionGenerator", "NormNet", "PaDiM", "PatchCore", "RegAD"]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
