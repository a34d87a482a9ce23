"""Small weights that come with the package, so that `medzoo predict classifier-phantom PATH` answers at once."""

from __future__ import annotations

from medzoo.core.runs.weights import Weights


class Phantom(Weights):
    """The classifier's quick recipe on drawn chests."""

    folder = "phantom"
