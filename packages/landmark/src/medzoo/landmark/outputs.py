"""What a prediction leaves besides its records: a flat table, and pictures with the points drawn in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.core.geometry import apply, resample, resize_affine
from medzoo.core.io import file_name, write_csv
from medzoo.core.plots import landmark_overlay, save
from medzoo.landmark.data.sources import Images

COLUMNS = ("id", "domain", "landmark", "x", "y", "x_mm", "y_mm", "score", "path")
DRAWN = 100
"""Images drawn at most; drawing takes longer than finding the points."""
_SIDE = 768


def write_predictions(records: Sequence[dict[str, Any]], images: dict[str, Images], folder: Path) -> None:
    """Write `predictions.csv`, a row a point, and `figures/<domain>/<id>.png` of the first 100 images.

    The table is one of those that `landmark-folder` reads, so that predictions can be corrected and trained on.

    Args:
        records: As `medzoo.landmark.evaluation.records` makes them.
        images: The images of each domain.
        folder: Where to write.
    """
    write_csv(folder / "predictions.csv", _rows(records), COLUMNS)
    for record in records[:DRAWN]:
        target = folder / "figures" / file_name(record["domain"]) / f"{file_name(record['id'])}.png"
        _draw(record, images[record["domain"]], target)


def _rows(records: Sequence[dict[str, Any]]) -> Iterator[dict[str, object]]:
    for record in records:
        for landmark, (x, y) in record["landmarks_px"].items():
            row = {"id": record["id"], "domain": record["domain"], "landmark": landmark, "x": x, "y": y}
            if "landmarks_mm" in record:
                row["x_mm"], row["y_mm"] = record["landmarks_mm"][landmark]
            yield {**row, "score": record["score"][landmark], "path": record["path"]}


def _draw(record: dict[str, Any], images: Images, target: Path) -> None:
    array = images.read(record["id"]).array
    size = array.shape[::-1]
    zoom = min(1.0, _SIDE / max(size))
    shown = tuple(max(1, round(side * zoom)) for side in size)
    affine = resize_affine(size, shown)
    points = apply(affine, np.array(list(record["landmarks_px"].values()), np.float64).reshape(-1, 2))
    picture = resample(array, affine, shown)
    save(landmark_overlay(picture, points, names=list(record["landmarks_px"]), title=record["id"]), target)
