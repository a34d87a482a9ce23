"""Figures from arrays; matplotlib is imported on first use, through its object interface only, never `pyplot`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medzoo.core.plots.curves import error_cdf, per_landmark_bars, score_reliability, training_curves
    from medzoo.core.plots.figures import save
    from medzoo.core.plots.overlays import Case, landmark_grid, landmark_overlay, spread

_HOME = {
    "Case": "overlays",
    "error_cdf": "curves",
    "landmark_grid": "overlays",
    "landmark_overlay": "overlays",
    "per_landmark_bars": "curves",
    "save": "figures",
    "score_reliability": "curves",
    "spread": "overlays",
    "training_curves": "curves",
}
__all__ = [
    "Case",
    "error_cdf",
    "landmark_grid",
    "landmark_overlay",
    "per_landmark_bars",
    "save",
    "score_reliability",
    "spread",
    "training_curves",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
