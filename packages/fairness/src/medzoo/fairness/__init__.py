"""Fair medical-image classification and audits for medzoo; names are imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medzoo.core.lazy import lazy

if TYPE_CHECKING:
    from medzoo.fairness.ada_abc.module import AdaABC
    from medzoo.fairness.apple.module import Apple
    from medzoo.fairness.baseline.module import FairBaseline
    from medzoo.fairness.data.fairseg import FairSeg
    from medzoo.fairness.data.phantoms import LesionPhantoms, LesionStructures, ShortcutPhantoms
    from medzoo.fairness.data.public import CheXpert, Fitzpatrick17k, Ham10000, Isic2019
    from medzoo.fairness.fair_adabn.module import FairAdaBN
    from medzoo.fairness.jtt.module import JTT
    from medzoo.fairness.lff.module import LfF
    from medzoo.fairness.ltml.module import LTML
    from medzoo.fairness.pbbl.module import PBBL

__getattr__, __dir__ = lazy(
    __name__,
    {
        "AdaABC": "ada_abc.module",
        "Apple": "apple.module",
        "CheXpert": "data.public",
        "FairAdaBN": "fair_adabn.module",
        "FairBaseline": "baseline.module",
        "FairSeg": "data.fairseg",
        "Fitzpatrick17k": "data.public",
        "Ham10000": "data.public",
        "Isic2019": "data.public",
        "JTT": "jtt.module",
        "LTML": "ltml.module",
        "LesionPhantoms": "data.phantoms",
        "LesionStructures": "data.phantoms",
        "LfF": "lff.module",
        "PBBL": "pbbl.module",
        "ShortcutPhantoms": "data.phantoms",
    },
)
__all__ = [
    "JTT",
    "LTML",
    "PBBL",
    "AdaABC",
    "Apple",
    "CheXpert",
    "FairAdaBN",
    "FairBaseline",
    "FairSeg",
    "Fitzpatrick17k",
    "Ham10000",
    "Isic2019",
    "LesionPhantoms",
    "LesionStructures",
    "LfF",
    "ShortcutPhantoms",
]
