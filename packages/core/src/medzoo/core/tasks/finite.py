"""Scores that no ranking can place are refused, by the name of their image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medzoo.core.errors import DataError
from medzoo.core.names import listed
from medzoo.core.sample import Batch


def require_finite(scores: Sequence[Tensor], places: Sequence[str]) -> None:
    """Refuse scores that are NaN or infinite, which no ranking can place.

    Args:
        scores: Of each image, its score, its score map or both in one tensor of any shape.
        places: File or name of each image.

    Raises:
        DataError: An image has such a score; the message names it, and the next ones.
    """
    bad = [place for score, place in zip(scores, places, strict=True) if not bool(torch.isfinite(score).all())]
    if bad:
        others = f", as {len(bad) - 1} more: {listed(bad[1:])}" if len(bad) > 1 else ""
        cure = "look at its values, or train again with --trainer.precision 32-true"
        raise DataError(bad[0], f"gets a score that is not finite{others}", cure)


def places(batch: Batch) -> list[str]:
    """Return the file of each image of a batch, or its name where it has none."""
    return [path or name for path, name in zip(batch["path"], batch["id"], strict=True)]
