"""The task of measuring the left ventricle in clips: what models give, their errors in mm, a row a clip."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NotRequired

import torch
from torch import Tensor

from medzoo.core.distributed import gather_all
from medzoo.core.geometry.points import to_original
from medzoo.core.io import file_name
from medzoo.core.plots.agreement import bland_altman
from medzoo.core.plots.figures import save
from medzoo.core.sample import Batch, ClipSample, Rule
from medzoo.core.tasks.base import Evaluation, identity
from medzoo.core.values import Row
from medzoo.landmark.echo.measures import MEASURES, agreement, line_errors, measured, segment_errors


class EchoSample(ClipSample):
    """A clip of the parasternal long axis with scan lines."""

    lines: NotRequired[Annotated[Tensor, Rule.LIST]]
    """`(N, 2, 2)` float32, two points of each key frame's scan line in original pixels, NaN where there is none."""
    placed: NotRequired[Annotated[Tensor, Rule.LIST]]
    """`(N,)` bool, whether a person placed that line; it takes precedence over one that a method finds."""


@dataclass
class EchoOutputs:
    """What a model gives for the key frames of a batch, clip after clip.

    Attributes:
        points: `(M, 4, 2)` (x, y) in pixels of the clips that the network sees; NaN where there is no scan line.
        spreads: `(M, 4)` expected distance to the point under its heat map, in mm; not calibrated.
        lines: `(M, 2, 2)` two points of the scan line in pixels of the clips; NaN where there is none.
    """

    points: Tensor
    spreads: Tensor
    lines: Tensor


class EchoEvaluation(Evaluation[EchoOutputs]):
    """Collects the lengths of a test, clip by clip."""

    def __init__(self) -> None:
        self.tested: list[Row] = []

    def update(self, batch: Batch, outputs: EchoOutputs) -> None:
        """Add a batch, see `EchoSample`."""
        both = zip(split(batch, outputs.points.detach()), split(batch, outputs.lines.detach()), strict=True)
        for i, (points, lines) in enumerate(both):
            found = in_original(batch, i, points)
            off = line_errors(
                in_original(batch, i, lines), batch["landmarks"][i].double(), batch["spacing"][i].double()
            )
            lengths, truth, ends = segment_errors(found, batch["landmarks"][i].double(), batch["spacing"][i].double())
            phases = batch["phases"][i]
            values, true, distances = (measured(table, phases) for table in (lengths, truth, ends))
            errors = [abs(values[name] - true[name]) for name in values]
            known = [error for error in errors if math.isfinite(error)]
            row: Row = {
                **identity(batch, i, batch["source"][i]),
                "error": sum(known) / len(known) if known else math.nan,
                "prediction": json.dumps([[[round(v, 3) for v in point] for point in key] for key in found.tolist()]),
            }
            row |= {f"line_{what}": float(values.nanmean()) for what, values in off.items()}
            for name in MEASURES:
                row[f"{name}_mm"] = values.get(name, math.nan)
                row[f"{name}_true_mm"] = true.get(name, math.nan)
                row[f"{name}_ends_mm"] = distances.get(name, math.nan)
            self.tested.append(row)

    def compute(self) -> dict[str, float]:
        """Return `<source>/<measure>_<figure>`, see `echo.measures`, and the means `mae_mm` and `mce_mm`.

        Lengths that are unknown, or for which there was no scan line, are left out; `n` counts the others; `loa`
        needs two.
        `line_angle_deg_median` and `line_level_mm_median` are of the scan lines, see `line_errors`.
        """
        self.tested = gather_all(self.tested)
        figures: dict[str, float] = {}
        for source in dict.fromkeys(str(row["source"]) for row in self.tested):
            rows = [row for row in self.tested if row["source"] == source]
            all_errors, all_ends = [], []
            for name in MEASURES:
                predicted, true, ends = (
                    torch.tensor([float(row[f"{name}_{what}"]) for row in rows], dtype=torch.float64)
                    for what in ("mm", "true_mm", "ends_mm")
                )
                values = agreement(predicted, true)
                if not values["n"]:
                    continue
                units = {"n": "n", "mae": "mae_mm", "mape": "mape", "bias": "bias_mm", "loa": "loa_mm"}
                known = {units[key]: value for key, value in values.items() if math.isfinite(value)}
                figures |= {f"{source}/{name}_{key}": value for key, value in known.items()}
                figures[f"{source}/{name}_mce_mm"] = float(ends.nanmean())
                all_errors.append((predicted - true).abs())
                all_ends.append(ends)
            for what in ("angle_deg", "level_mm"):
                off = torch.tensor([float(row[f"line_{what}"]) for row in rows], dtype=torch.float64)
                if bool(off.isfinite().any()):
                    figures[f"{source}/line_{what}_median"] = float(off.nanmedian())
            if all_errors:
                figures[f"{source}/mae_mm"] = float(torch.cat(all_errors).nanmean())
                figures[f"{source}/mce_mm"] = float(torch.cat(all_ends).nanmean())
        return figures

    def rows(self) -> list[Row]:
        """Return a row a clip: its six lengths, the true ones, and the mean distance of their ends."""
        return self.tested

    def report(self, folder: Path) -> None:
        """Write `samples.csv`, and of each source the agreement of the six lengths (Bland and Altman)."""
        super().report(folder)
        for source in dict.fromkeys(str(row["source"]) for row in self.tested):
            own = [row for row in self.tested if row["source"] == source]
            pairs = {n: ([r[f"{n}_mm"] for r in own], [r[f"{n}_true_mm"] for r in own]) for n in MEASURES}
            save(bland_altman(pairs, "mm"), folder / "figures" / f"{file_name(source)}_agreement.png")


def split(batch: Batch, values: Tensor) -> list[Tensor]:
    """Share what belongs to the key frames `(M, …)` of a batch out among its clips."""
    parts: tuple[Tensor, ...] = values.split([len(keys) for keys in batch["keys"]])
    return list(parts)


def in_original(batch: Batch, index: int, points: Tensor) -> Tensor:
    """Map points `(N, K, 2)` of a clip to its original pixels."""
    return to_original(points, batch["affine"][index][None])
