"""Small weights that come with the package, so that `medzoo predict heatmap-phantom PATH` answers at once."""

from __future__ import annotations

from medzoo.core.runs.weights import Weights


class Phantom(Weights):
    """A small U-Net for drawn chest radiographs."""

    folder = "phantom"
