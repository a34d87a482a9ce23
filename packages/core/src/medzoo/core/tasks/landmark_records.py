"""What a prediction of landmarks leaves: records, a flat table, and pictures with the points drawn in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
import torch

from medzoo.core.geometry import apply
from medzoo.core.geometry.points import to_original
from medzoo.core.io import file_name, write_csv
from medzoo.core.plots import landmark_overlay, save
from medzoo.core.sample import Batch
from medzoo.core.tasks.base import Prediction
from medzoo.core.tasks.landmark_types import LandmarkOutputs, Picture
from medzoo.core.tasks.landmarks import print_gaps

COLUMNS = ("id", "domain", "landmark", "x", "y", "x_mm", "y_mm", "score", "path")
DRAWN = 100
"""Images drawn at most; drawing takes longer than finding the points."""


class _Places(TypedDict):
    id: str
    path: str
    domain: str
    landmarks_px: dict[str, list[float]]
    """`(x, y)` by landmark, in original pixels."""
    landmarks_mm: NotRequired[dict[str, list[float]]]
    """Where the spacing is known."""


class LandmarkRecord(_Places):
    """The points of one image, with their scores."""

    score: dict[str, float]


def write_table(records: Sequence[LandmarkRecord], folder: Path) -> None:
    """Write `predictions.csv`, a row a point, and name images with points that were not found.

    Images come in the order of their least sure point, the one to look at first at the top. The table is one of those
    that `landmark-folder` reads, so that predictions can be corrected and trained on.

    Args:
        records: As `records` makes them.
        folder: Where to write.
    """
    write_csv(folder / "predictions.csv", _rows(sorted(records, key=_least_sure)), COLUMNS)
    for domain in dict.fromkeys(record["domain"] for record in records):
        own = [record for record in records if record["domain"] == domain]
        gaps = [
            [r["id"] for r in own if not np.isfinite(list(values(r))).all()]
            for values in (lambda r: r["landmarks_px"].values(), lambda r: r["score"].values())
        ]
        print_gaps(domain, len(own), *gaps)


def _least_sure(record: LandmarkRecord) -> float:
    """Return the least score of a record; one that is not finite, or of a point that was not found, comes first."""
    scores, points = list(record["score"].values()), list(record["landmarks_px"].values())
    return min(scores) if scores and np.isfinite(scores).all() and np.isfinite(points).all() else -np.inf


def _rows(records: Sequence[LandmarkRecord]) -> Iterator[dict[str, object]]:
    for record in records:
        for landmark, (x, y) in record["landmarks_px"].items():
            row = {"id": record["id"], "domain": record["domain"], "landmark": landmark, "x": x, "y": y}
            if "landmarks_mm" in record:
                row["x_mm"], row["y_mm"] = record["landmarks_mm"][landmark]
            yield {**row, "score": record["score"][landmark], "path": record["path"]}


def predictions(batch: Batch, outputs: LandmarkOutputs, domain: str, picture: Picture) -> list[Prediction]:
    """Return a prediction an image: its record, and saved an overlay.

    Args:
        batch: A batch of one domain.
        outputs: What the model gives for it.
        domain: Name of the domain.
        picture: Reads images for the overlays.
    """
    return [Prediction(record, partial(draw, record, picture)) for record in records(batch, outputs, domain)]


def draw(record: LandmarkRecord, picture: Picture, folder: Path) -> dict[str, object]:
    """Draw the points of a record into its image, `figures/<domain>/<id>.png`, of the first 100 images of a run.

    Args:
        record: As `records` makes them.
        picture: Reads the image.
        folder: The run folder.
    """
    target = folder / "figures" / file_name(record["domain"]) / f"{file_name(record['id'])}.png"
    if sum(1 for _ in folder.glob("figures/*/*.png")) >= DRAWN:
        return {}
    shown, affine = picture(record["domain"], record["id"])
    points = apply(affine, np.array(list(record["landmarks_px"].values()), np.float64).reshape(-1, 2))
    save(landmark_overlay(shown, points, names=list(record["landmarks_px"]), title=record["id"]), target)
    return {}


def records(batch: Batch, outputs: LandmarkOutputs, domain: str) -> list[LandmarkRecord]:
    """Return one JSON-like record an image, in original pixels and, where the spacing is known, in mm.

    Args:
        batch: A batch of one domain.
        outputs: What the model gives for it.
        domain: Name of the domain.
    """
    original = to_original(outputs.points.detach(), batch["affine"]).cpu()
    names, score = outputs.landmarks, outputs.scores.detach()
    spacing = batch["spacing"].double().cpu()
    out: list[LandmarkRecord] = []
    for i, identity in enumerate(batch["id"]):
        places: dict[str, list[float]] = dict(zip(names, original[i].tolist(), strict=True))
        scores: dict[str, float] = dict(zip(names, score[i].float().cpu().tolist(), strict=True))
        record: _Places = {"id": identity, "path": batch["path"][i], "domain": domain, "landmarks_px": places}
        if bool(torch.isfinite(spacing[i]).all()):
            record["landmarks_mm"] = dict(zip(names, (original[i] * spacing[i]).tolist(), strict=True))
        out.append({**record, "score": scores})
    return out
