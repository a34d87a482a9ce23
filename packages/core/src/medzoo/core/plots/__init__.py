"""Figures from arrays; matplotlib is imported on first use, through its object interface only, never `pyplot`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medzoo.core.lazy import lazy

if TYPE_CHECKING:
    from medzoo.core.plots.curves import error_cdf, per_landmark_bars, score_reliability, training_curves
    from medzoo.core.plots.figures import save
    from medzoo.core.plots.heat_maps import HeatPicture, heat_grid, mosaic
    from medzoo.core.plots.overlays import Case, landmark_grid, landmark_overlay, spread

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Case": "overlays",
        "HeatPicture": "heat_maps",
        "error_cdf": "curves",
        "heat_grid": "heat_maps",
        "landmark_grid": "overlays",
        "landmark_overlay": "overlays",
        "mosaic": "heat_maps",
        "per_landmark_bars": "curves",
        "save": "figures",
        "score_reliability": "curves",
        "spread": "overlays",
        "training_curves": "curves",
    },
)
__all__ = [
    "Case",
    "HeatPicture",
    "error_cdf",
    "heat_grid",
    "landmark_grid",
    "landmark_overlay",
    "mosaic",
    "per_landmark_bars",
    "save",
    "score_reliability",
    "spread",
    "training_curves",
]
