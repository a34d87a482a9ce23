"""Fair medical-image classification and audits for medzoo; names are imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medzoo.core.lazy import lazy

if TYPE_CHECKING:
    from medzoo.fairness.baseline.module import FairBaseline
    from medzoo.fairness.data.phantoms import LesionPhantoms, LesionStructures
    from medzoo.fairness.fair_adabn.module import FairAdaBN

__getattr__, __dir__ = lazy(
    __name__,
    {
        "FairAdaBN": "fair_adabn.module",
        "FairBaseline": "baseline.module",
        "LesionPhantoms": "data.phantoms",
        "LesionStructures": "data.phantoms",
    },
)
__all__ = ["FairAdaBN", "FairBaseline", "LesionPhantoms", "LesionStructures"]
