"""Small weights that come with the package, so that `medzoo predict normnet-phantom PATH` answers at once."""

from __future__ import annotations

from medzoo.core.runs.weights import Weights


class Phantom(Weights):
    """NormNet's quick recipe on drawn CT volumes of healthy lungs."""

    folder = "phantom"
