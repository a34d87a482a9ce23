"""Small weights that come with the package, so that `medzoo predict uod-phantom PATH` answers at once."""

from __future__ import annotations

from medzoo.core.runs.weights import Weights


class Phantom(Weights):
    """UOD on drawn heads with one annotated image, fewer steps and a narrower network than the quick recipe's."""

    folder = "phantom"
