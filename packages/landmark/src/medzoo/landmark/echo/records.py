"""What a prediction writes of each clip: its lengths with their spread, its points and scan lines, and pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medzoo.core.distributed import print_once
from medzoo.core.io import file_name, write_csv
from medzoo.core.names import listed
from medzoo.core.plots.clips import clip_overlay, motion_picture
from medzoo.core.sample import Batch
from medzoo.core.tasks.base import Prediction
from medzoo.core.values import Row
from medzoo.landmark.echo.line_table import FILE, PLACES, write_lines
from medzoo.landmark.echo.measures import MEASURES, measured
from medzoo.landmark.echo.scan_line import lengths_mm, line_through, motion_image
from medzoo.landmark.echo.task import EchoOutputs, in_original, split


class EchoRecord(TypedDict):
    """The answer for a clip; places are in pixels of its frames."""

    id: str
    path: str
    source: str
    measures_mm: dict[str, float]
    spreads_mm: dict[str, float]
    frames: list[int]
    phases: list[str]
    points: list[list[list[float]]]
    lines: list[list[list[float]]]


def predictions(batch: Batch, outputs: EchoOutputs, columns: int = 64) -> list[Prediction]:
    """Return the lengths of each clip in mm (NaN where the spacing is unknown), with its points in original pixels.

    The spread of a length is the root of the sum of its two ends' squares, as if they were independent.

    Args:
        batch: The clips.
        outputs: What the model gives for them.
        columns: Frames of its motion images, which the pictures show.
    """
    found = []
    parts = (split(batch, values.detach()) for values in (outputs.points, outputs.spreads, outputs.lines))
    for i, (points, spreads, lines) in enumerate(zip(*parts, strict=True)):
        original, phases = in_original(batch, i, points), batch["phases"][i]
        record: EchoRecord = {
            "id": batch["id"][i],
            "path": batch["path"][i],
            "source": batch["source"][i],
            "measures_mm": measured(lengths_mm(original, batch["spacing"][i].double()), phases),
            "spreads_mm": measured(_of_lengths(spreads), phases),
            "frames": batch["keys"][i].tolist(),
            "phases": phases,
            "points": original.tolist(),
            "lines": in_original(batch, i, lines).tolist(),
        }
        clip = batch["clip"][i][: int(batch["clip_length"][i])].detach().cpu()
        size = (int(batch["original_size"][i][0]), int(batch["original_size"][i][1]))
        found.append(Prediction(record, partial(_save, record, clip, points.cpu(), lines.cpu(), size, columns)))
    return found


def _save(
    record: EchoRecord,
    clip: Tensor,
    points: Tensor,
    lines: Tensor,
    size: tuple[int, int],
    columns: int,
    folder: Path,
) -> dict[str, object]:
    """Write the clip with line and points, and its motion images; `points` and `lines` are in pixels of `clip`."""
    target, own_name = folder / "clips" / file_name(record["source"]), file_name(record["id"])
    overlay, motion = target / f"{own_name}.gif", target / (own_name + "_motion.png")
    own = (np.array(record["points"], np.float64), np.array(record["lines"], np.float64))
    clip_overlay(overlay, as_bytes(clip), record["frames"], *own, size)
    images, depths = [], []
    for key, ends, four in zip(record["frames"], lines, points, strict=True):
        if bool(ends.isfinite().all()):
            line = line_through(ends[0], ends[1], (clip.shape[1], clip.shape[2]))
            images.append(as_bytes(motion_image(clip, line, key, columns)))
            depths.append(line.to_depth(four).numpy())
    if not images:
        return {"overlay": str(overlay)}
    motion_picture(motion, images, depths)
    return {"overlay": str(overlay), "motion": str(motion)}


def as_bytes(image: Tensor) -> NDArray[np.uint8]:
    """Return an image in [0, 1] as bytes."""
    return (image * 255).round().clamp(0, 255).to(torch.uint8).numpy()


def _of_lengths(spreads: Tensor) -> Tensor:
    """Return the spreads of the segments between points `(N, 4)`, `(N, 3)`."""
    return (spreads[:, 1:].square() + spreads[:, :-1].square()).sqrt()


def write_tables(records: Sequence[EchoRecord], folder: Path) -> None:
    """Write `measures.csv`, a row a clip, and `lines.csv`, a row a key frame that has a line; name clips that lack one.

    Without a scan line a key frame has no lengths.
    """
    lost = [r["id"] for r in records if not np.isfinite(np.array(r["lines"], np.float64)).all()]
    if lost:
        print_once(f"no lengths without a scan line, which {len(lost)} of {len(records)} clips lack: {listed(lost)}")
    rows: list[Row] = []
    lines: list[Row] = []
    for record in records:
        row: Row = {"clip": record["id"], "path": record["path"]}
        for name in MEASURES:
            row[f"{name}_mm"] = record["measures_mm"].get(name, math.nan)
            row[f"{name}_spread_mm"] = record["spreads_mm"].get(name, math.nan)
        rows.append(row)
        for frame, phase, line in zip(record["frames"], record["phases"], record["lines"], strict=True):
            places = [place for point in line for place in point]
            if all(map(math.isfinite, places)):
                numbers = dict(zip(PLACES, places, strict=True))
                lines.append({"clip": record["id"], "frame": frame, "phase": phase, **numbers})
    write_csv(folder / "measures.csv", rows, list(rows[0]) if rows else None)
    write_lines(folder / FILE, lines)
