"""Small weights that come with the package, so that `medzoo predict patchcore-phantom PATH` answers at once."""

from __future__ import annotations

from medzoo.core.runs.weights import Weights


class Phantom(Weights):
    """PatchCore's quick recipe on drawn gears, with plain blocks in the network, which are smaller."""

    folder = "phantom"
