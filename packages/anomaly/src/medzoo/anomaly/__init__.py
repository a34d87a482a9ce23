"""Anomaly detection without labels for medzoo.

Names are imported when they are first used, so that `medzoo list` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medzoo.core.lazy import lazy

if TYPE_CHECKING:
    from medzoo.anomaly.arnet.module import ARNet
    from medzoo.anomaly.careg.module import CAReg
    from medzoo.anomaly.esad.module import ESAD
    from medzoo.anomaly.itf.module import ITF
    from medzoo.anomaly.lesions import LesionGenerator
    from medzoo.anomaly.normnet.module import NormNet
    from medzoo.anomaly.padim.module import PaDiM
    from medzoo.anomaly.patchcore.module import PatchCore
    from medzoo.anomaly.regad.module import RegAD
    from medzoo.anomaly.sim2real.module import Sim2Real
    from medzoo.anomaly.ssm.module import SSM

__getattr__, __dir__ = lazy(
    __name__,
    {
        "ARNet": "arnet.module",
        "CAReg": "careg.module",
        "ESAD": "esad.module",
        "ITF": "itf.module",
        "LesionGenerator": "lesions",
        "NormNet": "normnet.module",
        "PaDiM": "padim.module",
        "PatchCore": "patchcore.module",
        "RegAD": "regad.module",
        "SSM": "ssm.module",
        "Sim2Real": "sim2real.module",
    },
)
__all__ = [
    "ESAD",
    "ITF",
    "SSM",
    "ARNet",
    "CAReg",
    "LesionGenerator",
    "NormNet",
    "PaDiM",
    "PatchCore",
    "RegAD",
    "Sim2Real",
]
