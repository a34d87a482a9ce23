"""Small weights that come with the package, so that `medzoo predict padim-phantom PATH` answers at once."""

from __future__ import annotations

from medzoo.core.runs.weights import Weights


class Phantom(Weights):
    """PaDiM's quick recipe on drawn gears."""

    folder = "phantom"
