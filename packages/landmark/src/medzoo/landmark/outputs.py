"""What a prediction leaves besides its records: a flat table, and pictures with the points drawn in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medzoo.core.distributed import print_once
from medzoo.core.geometry import apply, resample, resize_affine
from medzoo.core.io import file_name, write_csv
from medzoo.core.names import listed
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
    for domain in dict.fromkeys(record["domain"] for record in records):
        own = [record for record in records if record["domain"] == domain]
        gaps = [
            [r["id"] for r in own if not np.isfinite(list(values(r))).all()]
            for values in (lambda r: r["landmarks_px"].values(), lambda r: r["score"].values())
        ]
        tell_gaps(domain, len(own), *gaps)
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
    shown, affine = picture(images, record["id"])
    points = apply(affine, np.array(list(record["landmarks_px"].values()), np.float64).reshape(-1, 2))
    save(landmark_overlay(shown, points, names=list(record["landmarks_px"]), title=record["id"]), target)


def picture(images: Images, name: str, side: int = _SIDE) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read an image for a figure, in its own shape.

    Args:
        images: Where it is.
        name: Its name.
        side: Pixels along the longer side at most.

    Returns:
        `(H, W)` in [0, 1], and the `(2, 3)` map from original pixels to those of the picture.

    Raises:
        DataError: It cannot be read.
    """
    array = images.read(name).array
    size = (array.shape[1], array.shape[0])
    zoom = min(1.0, side / max(size))
    shown = (max(1, round(size[0] * zoom)), max(1, round(size[1] * zoom)))
    affine = resize_affine(size, shown)
    return resample(array, affine, shown), affine


def tell_gaps(domain: str, count: int, unfound: Sequence[str], unsure: Sequence[str]) -> None:
    """Name the images of which a model found not every point, or told a score that is not finite.

    Args:
        domain: Name of the domain.
        count: Images that were looked at.
        unfound: Names of those with a point that was not found.
        unsure: Names of those with a score that is NaN or infinite.
    """
    for what, names in (("a point was not found", unfound), ("a score is not finite", unsure)):
        if names:
            print_once(f"{domain}: {what} in {len(names)} of {count} images: {listed(names)}")
